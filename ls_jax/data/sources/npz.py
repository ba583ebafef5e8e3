"""Data sets in one .npz file: images and labels of train, test and perhaps validation; perhaps class_names."""
import os
import pathlib
import zipfile
from collections.abc import Mapping

import ml_collections
import numpy as np

from ls_jax import checked
from ls_jax.data.dataset import Dataset, Split
from ls_jax.data.sources import check_path, path_of
from ls_jax.errors import InvalidArray, UserError
from ls_jax.fields import Field
from ls_jax.workdir import npz_map

NAMES = "npz:PATH"
FIELDS: Mapping[str, Field] = {}


def owns(data: ml_collections.ConfigDict) -> bool:
    """Whether the name begins with npz:."""
    return data.name.startswith("npz:")


def check(data: ml_collections.ConfigDict) -> None:
    """Raise UserError unless the file exists."""
    check_path(data)


def load(data: ml_collections.ConfigDict, workdir: pathlib.Path | None = None) -> Dataset:
    """The data set in the file of `data.name`; see `of_file`."""
    return of_file(path_of(data))


def of_file(path: str | os.PathLike) -> Dataset:
    """The data set in a file.

    {train,test,validation}_images are uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3, of one size; _labels are
    integers [N] from 0. class_names are strings [K], or bytes in UTF-8. Without them K is the largest training label
    plus one.

    Raises:
        UserError: names the file, the array and, if it has one, the first bad index.
    """
    path = os.fspath(path)
    arrays = read(path)
    has_validation = any(name.startswith("validation_") for name in arrays)
    names = ("train", "validation", "test") if has_validation else ("train", "test")
    wanted = [f"{name}_{kind}" for name in names for kind in ("images", "labels")]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise UserError(f"{path}: {', '.join(missing)} missing; it holds {', '.join(arrays) or 'no arrays'}")
    class_names = _class_names(path, arrays)
    splits = {name: _split(path, name, arrays, len(class_names)) for name in names}
    train_shape = splits["train"].images.shape[1:]
    for name, split in splits.items():
        if split.images.shape[1:] != train_shape:
            raise UserError(f"{path}: {name}_images are {split.images.shape[1:]}, but train_images {train_shape} "
                            "(height, width, channels); make them the same")
    return Dataset(f"npz:{path}", class_names, splits)


def read(path: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file. Raises UserError if it is missing or damaged; see `npz_map.open_npz`."""
    if not os.path.isfile(path):  # a named pipe would never answer
        raise UserError(f"{path}: {'no file' if os.path.exists(path) else 'no such file'}; write it with numpy.savez")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: truncated or not an .npz file; write it with numpy.savez")
    try:
        return npz_map.read(path)
    except npz_map.Unreadable as error:
        array = error.array or "the list of arrays"
        raise UserError(f"{path}: {array} cannot be read: it {error.reason}; write the file anew") from error


def _class_names(path: str, arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    """The file's class names, or else the numbers up to the largest training label."""
    if "class_names" in arrays:
        try:
            names = tuple(checked.strings(arrays["class_names"]))
        except InvalidArray as error:
            raise UserError(f"{path}: {error}") from error
        for i, name in enumerate(names):
            if name in names[:i]:
                raise UserError(f"{path}: class_names[{names.index(name)}] and [{i}] are both {name!r}; give each "
                                "class a name of its own")
        return names
    labels = _labels(path, "train_labels", arrays)
    largest = int(labels.max())
    if largest >= len(labels):
        raise UserError(f"{path}: train_labels[{labels.argmax()}] is {largest}, with only {len(labels)} examples; "
                        "labels are class numbers from 0 (if this is right, add class_names)")
    return tuple(str(i) for i in range(largest + 1))


def _labels(path: str, name: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The labels of this name, with dtype and shape checked."""
    labels = arrays[name]
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not labels.size:
        raise UserError(f"{path}: {name} is {labels.dtype} {labels.shape}; it must be integers [N], N > 0")
    return labels


def _split(path: str, name: str, arrays: dict[str, np.ndarray], num_classes: int) -> Split:
    """One split, checked."""
    images, labels = arrays[f"{name}_images"], _labels(path, f"{name}_labels", arrays)
    if images.dtype != np.uint8:
        raise UserError(f"{path}: {name}_images is {images.dtype}; it must be uint8, pixels 0..255")
    shape = images.shape
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in shape:
        raise UserError(f"{path}: {name}_images has shape {shape}; it must be [N, H, W] or [N, H, W, C] with C = 1 or "
                        "3")
    if len(images) != len(labels):
        raise UserError(f"{path}: {name}_images has {len(images)} examples, but {name}_labels {len(labels)}")
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if bad.size:
        from_one = labels.min() == 1 and labels.max() == num_classes
        counted = " (they seem to count from 1: subtract 1)" if from_one else ""
        raise UserError(f"{path}: {name}_labels[{bad[0]}] is {labels[bad[0]]}, but classes are 0 to "
                        f"{num_classes - 1}{counted}")
    return Split(images, labels.astype(np.int32))
