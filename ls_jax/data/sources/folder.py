"""Data sets in a folder: train/ and test/ (or val/), with a folder for each class, of any images that Pillow reads."""
import concurrent.futures
import pathlib

import ml_collections
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ls_jax.data.dataset import Dataset, Split
from ls_jax.data.sources import check_path, path_of
from ls_jax.errors import UserError
from ls_jax.fields import Field, whole

NAMES = "folder:PATH"
IMAGE_SIZE = Field(None, "folder, or TFDS images of many sizes: resize them to squares of this many pixels a side",
                   whole(1), kind=int)
FIELDS = {"image_size": IMAGE_SIZE}


def owns(data: ml_collections.ConfigDict) -> bool:
    """Whether the name begins with folder:."""
    return data.name.startswith("folder:")


def check(data: ml_collections.ConfigDict) -> None:
    """Raise UserError unless the folder exists."""
    check_path(data)


def load(data: ml_collections.ConfigDict, workdir: pathlib.Path | None = None) -> Dataset:
    """The images of a folder, resized (bilinear, aspect ratio not kept) to [N, image_size, image_size, C].

    The classes are the sorted folder names. val/ is the split "validation", or the test split if there is no test/. C
    is 1 if all images are grey, else 3. Hidden files are skipped.

    Raises:
        UserError: names the folder or file that is missing, empty, no image, or not in every split.
    """
    root, image_size = path_of(data), data.get("image_size")
    if image_size is None or image_size < 1:
        raise UserError(f"data.image_size={image_size}: set it to the side, in pixels, of {root}'s resized images")
    folders = _split_folders(root)
    class_names = _visible(folders["train"], "a folder for each class")
    for folder in folders.values():
        differing = sorted(set(class_names) ^ set(_visible(folder, "a folder for each class")))
        if differing:
            raise UserError(f"{root}: the class {differing[0]!r} is in only one of train/ and {folder.name}/; "
                            "every split must hold the same class folders")
    splits = {name: _read_split(folder, class_names, image_size) for name, folder in folders.items()}
    if all((split.images == split.images[..., :1]).all() for split in splits.values()):
        splits = {name: Split(split.images[..., :1].copy(), split.labels) for name, split in splits.items()}
    return Dataset(f"folder:{root}", tuple(class_names), splits)


def _split_folders(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """The folder of each split."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    train, validation, test = (root / name for name in ("train", "val", "test"))
    if not train.is_dir() or not (validation.is_dir() or test.is_dir()):
        raise UserError(f"{root}: it must hold the folders train/ and test/ (or val/), with a folder for each class")
    if not test.is_dir():
        return {"train": train, "test": validation}
    if not validation.is_dir():
        return {"train": train, "test": test}
    return {"train": train, "validation": validation, "test": test}


def _visible(folder: pathlib.Path, expected: str) -> list[str]:
    """The sorted names in a folder, without hidden ones."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if not names:
        raise UserError(f"{folder}: empty; it must hold {expected}")
    return names


def _read_split(folder: pathlib.Path, class_names: list[str], image_size: int) -> Split:
    """All images of a split as RGB, class by class, sorted by name."""
    files, labels = [], []
    for label, class_name in enumerate(class_names):
        if not (folder / class_name).is_dir():
            raise UserError(f"{folder / class_name}: a file where a class folder is expected; remove it")
        names = _visible(folder / class_name, "images")
        files += [folder / class_name / name for name in names]
        labels += [label] * len(names)
    images = np.empty((len(files), image_size, image_size, 3), np.uint8)
    with concurrent.futures.ThreadPoolExecutor() as pool:  # Pillow releases Python's lock while it decodes
        for i, picture in enumerate(pool.map(lambda file: _read_picture(file, image_size), files)):
            images[i] = picture
    return Split(images, np.array(labels, np.int32))


def _read_picture(file: pathlib.Path, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """One image, resized."""
    try:
        with Image.open(file) as picture:
            if picture.mode.startswith(("I", "F")):  # conversion to RGB would clip
                raise ValueError(f"mode {picture.mode}")
            return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        raise UserError(f"{file}: not an 8-bit image that Pillow can read ({error}); replace or remove it") from error
