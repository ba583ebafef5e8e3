"""data.load: every source gives the arrays that were put in, and bad input is told in one line."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import ml_collections
import numpy as np
import pytest
from PIL import Image

from ls_jax import data
from ls_jax.data import notices
from ls_jax.data.sources import npz
from ls_jax.data.sources import tfds as tfds_build
from ls_jax.errors import UserError
from tests.builds import write_build


def load(name, **fields):
    return data.load(ml_collections.ConfigDict(
        dict(name=str(name), dir=None, holdout=0, train_examples=None, image_size=None) | fields))


def told(match, name, **fields):
    """Loading fails with one line that matches."""
    with pytest.raises(UserError, match=match) as caught:
        load(name, **fields)
    assert "\n" not in str(caught.value)


# digits


def test_digits_split_is_whole_disjoint_and_stratified():
    digits = load("digits")
    train, test = digits.splits["train"], digits.splits["test"]
    assert digits.class_names == tuple("0123456789")
    assert train.images.shape == (1297, 8, 8, 1) and test.images.shape == (500, 8, 8, 1)
    assert train.images.dtype == np.uint8 and train.labels.dtype == np.int32
    both = np.bincount(np.concatenate([train.labels, test.labels]), minlength=10)
    assert np.all(np.abs(np.bincount(test.labels) - both * 500 / 1797) < 1)
    assert test.labels[:10].tolist() == load("digits").splits["test"].labels[:10].tolist()


def test_digits_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets", reason="compares with scikit-learn: pip install -e '.[peers]'")
    expected = datasets.load_digits()
    splits = load("digits").splits.values()
    images = np.concatenate([split.images for split in splits])[..., 0]
    labels = np.concatenate([split.labels for split in splits])

    def rows(images, labels):
        return sorted(np.column_stack([images.reshape(len(images), -1), labels]).astype(int).tolist())

    assert rows(images, labels) == rows(np.round(expected.images * 255 / 16), expected.target)


# hold-out and subsets


def test_holdout_and_subset_are_disjoint_fixed_and_nested(tmp_path):
    whole = numbered(tmp_path, 100)
    train = {n: set(load(whole, holdout=20, train_examples=n).splits["train"].labels) for n in (10, 30, 80)}
    held = load(whole, holdout=20).splits
    assert train[10] < train[30] < train[80] == set(held["train"].labels)
    assert set(held["validation"].labels) == set(range(100)) - train[80] and len(held["validation"]) == 20
    np.testing.assert_array_equal(held["validation"].images[:, 0, 0, 0], held["validation"].labels)
    assert set(load(whole, train_examples=30).splits["train"].labels) == train[30], "does not depend on the hold-out"
    assert len(held["test"]) == 100


def test_holdout_is_the_same_for_ever(tmp_path):
    """The split is part of published numbers: these are the first of the frozen stream."""
    assert load(numbered(tmp_path, 100), holdout=5).splits["validation"].labels.tolist() == [5, 24, 32, 33, 39]


def test_holdout_and_subset_that_do_not_fit_are_told(tmp_path):
    whole = numbered(tmp_path, 100)
    told("holdout=100 must be from 0 to 99: .* has 100 training", whole, holdout=100)
    told("holdout=-1", whole, holdout=-1)
    told("train_examples=81 must be from 1 to 80", whole, holdout=20, train_examples=81)
    told("train_examples=0 must be from 1 to 100", whole, train_examples=0)
    told("image_size=32 is for folder:PATH and a TFDS name: leave it unset", "digits", image_size=32)


def numbered(tmp_path, count):
    """An npz data set whose image i and label i say i."""
    images = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    labels = np.arange(count)
    np.savez(tmp_path / "numbered.npz", train_images=images, train_labels=labels, test_images=images,
             test_labels=labels)
    return f"npz:{tmp_path / 'numbered.npz'}"


# TFDS


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A hand-made ARRAY_RECORD build of random 6x5 RGB images in data_dir tmp_path, and the arrays in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    splits = {split: (random.integers(0, 256, (count, 6, 5, 3), np.uint8), random.integers(0, 3, count))
              for split, count in (("train", 7), ("test", 3))}
    return write_build(tmp_path, splits), splits


def check_tiny(dataset, splits):
    assert dataset.class_names == ("cat", "dog", "emu")
    for name, (images, labels) in splits.items():
        np.testing.assert_array_equal(dataset.splits[name].images, images)
        np.testing.assert_array_equal(dataset.splits[name].labels, labels)
        assert dataset.splits[name].images.dtype == np.uint8 and dataset.splits[name].labels.dtype == np.int32


def no_decoding(*_):
    raise AssertionError("pictures are decoded again")


def test_tfds_build_is_read_and_then_kept_as_arrays(built, tmp_path, monkeypatch):
    _, splits = built
    monkeypatch.setattr(tfds_build, "CHUNK", 2)
    check_tiny(load("tiny", dir=str(tmp_path)), splits)
    monkeypatch.setattr(tfds_build, "_read", no_decoding)
    check_tiny(load("tiny", dir=str(tmp_path)), splits)


def test_changed_build_and_damaged_arrays_are_read_anew(built, tmp_path):
    build, splits = built
    load("tiny", dir=str(tmp_path))
    arrays = build / tfds_build.CACHE_NAME
    arrays.write_bytes(arrays.read_bytes()[:-200])
    check_tiny(load("tiny", dir=str(tmp_path)), splits)
    content = arrays.read_bytes()
    shutil.rmtree(tmp_path / "tiny")
    splits = {name: (255 - images, labels) for name, (images, labels) in splits.items()}
    write_build(tmp_path, splits)
    arrays.write_bytes(content)
    check_tiny(load("tiny", dir=str(tmp_path)), splits)


def test_arrays_go_to_the_users_cache_where_the_build_cannot_be_written(built, tmp_path, monkeypatch):
    build, splits = built
    (build / tfds_build.CACHE_NAME).mkdir()  # stands for a folder that may not be written (a superuser may write any)
    check_tiny(load("tiny", dir=str(tmp_path)), splits)
    assert [path.suffix for path in (tmp_path / "cache" / "ls_jax").iterdir()] == [".npz"]
    assert not [path for path in build.iterdir() if path.name.startswith(".")], "no unfinished file stays"
    monkeypatch.setattr(tfds_build, "_read", no_decoding)
    check_tiny(load("tiny", dir=str(tmp_path)), splits)


def test_reading_imports_no_tensorflow(built, tmp_path):
    program = ("import sys, ml_collections; from ls_jax import data;"
               f"data.load(ml_collections.ConfigDict(dict(name='tiny', dir={str(tmp_path)!r}, holdout=0, "
               "train_examples=None,"
               " image_size=None))); assert 'tensorflow' not in sys.modules")
    root = pathlib.Path(data.__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root)


def test_grey_images_and_validation_as_test(tmp_path):
    images, labels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3, 1), np.array([0, 2])
    splits = {"train": (images, labels), "validation": (images[::-1], labels)}
    write_build(tmp_path, splits, shape=(4, 3, 1))
    dataset = load("tiny", dir=str(tmp_path))
    assert set(dataset.splits) == {"train", "test"}
    check_tiny(dataset, {"train": splits["train"], "test": splits["validation"]})


def test_unknown_and_unprepared_sets_are_told(tmp_path):
    told(r"'minst' is no data set .* \(did you mean 'mnist'\?\)", "minst", dir=str(tmp_path))
    for name, meant in {"fodler:photos": "folder:PATH", "nzp:mine.npz": "npz:PATH", "text": "text:PATH",
                        "digit": "digits"}.items():
        told(rf"{name!r} is no data set .* \(did you mean '{meant}'\?\); it may be digits, folder:PATH, npz:PATH, "
             rf"text:PATH, a TFDS", name)
    told("cannot be opened", "mnist:0.0.7", dir=str(tmp_path))
    told(
        r"""mnist is not prepared .*: python -c "import tensorflow_datasets as tfds; tfds.builder\('mnist', """
        r"""data_dir='.*', file_format='array_record'\).download_and_prepare\(\)"$""", "mnist", dir=str(tmp_path))


def test_tfrecord_build_is_told_how_to_convert(tmp_path):
    build = write_build(tmp_path, {"train": ([], []), "test": ([], [])}, file_format="tfrecord")
    told(f"as tfrecord, .* tfds convert_format --dataset_version_dir={build} --out_file_format=array_record$", "tiny",
         dir=str(tmp_path))


def test_converted_build_is_read(built, tmp_path, monkeypatch):
    """As `tfds convert_format` leaves it: another format first, ARRAY_RECORD as an alternative. TFDS's class for the
    data set, which mnist stands for, would not see the alternative."""
    build, splits = built
    info = json.loads((build / "dataset_info.json").read_text())
    info |= {"fileFormat": "tfrecord", "alternativeFileFormats": ["array_record"], "name": "mnist", "version": "3.0.1"}
    (build / "dataset_info.json").write_text(json.dumps(info))
    for file in build.glob("tiny-*"):
        file.rename(file.with_name(file.name.replace("tiny", "mnist")))
    (tmp_path / "mnist").mkdir()
    build.rename(tmp_path / "mnist" / "3.0.1")
    check_tiny(load("mnist", dir=str(tmp_path)), splits)


def test_builds_of_another_kind_are_told(tmp_path):
    image = np.zeros((1, 4, 4, 3), np.uint8)
    write_build(tmp_path / "a", {"train": (image, [0]), "test": (image, [0])}, shape=(None, None, 3))
    told("images are uint8 \\(None, None, 3\\).* must be .* of one size", "tiny", dir=str(tmp_path / "a"))
    write_build(tmp_path / "b", {"train": (image, [0])}, shape=(4, 4, 3))
    told("has the splits train; it needs train and test", "tiny", dir=str(tmp_path / "b"))
    write_build(tmp_path / "c", {"train": (image, [7]), "test": (image, [0])}, shape=(4, 4, 3))
    told("label 7 of train example 0 is not in 0 to 2", "tiny", dir=str(tmp_path / "c"))


DAMAGE = {"cut": "damaged", "empty": "damaged", "missing": "damaged", "zeros": "damaged", "wrong size": "damaged",
          "no info": "cannot be opened", "broken info": "cannot be opened", "broken features": "cannot be opened"}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_build_is_told(built, tmp_path, damage):
    build, _ = built
    records, info = build / "tiny-train.array_record-00000-of-00001", build / "dataset_info.json"
    content = records.read_bytes()
    match damage:
        case "cut":
            records.write_bytes(content[:len(content) // 2])
        case "empty":
            records.write_bytes(b"")
        case "missing":
            records.unlink()
        case "zeros":
            middle = content.index(b"IHDR")
            records.write_bytes(content[:middle] + bytes(100) + content[middle + 100:])
        case "no info":
            info.unlink()
        case "broken features":
            (build / "features.json").write_text("{")
        case "broken info":
            info.write_text(info.read_text()[:50])
        case "wrong size":
            features = build / "features.json"
            features.write_text(features.read_text().replace('["6", "5", "3"]', '["6", "6", "3"]'))
    told(f"tiny.* {DAMAGE[damage]} .*download_and_prepare", "tiny", dir=str(tmp_path))


# folder


def write_pictures(root, splits, classes=("ant", "bee"), colour=True):
    """Two pictures a class, plain and of a colour of their own; later splits are brighter by 1."""
    for bright, split in enumerate(splits):
        for i, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for j in range(2):
                value = (40 * i + 10 * j + bright, 40 * i, 90) if colour else 40 * i + 10 * j + bright
                Image.new("RGB" if colour else "L", (9, 7), value).save(root / split / name / f"{j}.png")
    return root


def test_folder_is_read_class_by_class(tmp_path):
    dataset = load(f"folder:{write_pictures(tmp_path, ['train', 'val', 'test'])}", image_size=4)
    assert dataset.class_names == ("ant", "bee") and set(dataset.splits) == {"train", "validation", "test"}
    train = dataset.splits["train"]
    assert train.images.shape == (4, 4, 4, 3) and train.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(train.images[:, 2, 1], [(0, 0, 90), (10, 0, 90), (40, 40, 90), (50, 40, 90)])
    assert [dataset.splits[name].images[0, 0, 0, 0] for name in ("train", "validation", "test")] == [0, 1, 2]


def test_folder_of_grey_pictures_and_val_alone(tmp_path):
    root = write_pictures(tmp_path, ["train", "val"], colour=False)
    (root / ".hidden").touch()
    (root / "train" / "ant" / ".hidden").touch()
    dataset = load(f"folder:{root}", image_size=3)
    assert set(dataset.splits) == {"train", "test"}
    assert dataset.splits["test"].images[:, 0, 0].tolist() == [[1], [11], [41], [51]]


def test_folder_mistakes_are_told(tmp_path):
    told("no such folder", f"folder:{tmp_path / 'nowhere'}", image_size=4)
    told("image_size=None", f"folder:{tmp_path}")
    told("must hold the folders train/ and test/", f"folder:{tmp_path}", image_size=4)
    root = write_pictures(tmp_path, ["train", "test"])
    (root / "test" / "cow").mkdir()
    told("class 'cow' is in only one of train/ and test/", f"folder:{root}", image_size=4)
    (root / "train" / "cow").mkdir()
    told("train/cow: no pictures in it", f"folder:{root}", image_size=4)
    (root / "train" / "cow" / "labels.csv").touch()
    told("train/cow: no pictures in it", f"folder:{root}", image_size=4)
    for split in ("train", "test"):
        for name in ("bee", "cow"):
            shutil.rmtree(root / split / name)
    told("has one class, ant: a classifier needs two", f"folder:{root}", image_size=4)
    shutil.rmtree(root / "train" / "ant")
    told("train: no folders in it", f"folder:{root}", image_size=4)


def test_a_folder_is_read_as_torchvision_does(tmp_path, capsys):
    """Folders in class folders are entered; other files, and what is no file, are skipped and counted."""
    root = write_pictures(tmp_path, ["train", "test"])
    (root / "train" / "ant" / "more" / "still").mkdir(parents=True)
    Image.new("RGB", (5, 5), (200, 200, 90)).save(root / "train" / "ant" / "more" / "still" / "1.JPG")
    for name in ("README.txt", "ant/Thumbs.db", "bee/labels.csv", "bee/noextension"):
        (root / "train" / name).write_text("no picture")
    os.mkfifo(root / "train" / "bee" / "pipe.png")
    dataset = load(f"folder:{root}", image_size=4)
    assert dataset.splits["train"].labels.tolist() == [0, 0, 0, 1, 1]
    assert abs(int(dataset.splits["train"].images[2, 0, 0, 0]) - 200) < 3
    [line] = capsys.readouterr().err.splitlines()
    assert "train: 5 files are skipped" in line and "README.txt" in line and "and 2 more" in line


def test_all_unreadable_pictures_are_named(tmp_path):
    folder = write_pictures(tmp_path, ["train", "test"]) / "test"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)).save(folder / "ant" / "0.png")
    (folder / "ant" / "0.png").write_bytes((folder / "ant" / "0.png").read_bytes()[:1000])
    Image.fromarray(np.zeros((5, 5), np.uint16)).save(folder / "ant" / "1.png")
    (folder / "bee" / "1.png").write_text("no picture")
    with pytest.raises(UserError, match="test: 3 of 4 pictures are no 8-bit images") as caught:
        load(f"folder:{tmp_path}", image_size=4)
    for each in ("ant/0.png (", "ant/1.png (mode I;16)", "bee/1.png ("):
        assert each in str(caught.value)
    assert "\n" not in str(caught.value)


# npz


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return {f"{split}_{kind}": value for split, count in (("train", 9), ("test", 4))
            for kind, value in (("images", random.integers(0, 256, (count, 5, 4, 3), np.uint8)),
                                ("labels", np.arange(count) % 3))}


def test_npz_is_read(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    dataset = load(f"npz:{tmp_path / 'a.npz'}")
    assert dataset.class_names == ("0", "1", "2") and set(dataset.splits) == {"train", "test"}
    for name, split in dataset.splits.items():
        np.testing.assert_array_equal(split.images, arrays[f"{name}_images"])
        np.testing.assert_array_equal(split.labels, arrays[f"{name}_labels"])
        assert split.labels.dtype == np.int32


def test_npz_with_names_validation_and_no_channel_axis(tmp_path, arrays):
    arrays = {name: value[..., 0] if name.endswith("images") else value.astype(np.uint8)
              for name, value in arrays.items()}
    arrays |= {"validation_images": arrays["test_images"], "validation_labels": arrays["test_labels"],
               "class_names": np.array(["a", "b", "c", "never seen"])}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    dataset = load(f"npz:{tmp_path / 'a.npz'}")
    assert dataset.class_names == ("a", "b", "c", "never seen")
    assert dataset.splits["validation"].images.shape == (4, 5, 4, 1)
    told("has its own validation split", f"npz:{tmp_path / 'a.npz'}", holdout=2)


NPZ_MISTAKES = {
    "test_labels missing; it holds train_images": lambda a: a.pop("test_labels"),
    "validation_labels missing": lambda a: a.update(validation_images=a["test_images"]),
    "train_images is float64; it must be uint8": lambda a: a.update(train_images=a["train_images"] / 255),
    r"test_images has shape \(4, 5, 4, 2\)": lambda a: a.update(test_images=a["test_images"][..., :2]),
    r"train_images has shape \(9, 5\)": lambda a: a.update(train_images=a["train_images"][:, :, 0, 0]),
    r"test_images are \(5, 2, 3\), but train_images \(5, 4, 3\)": lambda a: a.update(
        test_images=a["test_images"][:, :, :2]),
    r"test_labels\[2\] is -1, but classes are 0 to 2": lambda a: a["test_labels"].__setitem__(2, -1),
    r"test_labels\[3\] is 3, but classes are 0 to 2": lambda a: a["test_labels"].__setitem__(3, 3),
    r"train_labels\[1\] is 1, but classes are 0 to 0": lambda a: a.update(class_names=np.array(["only"])),
    r"train_labels\[4\] is 1000, with only 9 examples": lambda a: a["train_labels"].__setitem__(4, 1000),
    r"train_labels is float64 \(9,\)": lambda a: a.update(train_labels=a["train_labels"] * 1.0),
    r"test_labels is int64 \(4, 1\)": lambda a: a.update(test_labels=a["test_labels"][:, None]),
    r"train_labels is int64 \(0,\)": lambda a: a.update(train_labels=a["train_labels"][:0]),
    "test_images has 3 examples, but test_labels 4": lambda a: a.update(test_images=a["test_images"][:3]),
    r"test_labels\[0\] is 3, but classes are 0 to 2 \(they seem to count from 1: subtract 1\)": lambda a: a.update(
        test_labels=np.array([3, 1, 2, 1])),
    "class_names.1. and .2. are both 'b'": lambda a: a.update(class_names=np.array(["a", "b", "b"])),
    "class_names is int64": lambda a: a.update(class_names=np.arange(3)),
    "class_names cannot be read": lambda a: a.update(class_names=np.array(["a", None], object)),
}


@pytest.mark.parametrize("match", NPZ_MISTAKES)
def test_npz_mistakes_are_told(tmp_path, arrays, match):
    NPZ_MISTAKES[match](arrays)
    np.savez(tmp_path / "a.npz", **arrays)
    told(f"a.npz: {match}", f"npz:{tmp_path / 'a.npz'}")


def test_damaged_npz_is_told(tmp_path, arrays):
    file = tmp_path / "a.npz"
    told("a.npz: no such file", f"npz:{file}")
    np.savez(file, **arrays)
    content = file.read_bytes()
    for length in np.linspace(0, len(content) - 1, 40).astype(int):
        file.write_bytes(content[:length])
        told("a.npz: truncated or not an .npz file", f"npz:{file}")
    middle = content.index(arrays["train_images"].tobytes())
    file.write_bytes(content[:middle] + b"damage" + content[middle + 6:])
    told("a.npz: train_images cannot be read", f"npz:{file}")
    np.save(file.with_suffix(".npy"), arrays["train_images"])
    told("not an .npz file", f"npz:{file.with_suffix('.npy')}")


@pytest.mark.parametrize("dtype", ["i1", "u1", ">i2", "u4", ">u8"])
def test_npz_labels_of_every_integer_type_and_names_in_bytes(tmp_path, arrays, dtype):
    odd = {name: value.astype(dtype) if name.endswith("labels") else value for name, value in arrays.items()}
    np.savez_compressed(tmp_path / "a.npz", **odd, class_names=np.array([b"cat", "Käfer".encode(), b"dog"]))
    dataset = load(f"npz:{tmp_path / 'a.npz'}")
    assert dataset.class_names == ("cat", "Käfer", "dog")
    for name, split in dataset.splits.items():
        np.testing.assert_array_equal(split.labels, arrays[f"{name}_labels"])
        assert split.labels.dtype == np.int32


@pytest.mark.parametrize("names, match", [(np.array([b"\xff"] * 3), "class_names holds bytes that are not UTF-8"),
                                          (np.asarray("a"), r"class_names is <U1 \(\)"),
                                          (np.ones(3, complex), "class_names is complex128")])
def test_npz_names_that_are_none_are_told(tmp_path, arrays, names, match):
    np.savez(tmp_path / "a.npz", **arrays, class_names=names)
    told(f"a.npz: {match}", f"npz:{tmp_path / 'a.npz'}")


def test_a_named_pipe_is_no_data_set(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    told("pipe.npz: no file", f"npz:{tmp_path / 'pipe.npz'}")


def test_what_a_user_may_not_have_meant_is_noticed(tmp_path, arrays):
    def noticed(**changed):
        np.savez(tmp_path / "a.npz", **arrays | changed)
        return notices.notices(load(f"npz:{tmp_path / 'a.npz'}"))

    labels = np.arange(9) % 3
    few = "test has 4 examples: no interval for new examples can be trusted"
    assert [line.partition(": ")[2] for line in noticed()] == [few]
    [from_one, _] = noticed(train_labels=labels + 1, test_labels=np.array([1, 2, 3, 3]))
    assert "no training example has label 0: if your labels count from 1, subtract 1" in from_one
    [empty, also, _] = noticed(class_names=np.array(["ant", "bee", "cow", "dog"]),
                               test_images=np.repeat(arrays["test_images"], 2, 0), test_labels=np.arange(8) % 3)
    assert "train has no example of 1 of 4 classes: dog" in empty and "test has no example of 1" in also
    [one] = noticed(test_images=arrays["test_images"][:1], test_labels=labels[:1])
    assert "test has 1 example: no interval" in one


def test_npz_with_any_byte_flipped_is_read_or_told(tmp_path, arrays):
    """Never another exception, and never other pixels or labels."""
    file = tmp_path / "a.npz"
    np.savez(file, **arrays)
    content = file.read_bytes()
    expected = npz.of_file(file).splits
    for position in np.random.default_rng(0).integers(0, len(content), 100):
        flipped = bytearray(content)
        flipped[position] ^= 0xFF
        file.write_bytes(flipped)
        try:
            splits = npz.of_file(file).splits
        except UserError:
            continue
        for name in expected:
            np.testing.assert_array_equal(splits[name].images, expected[name].images)
            np.testing.assert_array_equal(splits[name].labels, expected[name].labels)
