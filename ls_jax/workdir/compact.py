"""Predictions small enough to stay beside a run's results: new statistics then need no old run again.

A file holds one network on one held-out split, in one of two forms.

- "logits": `logits` [N, K] in float16, or in float32 if they are beyond its range. `--mode=analyze` reads it as it is.
- "top", if that would take too much room: for each example the k largest log-probabilities, their classes, and the
  label's. Accuracy, NLL, calibration of the predicted class, AURC and (k > 1) margins follow from them. With the
  log-sum-exps at `TEMPERATURES`, so does temperature scaling on that grid.

Both hold `labels`, `index`, and the output layer `kernel` and `bias` in float16. From these the planes of class
templates can be drawn: a feature's coordinates in the templates' span follow from its logits. With more than
`MOST_CLASSES` classes, `class_names` and the output layer are left out. For text, `sentence` numbers each token's
sentence.
"""
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import log_softmax, logsumexp

from ls_jax.errors import UserError
from ls_jax.workdir import files, npz_map, predictions

BUDGET = 10 << 20                                     # bytes of all predictions of a run
TEMPERATURES = np.geomspace(0.25, 4, 33).astype(np.float32)
# (k, whether with the log-sum-exps), the richest first.
FORMS = ((64, True), (16, True), (8, True), (4, False), (2, False), (1, False))
MOST_CLASSES = 1000
HELD_OUT = ("validation", "test")


def keep(workdir: str | pathlib.Path, folder: str | pathlib.Path, budget: int = BUDGET) -> list[pathlib.Path]:
    """Write the compact form of every held-out prediction in a workdir to `folder`, named as in the workdir.

    Args:
        workdir: a run's, with predictions/.
        folder: is made if it does not exist.
        budget: bytes. All files take the "logits" form if that fits, else the richest of `FORMS` that does.

    Returns:
        The files.

    Raises:
        UserError: a file of predictions is damaged, or the disk is full.
    """
    sources = [path for split in HELD_OUT
               for path in sorted((pathlib.Path(workdir) / predictions.ALL).glob(f"{split}-*.npz"))]
    if not sources:
        return []
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [np.shape(npz_map.open_npz(path)["logits"]) for path in sources]
    form = next((form for form in (None, *FORMS) if sum(n * _bytes(k, form) for n, k in sizes) <= budget), FORMS[-1])
    for path in sources:
        split, _, member = path.stem.rpartition("-")
        small = reduced(predictions.mapped(workdir, split, int(member)), form)
        with files.replacing(folder / path.name) as unfinished:
            np.savez_compressed(unfinished, **small)
    return [folder / path.name for path in sources]


def reduced(arrays: Mapping[str, Any], form: tuple[int, bool] | None = None) -> dict[str, np.ndarray]:
    """The arrays of `predictions.load` in compact form; `form` is None for "logits", else one of `FORMS`."""
    logits, labels = arrays["logits"], np.asarray(arrays["labels"])
    kept = {"labels": labels.astype(np.min_scalar_type(logits.shape[1] - 1)), "index": _narrow(arrays["index"])}
    if logits.shape[1] <= MOST_CLASSES:
        kept |= {name: _half(arrays[name]) for name in ("kernel", "bias")}
        kept["class_names"] = np.asarray(arrays["class_names"])
    if "sentence" in arrays:
        kept["sentence"] = _narrow(arrays["sentence"])
    if form is None:
        return {"logits": _half(logits), **kept}
    parts = [_top(np.asarray(logits[start:start + 1024]), labels[start:start + 1024], *form)
             for start in range(0, len(labels), 1024)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {**joined, **({"temperatures": TEMPERATURES} if form[1] else {}), **kept}


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a compact file, numbers as float32 and labels as int64.

    Raises:
        UserError: the file is not there, or damaged.
    """
    arrays = npz_map.read(path)
    if not {"labels", "index"} <= arrays.keys() or not arrays.keys() & {"logits", "label_log_probability"}:
        raise UserError(f"{path} holds no compact predictions: it has {', '.join(arrays)}")
    return {name: array.astype(np.float32) if array.dtype == np.float16
            else array.astype(np.int64) if array.dtype.kind in "iu" else array
            for name, array in arrays.items()}


def _top(logits, labels, k, grid):
    """The arrays of the "top" form for a block of examples."""
    scores = log_softmax(logits.astype(np.float64), axis=-1)
    order = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
    found = {"top_classes": order.astype(np.min_scalar_type(logits.shape[1] - 1)),
             "top_log_probabilities": np.take_along_axis(scores, order, axis=-1).astype(np.float16),
             "label_log_probability": scores[np.arange(len(labels)), labels].astype(np.float16)}
    if grid:
        sums = [logsumexp(scores / temperature, axis=-1) for temperature in TEMPERATURES]
        found["log_sum_exp"] = np.stack(sums, axis=-1).astype(np.float16)
    return found


def _bytes(classes, form):
    """Bytes an example takes, before compression."""
    if form is None:
        return 2 * classes
    k, grid = form
    return 2 + 4 * min(k, classes) + 2 * len(TEMPERATURES) * grid


def _half(numbers):
    """In float16 where its range suffices."""
    numbers = np.asarray(numbers)
    return numbers.astype(np.float16 if np.abs(numbers).max(initial=0) < np.finfo(np.float16).max else np.float32)


def _narrow(integers):
    integers = np.asarray(integers)
    return integers.astype(np.min_scalar_type(max(1, int(integers.max(initial=0)))))
