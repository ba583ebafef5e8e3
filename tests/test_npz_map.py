"""Members of npz files, stored and compressed, row by row, against np.load."""
import zipfile

import numpy as np
import pytest

from ls_jax import npz_map
from ls_jax.errors import UserError

ARRAYS = {"logits": np.arange(60, dtype=np.float32).reshape(12, 5), "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
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
    with zipfile.ZipFile(tmp_path / "file.npz", "w") as archive, archive.open("logits.npy", "w", force_zip64=True) as member:
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
