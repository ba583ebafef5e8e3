"""Files that are written whole or not at all."""
import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from ls_jax.errors import UserError


@contextlib.contextmanager
def replacing(path: str | pathlib.Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the `with` block ends; if it fails, nothing stays.

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
    """Write a text file, whole or not at all.

    Raises:
        UserError: the disk is full or the file cannot be written.
    """
    with replacing(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def writing(path: str | pathlib.Path) -> Iterator[None]:
    """A `with` block that writes to `path`: an OSError becomes the UserError that says so."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; make room, or choose another --workdir") from error
