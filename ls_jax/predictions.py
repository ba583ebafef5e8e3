"""Predictions on disk: predictions/SPLIT-MEMBER.npz, one file a member, which is also what `--mode=analyze` reads.

Of pictures that are read as they are needed, all held-out logits are kept, but no features: these, of the classes that are shown
alone, are in shown/SPLIT-MEMBER.npz.
"""
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ls_jax import files, npz_map
from ls_jax.evaluate import Predictions

ALL, SHOWN = "predictions", "shown"  # folders: of whole splits, and of the shown classes of streamed ones


def save(workdir: str | pathlib.Path, split: str, member: int, predictions: Predictions, head: dict[str, Any],
         class_names: tuple[str, ...], folder: str = ALL) -> None:
    """Write one member's predictions with its output layer: logits = features @ kernel + bias; whole or not at all."""
    path = file(workdir, split, member, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: array for name, array in predictions._asdict().items() if array is not None}
    with files.replacing(path) as unfinished:
        np.savez(unfinished, **arrays, kernel=np.asarray(head["kernel"]), bias=np.asarray(head["bias"]),
                 class_names=np.asarray(class_names))


def load(workdir: str | pathlib.Path, split: str, member: int) -> dict[str, np.ndarray]:
    """One member's arrays on one split: logits, features unless they were not kept, labels, index, kernel, bias, class_names."""
    with np.load(file(workdir, split, member)) as arrays:
        return dict(arrays)


def mapped(workdir: str | pathlib.Path, split: str, member: int) -> dict[str, Any]:
    """As `load`, but logits and features are `npz_map.OnDisk`: read some rows at a time, and never held whole."""
    path = file(workdir, split, member)
    arrays = npz_map.open_npz(path, path.parent)
    return {name: array if name in ("logits", "features") else np.asarray(array) for name, array in arrays.items()}


def shown(workdir: str | pathlib.Path, split: str, member: int) -> dict[str, np.ndarray] | None:
    """The arrays, features among them, of the examples that are shown on planes of class templates; None where there are none."""
    for folder in (SHOWN, ALL):
        path = file(workdir, split, member, folder)
        if path.exists():
            with np.load(path) as arrays:
                return dict(arrays) if "features" in arrays else None
    return None


def features(workdir: str | pathlib.Path, split: str, member: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(features, labels) of one member on one split; None for a member that diverged, or where they were not kept."""
    path = file(workdir, split, member)
    if not path.exists():
        return None
    with np.load(path) as arrays:
        return (arrays["features"], arrays["labels"]) if "features" in arrays else None


def every(workdir: str | pathlib.Path, members: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(split, member, `mapped` arrays) of all that is there; a diverged member has none."""
    for split in ("train", "validation", "test"):
        for member in range(members):
            if file(workdir, split, member).exists():
                yield split, member, mapped(workdir, split, member)


def file(workdir: str | pathlib.Path, split: str, member: int, folder: str = ALL) -> pathlib.Path:
    """Where one member's predictions on one split are kept."""
    return pathlib.Path(workdir) / folder / f"{split}-{member:03d}.npz"
