"""Predictions on disk: predictions/SPLIT-MEMBER.npz, one file a member, which is also what `--mode=analyze` reads."""
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ls_jax.evaluate import Predictions


def save(workdir: str | pathlib.Path, split: str, member: int, predictions: Predictions, head: dict[str, Any],
         class_names: tuple[str, ...]) -> None:
    """Write one member's predictions with its output layer: logits = features @ kernel + bias."""
    path = file(workdir, split, member)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **predictions._asdict(), kernel=np.asarray(head["kernel"]), bias=np.asarray(head["bias"]),
             class_names=np.asarray(class_names))
    partial.replace(path)


def load(workdir: str | pathlib.Path, split: str, member: int) -> dict[str, np.ndarray]:
    """One member's arrays on one split: logits, features, labels, index, kernel, bias, class_names."""
    with np.load(file(workdir, split, member)) as arrays:
        return dict(arrays)


def features(workdir: str | pathlib.Path, split: str, member: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(features, labels) of one member on one split; None for a member that diverged."""
    path = file(workdir, split, member)
    if not path.exists():
        return None
    with np.load(path) as arrays:
        return arrays["features"], arrays["labels"]


def every(workdir: str | pathlib.Path, members: int) -> Iterator[tuple[str, int, dict[str, np.ndarray]]]:
    """(split, member, arrays) of all that is there, one file in memory at a time; a diverged member has none."""
    for split in ("train", "validation", "test"):
        for member in range(members):
            if file(workdir, split, member).exists():
                yield split, member, load(workdir, split, member)


def file(workdir: str | pathlib.Path, split: str, member: int) -> pathlib.Path:
    """Where one member's predictions on one split are kept."""
    return pathlib.Path(workdir) / "predictions" / f"{split}-{member:03d}.npz"
