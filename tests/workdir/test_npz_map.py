"""Members of npz files, stored and compressed, row by row, against np.load."""
import io
import struct
import warnings
import zipfile
import zlib

import ml_dtypes
import numpy as np
import pytest

from ls_jax.errors import UserError
from ls_jax.workdir import npz_map

ARRAYS = {"logits": np.arange(60, dtype=np.float32).reshape(12, 5),
          "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
          "names": np.asarray(["a", "bc"]), "one": np.asarray(3), "none": np.zeros((0, 4))}


@pytest.fixture(params=[np.savez, np.savez_compressed])
def file(request, tmp_path):
    request.param(tmp_path / "file.npz", **ARRAYS)
    return tmp_path / "file.npz"


@pytest.fixture
def scratch(tmp_path):
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def test_arrays_are_those_of_np_load(file, scratch):
    opened = npz_map.open_npz(file, scratch)
    assert opened.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (opened[name].shape, opened[name].dtype, opened[name].ndim) == (array.shape, array.dtype, array.ndim)
        np.testing.assert_array_equal(np.asarray(opened[name]), array)
    assert len(opened["logits"]) == 12


@pytest.mark.parametrize("rows", [slice(3, 7), slice(None), 2, np.asarray([5, 1, 1]), np.arange(12) % 3 == 0])
def test_reads_rows_into_memory_of_their_own(file, scratch, rows):
    read = npz_map.open_npz(file, scratch)["logits"][rows]
    np.testing.assert_array_equal(read, ARRAYS["logits"][rows])
    assert not isinstance(read, np.memmap)


def test_stored_members_are_not_copied(tmp_path, scratch):
    np.savez(tmp_path / "file.npz", **ARRAYS)
    npz_map.open_npz(tmp_path / "file.npz", scratch)
    assert not list(scratch.iterdir())


def test_reads_members_that_were_streamed_into_the_zip(tmp_path, scratch):
    """With a zip64 extra field, as of members that could grow beyond 4 GiB."""
    with zipfile.ZipFile(tmp_path / "file.npz", "w") as archive, archive.open("logits.npy", "w",
                                                                              force_zip64=True) as member:
        np.lib.format.write_array(member, ARRAYS["logits"])
    np.testing.assert_array_equal(npz_map.open_npz(tmp_path / "file.npz", scratch)["logits"][:], ARRAYS["logits"])


@pytest.mark.parametrize("content, message", [
    (None, "does not exist"), (b"", "is no npz file"), (b"PK\x03\x04 not really", "is no npz file"),
    ({"x": b"text"}, "is no npz file"), ({"x": None}, "'x' holds Python objects"),
])
def test_says_what_is_wrong_with_a_file(tmp_path, scratch, content, message):
    path = tmp_path / "file.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == {"x": None}:
        np.savez(path, x=np.asarray([{}], dtype=object))
    elif content:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content["x"])
    with pytest.raises(UserError, match=message):
        npz_map.open_npz(path, scratch)


# Damage: every array is whole, or the file is refused by name.

def same(found, expected):
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and np.array_equal(np.asarray(found[name]), expected[name])
        for name in expected)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_any_flipped_bit_is_told_or_changes_nothing(tmp_path, scratch, save):
    file, arrays = tmp_path / "small.npz", {"logits": np.arange(6, dtype=np.float32).reshape(2, 3),
                                            "y": np.array([1, 0], np.uint8)}
    save(file, **arrays)
    content, refused = file.read_bytes(), 0
    for position in range(len(content)):
        for bit in (0x01, 0x02, 0x10, 0x40, 0x80):
            flipped = bytearray(content)
            flipped[position] ^= bit
            file.write_bytes(flipped)
            for folder in (None, scratch):
                try:
                    assert same(npz_map.open_npz(file, folder), arrays), f"bit {bit} of byte {position}"
                except UserError as error:
                    refused += 1
                    assert str(file) in str(error) and "\n" not in str(error)
            for unpacked in scratch.iterdir():
                unpacked.unlink()
    assert refused > len(content)  # of ten tries a byte


def test_the_issues_flipped_bit_is_told(tmp_path, scratch):
    file = tmp_path / "file.npz"
    np.savez(file, logits=np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32), labels=np.arange(200) % 5)
    content = bytearray(file.read_bytes())
    content[1000] ^= 0x40
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"array 'logits' is damaged: Bad CRC-32"):
        npz_map.open_npz(file, scratch)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_any_truncated_file_is_told(tmp_path, scratch, save):
    file = tmp_path / "file.npz"
    save(file, **ARRAYS)
    content = file.read_bytes()
    for length in [*range(0, len(content), 7), len(content) - 1]:
        file.write_bytes(content[:length])
        with pytest.raises(UserError):
            npz_map.open_npz(file, scratch)


def npy(array=ARRAYS["logits"], shape=None, descr=None, more=b""):
    """An npy file, perhaps with another header than its own."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr or array.dtype.str, "fortran_order": False,
                                                  "shape": shape or array.shape})
    return buffer.getvalue() + array.tobytes() + more


def written(path, content, method=zipfile.ZIP_STORED, name="logits.npy"):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("folder", [True, False])
def test_a_length_that_is_not_the_headers_is_told(tmp_path, scratch, method, folder):
    """Too long, too short; shapes that no memory holds, or whose product is beyond 64 bits, or negative."""
    folder = scratch if folder else None
    file = tmp_path / "file.npz"
    assert same(npz_map.open_npz(written(file, npy(), method), folder), {"logits": ARRAYS["logits"]})
    shapes = ((11, 5), (13, 5), (2**40, 2**20), (2**62, 4), (2**64, 0, 1), (-12, -5), (-1, 60))
    for content in (npy(more=b"\0"), npy(more=b"\0" * 4 * 5), npy()[:-1], *(npy(shape=shape) for shape in shapes),
                    npy(descr="<f8"),
                    npy()[:5], b""):
        written(file, content, method)
        with pytest.raises(UserError, match="array 'logits' "):
            npz_map.open_npz(file, folder)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("length", [1, 20, -1, -20])
def test_a_member_that_is_not_as_long_as_the_archive_says_is_told(tmp_path, scratch, method, length):
    """The archive's length and checksum are those of a part; what is unpacked is longer, or ends before."""
    file = written(tmp_path / "file.npz", npy() + b"\0" * max(0, length), method)
    content = bytearray(file.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 16:directory + 20] = struct.pack("<I", zlib.crc32(npy()))
    content[directory + 24:directory + 28] = struct.pack("<I", len(npy()) + max(0, -length))
    file.write_bytes(content)
    for folder in (None, scratch):
        with pytest.raises(UserError, match="array 'logits' (unpacks to more|is damaged|has 2|ends after)"):
            npz_map.open_npz(file, folder)


def test_encrypted_and_unknown_members_are_told(tmp_path, scratch):
    file = written(tmp_path / "file.npz", npy())
    content = file.read_bytes()
    directory = content.index(b"PK\x01\x02")
    for at, value, message in ((6, 0x01, "encrypted|password"), (6, 0x20, "patched"), (8, 97, "compression|damaged")):
        changed = bytearray(content)
        changed[directory + 2 + at] = changed[at] = value
        file.write_bytes(changed)
        with pytest.raises(UserError, match=message):
            npz_map.open_npz(file, scratch)


def test_members_of_one_name_are_told(tmp_path, scratch):
    for names in (("logits.npy", "logits.npy"), ("logits.npy", "logits")):
        with zipfile.ZipFile(tmp_path / "file.npz", "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in names:
                archive.writestr(name, npy())
        with pytest.raises(UserError, match="array 'logits' is there twice"):
            npz_map.open_npz(tmp_path / "file.npz", scratch)


def test_members_that_overlap_are_told(tmp_path, scratch):
    """Two names for the same bytes."""
    with zipfile.ZipFile(tmp_path / "file.npz", "w") as archive:
        archive.writestr("a.npy", npy())
        archive.writestr("b.npy", npy())
    content = bytearray((tmp_path / "file.npz").read_bytes())
    second = content.rindex(b"PK\x01\x02")
    content[second + 42:second + 46] = struct.pack("<I", 0)
    (tmp_path / "file.npz").write_bytes(content)
    with pytest.raises(UserError, match="overlap"):
        npz_map.open_npz(tmp_path / "file.npz", scratch)


def test_what_comes_before_and_after_an_archive_is_no_matter(tmp_path, scratch):
    file = tmp_path / "file.npz"
    np.savez(file, **ARRAYS)
    file.write_bytes(b"#!/bin/sh\n" + file.read_bytes())
    assert same(npz_map.open_npz(file, scratch), ARRAYS)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_odd_types_are_those_of_np_load(tmp_path, scratch, save):
    arrays = {"big": np.arange(5, dtype=">i4"), "half": np.arange(5, dtype=">f2"), "bytes": np.array([b"cat", b"dog"]),
              "flag": np.arange(3) > 1,
              "empty": np.zeros((0,), "S3"), "complex": np.ones(2, complex), "time": np.array(["2020-01-01"], "M8[D]")}
    save(tmp_path / "file.npz", **arrays)
    for folder in (None, scratch):
        assert same(npz_map.open_npz(tmp_path / "file.npz", folder), arrays)
    assert same(npz_map.read(tmp_path / "file.npz"), arrays)


def test_bfloat16_comes_back(tmp_path, scratch):
    """NumPy writes it as two raw bytes, and np.load gives void."""
    given = np.arange(10).reshape(2, 5).astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "file.npz", logits=given)
    assert same(npz_map.open_npz(tmp_path / "file.npz", scratch), {"logits": given})
