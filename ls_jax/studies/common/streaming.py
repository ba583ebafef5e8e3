"""Softmax in one pass over the logits, in blocks that fit a core's cache; no array as large as the logits is made.

Logits of float32 or less are exponentiated in float32, float64 and integers in float64; sums over examples are float64.
The largest logit's own term, exp(0) = 1, is kept apart from the sum of the others. So 1 - confidence stays precise at
saturated logits, and k tied classes have a confidence of exactly 1/k.
"""
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Real

from ls_jax import checked
from ls_jax.errors import InvalidArray

BLOCK = 2**19  # logits, 2 MiB of float32; in smaller blocks, threads wait for each other on a busy machine
WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Logits = Real[Any, "*batch examples classes"]
Labels = Integer[Any, "*#batch examples"]
Mask = Bool[Any, "*#batch examples"] | None


class Softmax(NamedTuple):
    """A block's softmax relative to its largest entry: a probability is exponential / (1 + others)."""
    top: Int[np.ndarray, " rows"]                # index of the largest logit, the first of equal ones
    shifted: Float[np.ndarray, "rows classes"]   # (logit - largest) / temperature
    exponential: Float[np.ndarray, "rows classes"]
    others: Float[np.ndarray, " rows"]           # the sum of the exponentials of all but the largest


class TopLabel(NamedTuple):
    """Three numbers for each example, from which most measures of predictions are computed."""
    confidence: Float[np.ndarray, " examples"]   # the largest probability
    correct: Bool[np.ndarray, " examples"]
    nll: Float[np.ndarray, " examples"]          # nats


class Rows:
    """A lazy view of an array's rows: only the blocks that are indexed are read."""

    def __init__(self, array: Any, rows: slice):
        self._array, self._rows = array, range(*rows.indices(len(array)))
        self.shape, self.dtype = (len(self._rows), *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> np.ndarray:
        chosen = self._rows[rows]
        return self._array[chosen.start:chosen.stop:chosen.step]


def over_blocks(function: Callable[[slice], Any], examples: int, classes: int) -> Iterator[Any]:
    """function(slice) for consecutive slices of the examples, in order, computed on one thread for each core."""
    step = max(1, BLOCK // max(1, classes))
    blocks = [slice(start, min(start + step, examples)) for start in range(0, examples, step)]
    if min(len(blocks), WORKERS) < 2:
        yield from map(function, blocks)
        return
    with ThreadPoolExecutor(min(len(blocks), WORKERS)) as pool:
        yield from pool.map(function, blocks)


def softmax(block: Float[np.ndarray, "rows classes"], temperature: float = 1.0) -> Softmax:
    """The softmax of a block. Logits of +inf share all the probability; logits of -inf have none.

    Raises:
        InvalidArray: a logit is NaN, or all logits of an example are -inf.
    """
    block = checked.reals(block)
    rows = np.arange(len(block))
    top = block.argmax(axis=-1)  # also finds NaN
    largest = block[rows, top]
    with np.errstate(invalid="ignore", over="ignore"):  # a difference may overflow float32; its probability is 0
        shifted = block - largest[:, None]
    infinite = ~np.isfinite(largest)
    if infinite.any():
        if not (largest[infinite] == np.inf).all():
            raise InvalidArray("logits hold NaN, or an example whose classes are all -inf: mask such examples out")
        shifted[infinite] = np.where(block[infinite] == np.inf, 0, -np.inf)
    if temperature != 1:
        with np.errstate(over="ignore"):
            shifted *= shifted.dtype.type(1 / temperature)
    exponential = np.exp(shifted)
    exponential[rows, top] = 0
    others = exponential.sum(axis=-1)
    exponential[rows, top] = 1
    return Softmax(top, shifted, exponential, others)


def top_label(logits: Real[Any, "examples classes"], labels: Integer[np.ndarray, " examples"],
              temperature: float = 1.0) -> TopLabel:
    """Confidence, correctness and NLL of every example, in float64 (`correct`: bool)."""
    logits, labels = checked.member(logits, labels)

    def block(rows):
        values = checked.reals(logits[rows])
        top, shifted, _, others = softmax(values, temperature)
        true = shifted[np.arange(len(top)), labels[rows]].astype(np.float64)
        lost = np.flatnonzero(np.isneginf(true))  # overflowed in float32: recompute in float64
        true[lost] = (values[lost, labels[rows][lost]].astype(np.float64) - values[lost, top[lost]]) / temperature
        others = others.astype(np.float64)
        return TopLabel(1 / (1 + others), top == labels[rows], np.log1p(others) - true)

    parts = list(over_blocks(block, *logits.shape))
    return TopLabel(*map(np.concatenate, zip(*parts)))


def over_members(function: Callable[..., Any], logits: Logits, labels: Labels, mask: Mask = None) -> Any:
    """function(logits [examples, classes], labels [examples]) for each index of the leading dimensions, stacked.

    Examples outside the mask are removed first. `function` returns a number, an array or a NamedTuple of them (None
    stays None). Without leading dimensions, numbers are returned as Python floats.
    """
    checked.check_unmasked(logits, "logits")
    logits, labels = np.asarray(logits), checked.integers(labels)
    checked.check_reals(logits)
    if logits.ndim < 2:
        raise ValueError(f"logits have shape {logits.shape}: they must be [..., examples, classes]")
    batch, examples = logits.shape[:-2], logits.shape[-2]
    labels = _broadcast("labels", labels, (*batch, examples))
    mask = _broadcast("mask", np.ones(examples, bool) if mask is None else checked.booleans(mask), (*batch, examples))
    found = []
    for index in np.ndindex(batch):
        kept = mask[index]
        member = (logits[index], labels[index]) if kept.all() else (logits[index][kept], labels[index][kept])
        _check(*member)
        found.append(function(*member))
    return _stack(found, batch)


def _stack(results, batch):
    if isinstance(results[0], tuple):
        return type(results[0])(*(None if parts[0] is None else _stack(parts, batch) for parts in zip(*results)))
    if not batch:
        return results[0].item() if np.ndim(results[0]) == 0 and isinstance(results[0], np.generic) else results[0]
    return np.stack(results).reshape(*batch, *np.shape(results[0]))


def _broadcast(name, array, shape):
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{name} of shape {array.shape} do not fit logits with [..., examples] = {shape}") from None


def _check(logits, labels):
    if not len(labels) or not logits.shape[-1]:
        raise ValueError("calibration needs at least one example and one class (after the mask)")
    checked.class_ids(labels, logits.shape[-1])
    first = checked.reals(logits[:256])
    if len(first) >= 8 and first.min() >= 0 and np.allclose(first.sum(axis=-1), 1, rtol=0, atol=1e-3):
        raise ValueError("these logits are probabilities (each row sums to 1): pass logits, or np.log(probabilities)")
