"""Atomic writing of files, and checked reading of JSON files."""
import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from ls_jax.errors import UserError


@contextlib.contextmanager
def replacing(path: str | pathlib.Path) -> Iterator[BinaryIO]:
    """A file to write to, which replaces `path` when the `with` block ends. If the block fails, `path` stays as it was.

    Raises:
        UserError: the disk is full or the file cannot be written.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    with writing(path):
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: str | pathlib.Path, text: str) -> None:
    """Write a text file completely or not at all.

    Raises:
        UserError: the disk is full or the file cannot be written.
    """
    with replacing(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def writing(path: str | pathlib.Path) -> Iterator[None]:
    """A `with` block that writes to `path`. It turns an OSError into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; make room, or choose another --workdir") from error


def read_json(path: str | pathlib.Path, kind: type, fix: str, parts: type | None = None) -> Any:
    """The value in a JSON file.

    Args:
        path: the file, which exists.
        kind: the type it must have: dict or list.
        fix: what to do if the file is damaged, for the message.
        parts: the type each item of a list must have.

    Raises:
        UserError: it cannot be read, is no JSON, or has another type.
    """
    try:
        found = parse_json(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {fix}") from error
    if not isinstance(found, kind) or (parts and not all(isinstance(each, parts) for each in found)):
        raise UserError(f"{path} is damaged: {fix}")
    return found


def read_config(path: str | pathlib.Path) -> dict[str, Any]:
    """The config in a workdir's config.json, as nested dicts. Raises UserError as `read_json`."""
    return read_json(path, dict, "remove it, and the experiment's own command (--mode=run) writes it anew")


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError if it is no JSON, or nested more deeply than Python reads."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
