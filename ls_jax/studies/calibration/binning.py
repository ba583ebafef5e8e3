"""Calibration error from bins: edges, sums over bins, and norms of the gaps between confidence and accuracy.

Of the predicted class alone it works on one confidence and outcome per example (`streaming.TopLabel`); of every class,
on the logits.
"""
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from ls_jax import checked
from ls_jax.studies.common import streaming

NORMS = ("l1", "l2", "max")


class Cells(NamedTuple):
    """Sums over the examples of each bin, wrong ones and right ones apart; enough to bootstrap from."""
    edges: Float[np.ndarray, " bins+1"]
    count: Float[np.ndarray, "*draws bins 2"]
    confidence: Float[np.ndarray, "*draws bins 2"]  # sums


def equal_width(bins: int) -> Float[np.ndarray, " bins+1"]:
    """Edges j/bins, the floats nearest to them."""
    return np.arange(bins + 1) / bins


def equal_mass(confidence: Float[np.ndarray, " examples"], bins: int) -> Float[np.ndarray, " bins+1"]:
    """Edges of bins that hold equally many examples, as `np.array_split` shares them out, but never parts equal confidences.

    An inner edge is the largest confidence in the bin below it. With fewer examples than bins the last bins are empty.
    """
    confidence = checked.doubles(confidence, "confidence")
    share, extra = divmod(len(confidence), bins)
    ends = np.arange(1, bins) * share + np.minimum(np.arange(1, bins), extra)
    return np.concatenate([[0.0], np.sort(confidence)[ends - 1], [1.0]])


def edges_of(confidence: Float[np.ndarray, " examples"], bins: int, scheme: str) -> Float[np.ndarray, " bins+1"]:
    """The edges of a scheme, "equal_width" or "equal_mass"."""
    if not isinstance(bins, (int, np.integer)) or bins < 1:
        raise ValueError(f"bins={bins!r}: choose a whole number of at least 1")
    if scheme == "equal_width":
        return equal_width(bins)
    if scheme == "equal_mass":
        return equal_mass(confidence, bins)
    raise ValueError(f"scheme={scheme!r}: choose equal_width, equal_mass or classwise")


def bin_index(values: Float[np.ndarray, " examples"], edges: Float[np.ndarray, " bins+1"]) -> Int[np.ndarray, " examples"]:
    """The bin (lo, hi] of each value; 0 is in the first, 1 in the last."""
    return np.maximum(np.searchsorted(edges, values, side="left") - 1, 0)


def cells(confidence: Float[np.ndarray, " examples"], correct: Bool[np.ndarray, " examples"],
          edges: Float[np.ndarray, " bins+1"]) -> Cells:
    """The sums of one member's examples."""
    confidence, bins = checked.doubles(confidence, "confidence"), len(edges) - 1
    index = 2 * bin_index(confidence, edges) + checked.booleans(correct, "correct")
    count, total = (np.bincount(index, weights, 2 * bins).reshape(bins, 2) for weights in (None, confidence))
    return Cells(edges, count.astype(np.float64), total)


def calibration_error(count: Float[np.ndarray, "*batch bins"], gap: Float[np.ndarray, "*batch bins"],
                      correct: Float[np.ndarray, "*batch bins"], norm: str = "l1",
                      debiased: bool = False) -> Float[np.ndarray, "*batch"]:
    """The norm, over bins, of mean confidence minus accuracy, from sums; empty bins count nothing.

    `count` examples a bin, `gap` the sum of confidence - correct, `correct` the sum of correct. "l1" is the expected
    calibration error, "l2" its root-mean-square, "max" the largest gap of a bin. Debiasing subtracts what the noise of
    the labels alone would add (Kumar et al. 2019): for "l2" the unbiased estimate of the square, without bins of a
    single example, which say nothing about noise; for "l1" to first order. So a debiased error of a
    calibrated model is as often below 0 as above: "l2" is then minus the root of minus the square.
    """
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r}: choose one of {', '.join(NORMS)}")
    count, gap, correct = (checked.doubles(each, name) for each, name in ((count, "count"), (gap, "gap"), (correct, "correct")))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, accuracy = mean_of(gap, count), mean_of(correct, count)
        variance = np.maximum(accuracy * (1 - accuracy), 0)
        if norm == "max":
            if debiased:
                raise ValueError("norm='max' has no debiased estimate: choose l1 or l2")
            return np.abs(mean).max(axis=-1)
        if norm == "l1":
            error = np.abs(mean)
            if debiased:
                error = 2 * error - _folded_mean(mean, np.sqrt(np.where(count > 0, variance / count, 0.0)))
        else:
            error = np.square(mean)
            if debiased:
                error = np.where(count > 1, error - variance / (count - 1), 0.0)
    error = np.sum(count * error, axis=-1) / np.sum(count, axis=-1)
    return error if norm == "l1" else np.sign(error) * np.sqrt(np.abs(error))


def sums(of: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, Σ(confidence - correct) and Σ correct of each bin."""
    correct = of.count[..., 1]
    return of.count.sum(axis=-1), of.confidence.sum(axis=-1) - correct, correct


def of_cells(of: Cells, norm: str = "l1", debiased: bool = False) -> Float[np.ndarray, "*draws"]:
    """`calibration_error` of cells."""
    return calibration_error(*sums(of), norm, debiased)


class ClassSums(NamedTuple):
    """Sums over the examples whose probability of a class is in a bin, for every class."""
    edges: Float[np.ndarray, " bins+1"]
    count: Float[np.ndarray, "classes bins"]
    probability: Float[np.ndarray, "classes bins"]
    label: Float[np.ndarray, "classes bins"]  # how many of them have that label
    square: float                             # Σ over examples and classes of (probability - [label is the class])²


def class_sums(logits: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"], bins: int,
               temperature: float = 1.0) -> ClassSums:
    """The sums of one member's examples over equal-width bins of each class's probability.

    An example has at most bins - 1 classes above the first bin. Those are picked out, and the first bin is what they
    leave of each class's total. Edges are compared in the dtype of the probabilities, so k tied classes sit at 1/k.
    """
    logits, labels = checked.member(logits, labels)
    classes = logits.shape[1]
    edges = edges_of(np.zeros(0), bins, "equal_width")
    index = lambda column, value: column * bins + bin_index(value, edges.astype(value.dtype))

    def block(rows):
        _, _, probability, others = streaming.softmax(logits[rows], temperature)
        probability /= (1 + others)[:, None]
        true = probability[np.arange(len(others)), labels[rows]]
        high = np.flatnonzero(probability > probability.dtype.type(edges[1]))
        value = probability.ravel()[high]
        square = np.einsum("ij,ij->", probability, probability, dtype=np.float64) + np.sum(1 - 2 * true, dtype=np.float64)
        return (index(high % classes, value), value, index(labels[rows], true), probability.sum(axis=0, dtype=np.float64), square)

    high, value, true, totals, squares = zip(*streaming.over_blocks(block, *logits.shape))
    high, value, true = map(np.concatenate, (high, value, true))
    grid = lambda index, weights=None: np.bincount(index, weights, classes * bins).reshape(classes, bins).astype(np.float64)
    count, probability = grid(high), grid(high, value)
    count[:, 0] += len(labels) - count.sum(axis=1)
    probability[:, 0] += np.sum(totals, axis=0) - probability.sum(axis=1)
    return ClassSums(edges, count, probability, grid(true), float(np.sum(squares)))


def classwise_error(of: ClassSums, norm: str = "l1", debiased: bool = False) -> float:
    """The calibration errors of the classes' own probabilities, combined: their mean, root-mean-square or maximum."""
    errors = calibration_error(of.count, of.probability - of.label, of.label, norm, debiased)
    if norm == "l2":
        mean = np.mean(np.sign(errors) * np.square(errors))
        return float(np.sign(mean) * np.sqrt(np.abs(mean)))
    return float(errors.max() if norm == "max" else errors.mean())


def mean_of(total: Float[np.ndarray, "*batch"], count: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """total / count, and 0 where the count is 0."""
    return np.divide(total, count, out=np.zeros(np.shape(total)), where=np.asarray(count) > 0)


def _folded_mean(mean, std):
    """E|x| of a normal x (also for std 0)."""
    ratio = np.divide(mean, std, out=np.zeros_like(mean), where=std > 0)
    normal = std * np.sqrt(2 / np.pi) * np.exp(-np.square(ratio) / 2) + mean * (1 - 2 * special.ndtr(-ratio))
    return np.where(std > 0, normal, np.abs(mean))
