"""Predictions on disk: predictions/SPLIT-MEMBER.npz, one file a member, which is also what `--mode=analyze` reads.

Of images that are read as they are needed, all held-out logits are kept, but features only of the classes that are
shown: shown/SPLIT-MEMBER.npz.
"""
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ls_jax import checked
from ls_jax.errors import InvalidArray, UserError
from ls_jax.workdir import files, npz_map

BLOCK = 1 << 22  # numbers that are looked at at once
ALL, SHOWN = "predictions", "shown"  # folders: of whole splits, and of the shown classes of streamed ones


class Predictions(NamedTuple):
    """One member's outputs on one split, ordered by `index`, the examples' ids in the split."""
    logits: Float[np.ndarray, "examples classes"]
    features: Float[np.ndarray, "examples features"] | None  # None: not kept
    labels: Int[np.ndarray, " examples"]
    # The examples' ids in the split. For text an example is a token: its row times the row length plus its position.
    index: Int[np.ndarray, " examples"]
    # For text: the number, from 0, of each token's sentence. Tokens of one sentence are not independent.
    sentence: Int[np.ndarray, " examples"] | None = None


def save(workdir: str | pathlib.Path, split: str, member: int, predictions: Predictions, head: dict[str, Any],
         class_names: Sequence[str], folder: str = ALL) -> None:
    """Write one member's predictions, and its output layer if `head` has it: logits = features @ kernel + bias.

    They are written whole or not at all.
    """
    path = file(workdir, split, member, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: array for name, array in predictions._asdict().items() if array is not None}
    with files.replacing(path) as unfinished:
        np.savez(unfinished, **arrays, **{name: np.asarray(head[name]) for name in ("kernel", "bias") if name in head},
                 class_names=np.asarray(class_names))


def load(workdir: str | pathlib.Path, split: str, member: int) -> dict[str, np.ndarray]:
    """One member's arrays on one split: logits, features if kept, labels, index, kernel, bias, class_names, sentence.

    `sentence` is there for text only, and a network from elsewhere may lack kernel and bias. Labels, index and sentence
    are int64, class_names str, other numbers float32 or float64; the same holds for everything that is read here.

    Raises:
        UserError: the file is not there, damaged, or holds a number that is not finite or a label that is no class.
    """
    return {name: np.asarray(array) for name, array in _read(file(workdir, split, member)).items()}


def mapped(workdir: str | pathlib.Path, split: str, member: int) -> dict[str, Any]:
    """As `load`, but logits and features are `npz_map.OnDisk`: read some rows at a time, and never held whole."""
    return _read(file(workdir, split, member))


def shown(workdir: str | pathlib.Path, split: str, member: int) -> dict[str, np.ndarray] | None:
    """The arrays, with features, of the examples shown on planes of class templates; None if there are none."""
    for folder in (SHOWN, ALL):
        path = file(workdir, split, member, folder)
        if path.exists():
            arrays = _read(path)
            return {name: np.asarray(array) for name, array in arrays.items()} if "features" in arrays else None
    return None


def features(workdir: str | pathlib.Path, split: str, member: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(features, labels) of one member on one split; None for a member that diverged, or where they were not kept."""
    path = file(workdir, split, member)
    if not path.exists():
        return None
    arrays = _read(path)
    return (np.asarray(arrays["features"]), arrays["labels"]) if "features" in arrays else None


def every(workdir: str | pathlib.Path, members: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(split, member, `mapped` arrays) of all that is there; a diverged member has none."""
    for split in ("train", "validation", "test"):
        for member in range(members):
            if file(workdir, split, member).exists():
                yield split, member, mapped(workdir, split, member)


def file(workdir: str | pathlib.Path, split: str, member: int, folder: str = ALL) -> pathlib.Path:
    """Where one member's predictions on one split are kept."""
    return pathlib.Path(workdir) / folder / f"{split}-{member:03d}.npz"


def _read(path):
    """A file's arrays, checked; logits and features where they are, if they are as `save` leaves them."""
    arrays = npz_map.open_npz(path)
    try:
        head = ("kernel", "bias") if {"features", "kernel", "bias"} & arrays.keys() else ()
        for name in ("logits", "labels", "index", *head, "class_names"):
            if name not in arrays:
                raise InvalidArray(f"the array {name!r} is missing")
        checked.member(arrays["logits"], np.asarray(arrays["labels"]))
        for name in ("logits", "features", "kernel", "bias"):
            if name in arrays:
                arrays[name] = _finite(name, arrays[name])
        if "features" in arrays and arrays["features"].shape != (len(arrays["logits"]), len(arrays["kernel"])):
            raise InvalidArray(f"features have shape {arrays['features'].shape}, the kernel {arrays['kernel'].shape}")
        integers = [name for name in ("labels", "index", "sentence") if name in arrays]
        return {**arrays, **{name: checked.integers(np.asarray(arrays[name]), name) for name in integers},
                **{name: np.asarray(arrays[name]) for name in head},
                "class_names": np.asarray(checked.strings(np.asarray(arrays["class_names"])))}
    except InvalidArray as error:
        raise UserError(f"{path}: {error}; write the file anew: --mode=study predicts again") from error


def _finite(name, array):
    """An array whose numbers are all finite; in memory if they are not of the types that studies compute in."""
    checked.check_reals(array, name)
    width = max(1, array[:1].size)
    for start in range(0, len(array), max(1, BLOCK // width)):
        checked.check_finite(name, array[start:start + max(1, BLOCK // width)], start)
    return array if array.dtype in (np.float32, np.float64) else checked.reals(array, name)
