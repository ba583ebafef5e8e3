"""Checked reading of npz files: into memory, or memory-mapped and read a few rows at a time.

`np.load` cannot map an array of an npz file, and may stop before an array's end, where zipfile checks the checksum.
Here every array is read to its end once. Its length must be that of its npy header, its checksum (CRC-32) that of the
archive. An array that is stored uncompressed (`np.savez`) is then mapped, as an npy file at an offset. A compressed one
(`np.savez_compressed`) is unpacked, piece by piece, into a scratch directory or into memory.

NumPy writes bfloat16 as two raw bytes (|V2); such arrays are bfloat16 again.
"""
import copy
import itertools
import math
import os
import pathlib
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from ls_jax.errors import UserError, first_line

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
LOCAL_HEADER = 30   # bytes before a member's name
END, LAST = b"PK\x05\x06", 22 + 0xFFFF  # the signature of the record at an archive's end, and its largest length
PIECE = 1 << 20     # bytes read at once


class Unreadable(UserError):
    """A damaged file, or a damaged array in it. `array` is the array's name, or None for the archive as a whole."""

    def __init__(self, path: pathlib.Path, array: str | None, reason: str):
        what = f"{f'array {array!r}' if array else 'it'} {reason}"
        super().__init__(f"{path} is no npz file that can be read ({what}): write it anew with np.savez")
        self.array, self.reason = array, reason


class _Wrong(Exception):
    """What is wrong with the archive or with the current array, as the end of a sentence about it."""


class OnDisk:
    """An array in a file. Indexing reads only the selected rows, and returns a copy.

    Each access maps the file again, so that the process does not keep the pages that were read.
    """

    def __init__(self, path: pathlib.Path, offset: int, shape: tuple[int, ...], dtype: np.dtype, order: str):
        self._path, self._offset, self._order = path, offset, order
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if not math.prod(self.shape) * self.dtype.itemsize:
            return np.empty(self.shape, self.dtype)[rows]
        mapped = np.memmap(self._path, self.dtype, "r", self._offset, self.shape, self._order)
        return np.array(mapped[rows])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self[...], dtype)


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name, in memory. Raises UserError as `open_npz`."""
    return {name: np.asarray(array) for name, array in open_npz(path).items()}


def open_npz(path: str | os.PathLike, scratch: pathlib.Path | None = None) -> dict[str, OnDisk | np.ndarray]:
    """The arrays of an npz file by name, each checked to be complete.

    Args:
        path: the file.
        scratch: an existing directory, which must outlive the arrays, for the content of compressed ones. None:
            compressed arrays are read into memory.

    Raises:
        Unreadable: one line that names the file and the array. The file is no npz file, or damaged; or an array is
            encrypted, compressed in an unknown way, there twice, of Python objects, or not as long as its header says.
        UserError: the file does not exist, or the disk cannot be read or written.
    """
    path, name, arrays = pathlib.Path(path), None, {}
    try:
        with zipfile.ZipFile(path) as archive:
            _check_directory(archive, path)
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name in arrays:
                    raise _Wrong("is there twice")
                arrays[name] = _member(archive, info, path, scratch)
            return arrays
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except _Wrong as error:
        raise Unreadable(path, name, str(error)) from error
    except Exception as error:  # zipfile, zlib, bz2, lzma and NumPy raise a dozen kinds for damaged files
        if isinstance(error, OSError) and error.errno:
            raise UserError(f"{path} cannot be read or unpacked: {error.strerror}") from error
        raise Unreadable(path, name, f"is damaged: {first_line(error)}") from error


def _check_directory(archive, path):
    """Raise _Wrong unless the archive lists as many members as its end says, and no two share bytes.

    A member with a damaged length swallows the next one.
    """
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - LAST))
        last = file.read()
    listed, counted = len(archive.infolist()), struct.unpack_from("<H", last, last.rfind(END) + 10)[0]
    if counted not in (listed, 0xFFFF):  # 0xFFFF: the number is elsewhere (zip64)
        raise _Wrong(f"lists {listed} arrays, and says that there are {counted}")
    places = sorted((info.header_offset, info.header_offset + LOCAL_HEADER + info.compress_size, info.filename)
                    for info in archive.infolist())
    for (_, end, name), (start, _, other) in itertools.pairwise(places):
        if end > start:
            raise _Wrong(f"has members that overlap, {name!r} and {other!r}")


def _member(archive, info, path, scratch):
    """One array, after reading all its bytes."""
    beyond = copy.copy(info)
    beyond.file_size += 1  # zipfile stops where the archive says the member ends; this shows whether it does end there
    with archive.open(beyond) as packed:
        shape, fortran, dtype = _header(packed)
        start, size = packed.tell(), math.prod(shape) * dtype.itemsize
        if info.file_size != start + size:
            raise _Wrong(f"has {info.file_size - start:,} bytes, and its header says {size:,}: {dtype} {shape}")
        order = "F" if fortran else "C"
        if info.compress_type == zipfile.ZIP_STORED:
            for _ in _pieces(packed, size):
                pass
            return OnDisk(path, _begin(path, info) + start, shape, dtype, order)
        if scratch is None:
            content = np.empty(size, np.uint8)
            at = 0
            for piece in _pieces(packed, size):
                content[at:at + len(piece)] = np.frombuffer(piece, np.uint8)
                at += len(piece)
            return content.view(dtype).reshape(shape, order=order) if size else np.empty(shape, dtype, order)
        unpacked = scratch / f"{len(list(scratch.iterdir()))}.npy"
        with open(unpacked, "wb") as file:
            file.writelines(_pieces(packed, size))
        return OnDisk(unpacked, 0, shape, dtype, order)


def _header(packed) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether in Fortran order, dtype) of a npy file."""
    version = np.lib.format.read_magic(packed)
    if version not in HEADERS:
        raise _Wrong(f"is in npy format {version[0]}.{version[1]}, which numbers and strings do not need")
    shape, fortran, dtype = HEADERS[version](packed)
    if dtype.hasobject:
        raise _Wrong("holds Python objects")
    if min(shape, default=0) < 0:
        raise _Wrong(f"has the shape {shape}")
    return shape, fortran, np.dtype(ml_dtypes.bfloat16) if dtype == np.dtype("V2") else dtype


def _pieces(packed, size) -> Iterator[bytes]:
    """The rest of a member, which must be of that size. At its end zipfile compares the checksum."""
    read = 0
    while piece := packed.read(PIECE):
        read += len(piece)
        if read > size:
            raise _Wrong("unpacks to more than its header says")
        yield piece
    if read < size:
        raise _Wrong(f"ends after {read:,} of {size:,} bytes")


def _begin(path, info) -> int:
    """Where a member's content begins: after its local header, name and extra field."""
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(LOCAL_HEADER)  # it ends with the lengths of the name and of the extra field
        return info.header_offset + LOCAL_HEADER + sum(struct.unpack("<HH", header[-4:]))
