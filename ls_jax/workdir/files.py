"""Atomic writing of files, and checked reading of JSON files."""
import contextlib
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from ls_jax.errors import CannotWrite, UserError

REMOVE = "remove it, and the experiment's own command (--mode=run) writes it anew"  # a config.json
ALWAYS = {"steps": int, "batch_size": int, "sweep.seed": list, "data.name": str, "model.name": str,
          "evaluate.split": str}  # in every config.json

# A file that `replacing` has not finished, or that a run made to see whether it can; the number is the process's.
LEFT_OVER = re.compile(r"\.(?:writable|[\w.]+\.(?:json|jsonl|html|npz|model))-(\d+)")


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


def remove_left_over(folder: pathlib.Path) -> None:
    """Remove what `replacing` and probes left when their process was killed. The caller holds the folder's lock."""
    for path in folder.glob(".*-*"):
        found = LEFT_OVER.fullmatch(path.name)
        if found and path.is_file() and not _alive(int(found[1])):
            with contextlib.suppress(OSError):
                path.unlink()


def _alive(process):
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def write_text(path: str | pathlib.Path, text: str) -> None:
    """Write a text file completely or not at all.

    Raises:
        UserError: the disk is full or the file cannot be written.
    """
    with replacing(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def writing(path: str | pathlib.Path) -> Iterator[None]:
    """A `with` block that writes to `path`. It turns an OSError into a `CannotWrite`, which is a UserError."""
    try:
        yield
    except OSError as error:
        shown = str(path).replace("/.new/", "/")  # where it would end up: see `replace`
        raise CannotWrite(f"cannot write {shown}: {error.strerror}; make room, or choose another --workdir") from error


def unwritable(workdir: str | pathlib.Path, error: OSError) -> UserError:
    """What to say of a workdir in which nothing can be made."""
    # os.path, since pathlib raises where a parent may not be entered
    if any(os.path.exists(path) and not os.path.isdir(path) for path in (workdir, *pathlib.Path(workdir).parents)):
        return CannotWrite(f"--workdir={workdir} is a file or lies in one: name a directory")
    return CannotWrite(f"--workdir={workdir} cannot be written to: {error.strerror}")


@contextlib.contextmanager
def safe(what: str) -> Iterator[None]:
    """A `with` block that tells, if a file cannot be written, what is safe all the same."""
    try:
        yield
    except CannotWrite as error:
        raise CannotWrite(f"{error}. {what}") from error


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
    return read_json(path, dict, REMOVE)


def read_whole_config(path: str | pathlib.Path) -> dict[str, Any]:
    """As `read_config`; also raises UserError if a field is missing that every run has written."""
    config = read_config(path)
    for name, kind in ALWAYS.items():
        section, _, field = name.rpartition(".")
        holder = config.get(section, {}) if section else config
        if not isinstance(holder, dict) or not isinstance(holder.get(field), kind):
            raise UserError(f"{path} is damaged: it has no {name}; {REMOVE}")
    return config


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError if it is no JSON, or nested more deeply than Python reads."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
