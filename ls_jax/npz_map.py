"""Arrays of an npz file that may be larger than memory: opened without reading them, read a few rows at a time.

`np.load` cannot map a member of an npz file into memory. A member that is stored uncompressed (`np.savez`) is an npy file
at some offset, which can; a compressed one (`np.savez_compressed`) is first unpacked to a scratch directory, in pieces.
"""
import pathlib
import shutil
import struct
import zipfile
from typing import Any

import numpy as np

from ls_jax.errors import UserError

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class OnDisk:
    """An array in a file. Indexing its rows reads just these, into memory of their own.

    Each access maps the file anew, so that pages already read do not stay with the process.
    """

    def __init__(self, path: pathlib.Path, offset: int, shape: tuple[int, ...], dtype: np.dtype, order: str):
        self._path, self._offset, self._order = path, offset, order
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)[rows]
        return np.array(np.memmap(self._path, self.dtype, "r", self._offset, self.shape, self._order)[rows])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self[...], dtype)


def open_npz(path: pathlib.Path, scratch: pathlib.Path) -> dict[str, OnDisk]:
    """The arrays of an npz file by name.

    Args:
        path: the file.
        scratch: an existing directory for compressed members' contents; it must outlive the arrays.

    Raises:
        UserError: the file is not there, no npz file, damaged, or holds Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename.removesuffix(".npy"): _member(archive, info, path, scratch) for info in archive.infolist()}
    except FileNotFoundError as error:
        raise UserError(f"--predictions={path} does not exist") from error
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, struct.error) as error:
        raise UserError(f"--predictions={path} is no npz file that can be read ({error}): write one with np.savez") from error
    except OSError as error:
        raise UserError(f"--predictions={path} cannot be read or unpacked: {error.strerror or error}") from error


def _member(archive, info, path, scratch):
    start = 0
    if info.compress_type == zipfile.ZIP_STORED:
        with open(path, "rb") as file:  # a local header of 30 bytes, with the lengths of the name and extra field that follow
            file.seek(info.header_offset)
            header = file.read(30)
            start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
    else:
        unpacked = scratch / f"{len(list(scratch.iterdir()))}.npy"
        with archive.open(info) as packed, open(unpacked, "wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
        path = unpacked
    with open(path, "rb") as file:
        file.seek(start)
        shape, fortran, dtype = HEADERS[np.lib.format.read_magic(file)](file)
        if dtype.hasobject:
            raise ValueError(f"array {info.filename.removesuffix('.npy')!r} holds Python objects")
        return OnDisk(path, file.tell(), shape, dtype, "F" if fortran else "C")
