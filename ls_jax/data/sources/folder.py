"""Data sets in a folder: train/ and test/ (or val/), with a folder for each class, of any images that Pillow reads."""
import concurrent.futures
import functools
import os
import pathlib
import sys

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

    The classes are the sorted folder names. A class's pictures may lie in folders of its folder. val/ is the split
    "validation", or the test split if there is no test/. C is 1 if all images are grey, else 3. As torchvision's
    ImageFolder does, it skips what has no picture's extension, and says how many files these are. Hidden files are
    skipped, too.

    Raises:
        UserError: names the folder that is missing, empty, or not in every split, or the pictures that cannot be read.
    """
    root, image_size = path_of(data), data.get("image_size")
    if image_size is None or image_size < 1:
        raise UserError(f"data.image_size={image_size}: set it to the side, in pixels, of {root}'s resized images")
    folders = _split_folders(root)
    class_names = _classes(folders["train"])
    for folder in folders.values():
        differing = sorted(set(class_names) ^ set(_classes(folder)))
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


def _classes(folder: pathlib.Path) -> list[str]:
    """The sorted names of the folders in a folder, without hidden ones."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise UserError(f"{folder}: no folders in it; it must hold a folder for each class")
    return names


def _read_split(folder: pathlib.Path, class_names: list[str], image_size: int) -> Split:
    """All images of a split as RGB, class by class, sorted by path."""
    files, labels, skipped = [], [], [entry for entry in folder.iterdir() if _is_other(entry)]
    for label, class_name in enumerate(class_names):
        found, others = _pictures(folder / class_name)
        files += found
        labels += [label] * len(found)
        skipped += others
    if skipped:
        print(f"{folder}: {len(skipped):,} file{'s are' if len(skipped) > 1 else ' is'} skipped, with no picture's "
              f"extension: {_some(sorted(map(str, skipped)), 3)}", file=sys.stderr, flush=True)
    images, problems = np.empty((len(files), image_size, image_size, 3), np.uint8), []
    with concurrent.futures.ThreadPoolExecutor() as pool:  # Pillow releases Python's lock while it decodes
        for i, picture in enumerate(pool.map(lambda file: _read_picture(file, image_size), files)):
            if isinstance(picture, str):
                problems.append(f"{files[i]} ({picture})")
            else:
                images[i] = picture
    if problems:
        raise UserError(f"{folder}: {len(problems):,} of {len(files):,} pictures are no 8-bit images that Pillow can "
                        f"read; replace or remove {_some(problems, 100)}")
    return Split(images, np.array(labels, np.int32))


def _pictures(folder: pathlib.Path) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The pictures below a class's folder, and the files that are none by their extension."""
    files = sorted(pathlib.Path(parent, name) for parent, folders, names in os.walk(folder, followlinks=True)
                   for name in names if not any(part.startswith(".") for part in (
                       name, *pathlib.Path(parent).relative_to(folder).parts)))
    pictures = [file for file in files if file.suffix.lower() in _extensions() and file.is_file()]
    if not pictures:
        raise UserError(f"{folder}: no pictures in it; every class of every split must hold some")
    return pictures, [file for file in files if file.suffix.lower() not in _extensions() or not file.is_file()]


def _is_other(entry):
    return not entry.is_dir() and not entry.name.startswith(".")


@functools.cache
def _extensions():
    """The extensions of the formats that Pillow reads, with the dot."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def _some(names, most):
    return ", ".join(names[:most]) + (f", and {len(names) - most:,} more" if len(names) > most else "")


def _read_picture(file: pathlib.Path, size: int) -> UInt8[np.ndarray, "size size 3"] | str:
    """One image, resized; or why it cannot be read."""
    try:
        with Image.open(file) as picture:
            if picture.mode.startswith(("I", "F")):  # conversion to RGB would clip
                return f"mode {picture.mode}"
            return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        return " ".join(str(error).replace(str(file), "it").split())
