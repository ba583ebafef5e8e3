"""Calibration error from bins: edges, sums over bins, and norms of the gaps between confidence and accuracy.

Errors of the predicted class need one confidence and outcome for each example (`streaming.TopLabel`); classwise errors
need the logits.
"""
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Real
from scipy import special

from ls_jax import checked
from ls_jax.studies.common import streaming

NORMS = ("l1", "l2", "max")


class Cells(NamedTuple):
    """Sums over the examples of each bin, [wrong, correct] apart: all that the bootstrap needs."""
    edges: Float[np.ndarray, " edges"]
    count: Float[np.ndarray, "*draws bins 2"]
    confidence: Float[np.ndarray, "*draws bins 2"]  # sums


def equal_width(bins: int) -> Float[np.ndarray, " edges"]:
    """The edges j/bins, as the nearest floats."""
    return np.arange(bins + 1) / bins


def equal_mass(confidence: Float[np.ndarray, " examples"], bins: int) -> Float[np.ndarray, " edges"]:
    """Edges of bins with equally many examples, as by `np.array_split`; equal confidences always share a bin.

    An inner edge is the largest confidence in the bin below it. With fewer examples than bins, the last bins are empty.
    """
    confidence = checked.doubles(confidence, "confidence")
    share, extra = divmod(len(confidence), bins)
    ends = np.arange(1, bins) * share + np.minimum(np.arange(1, bins), extra)
    return np.concatenate([[0.0], np.sort(confidence)[ends - 1], [1.0]])


def edges_of(confidence: Float[np.ndarray, " examples"], bins: int, scheme: str) -> Float[np.ndarray, " edges"]:
    """The edges of a scheme, "equal_width" or "equal_mass"."""
    if not isinstance(bins, (int, np.integer)) or bins < 1:
        raise ValueError(f"bins={bins!r}: choose a whole number of at least 1")
    if scheme == "equal_width":
        return equal_width(bins)
    if scheme == "equal_mass":
        return equal_mass(confidence, bins)
    raise ValueError(f"scheme={scheme!r}: choose equal_width, equal_mass or classwise")


def bin_index(values: Float[np.ndarray, " examples"], edges: Float[np.ndarray,
                                                                   " edges"]) -> Int[np.ndarray, " examples"]:
    """The index of each value's bin (lo, hi]; 0 is in the first bin, 1 in the last."""
    return np.maximum(np.searchsorted(edges, values, side="left") - 1, 0)


def cells(confidence: Float[np.ndarray, " examples"], correct: Bool[np.ndarray, " examples"],
          edges: Float[np.ndarray, " edges"]) -> Cells:
    """The sums of one member's examples."""
    confidence, bins = checked.doubles(confidence, "confidence"), len(edges) - 1
    index = 2 * bin_index(confidence, edges) + checked.booleans(correct, "correct")
    count, total = (np.bincount(index, weights, 2 * bins).reshape(bins, 2) for weights in (None, confidence))
    return Cells(edges, count.astype(np.float64), total)


def calibration_error(count: Real[np.ndarray, "*batch bins"], gap: Real[np.ndarray, "*batch bins"],
                      correct: Real[np.ndarray, "*batch bins"], norm: str = "l1",
                      debiased: bool = False) -> float | Float[np.ndarray, "*batch"]:
    """The norm, over bins, of mean confidence minus accuracy, from the bins' sums; empty bins have no weight.

    In each bin, `count` is the number of examples, `gap` the sum of confidence - correct, `correct` the sum of correct.
    "l1" is the expected calibration error, "l2" its root-mean-square, "max" the largest gap. Debiasing subtracts the
    expected contribution of label noise (Kumar et al. 2019): for "l2" it is the unbiased estimate of the square,
    without bins of a single example, which carry no information about noise. A calibrated model's "l2" is as often
    below 0 as above; it is then minus the root of minus the square. For "l1" the observed gap takes the place of the
    true one in a formula for the bias. Where a model is calibrated that removes about 40 % of the bias, and 3 to 4 % of
    values are below 0: "l1" stays biased upwards.
    """
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r}: choose one of {', '.join(NORMS)}")
    count, gap, correct = (checked.doubles(each, name)
                           for each, name in ((count, "count"), (gap, "gap"), (correct, "correct")))
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


def of_cells(of: Cells, norm: str = "l1", debiased: bool = False) -> float | Float[np.ndarray, "*draws"]:
    """`calibration_error` from cells."""
    return calibration_error(*sums(of), norm, debiased)


def cells_without_groups(confidence: Float[np.ndarray, " examples"], correct: Bool[np.ndarray, " examples"],
                         edges: Float[np.ndarray, " edges"],
                         group: Int[np.ndarray, " examples"]) -> tuple[Cells, Cells]:
    """The sums of one member's examples, and [groups, bins, 2] those without each group of examples. See
    `crossed.groups`."""
    bins, groups = len(edges) - 1, int(group.max()) + 1
    index = 2 * (group * bins + bin_index(confidence, edges)) + correct
    count, total = (np.bincount(index, weights, 2 * bins * groups).reshape(groups, bins, 2).astype(np.float64)
                    for weights in (None, confidence))
    whole = Cells(edges, count.sum(axis=0), total.sum(axis=0))
    return whole, Cells(edges, whole.count - count, whole.confidence - total)


def floor(of: Cells) -> float:
    """The expected "l1" error of a calibrated network: what label noise alone makes of these counts and confidences.

    In a bin, the number of right answers is binomial with the mean confidence; its mean absolute deviation is exact
    (de Moivre): E|X - n p| = 2 ν (1 - p) P(X = ν), ν = floor(n p) + 1. Beside it stands a plain ECE: where a network's
    is no larger, nothing says that it is miscalibrated.
    """
    count = of.count.sum(axis=-1)
    full = count > 0
    n, p = count[full], of.confidence.sum(axis=-1)[full] / count[full]
    above = np.minimum(np.floor(n * p) + 1, n)
    log = (special.gammaln(n + 1) - special.gammaln(above + 1) - special.gammaln(n - above + 1)
           + special.xlogy(above, p) + special.xlog1py(n - above, -np.minimum(p, 1)))
    return float(np.sum(2 * above * (1 - np.minimum(p, 1)) * np.exp(log)) / np.sum(n))


def squared_error(of: Cells) -> float | Float[np.ndarray, "*draws"]:
    """The debiased mean squared gap between confidence and accuracy of the bins; of a calibrated model as often below 0
    as above.

    Its expectation is that of infinitely many examples, whatever the number of examples (Kumar et al. 2019). So
    differences of it may be judged, also where one side is calibrated.
    """
    root = of_cells(of, "l2", debiased=True)
    return np.sign(root) * np.square(root)


def squared_error_without_groups(confidence: Float[np.ndarray, " examples"], correct: Bool[np.ndarray, " examples"],
                                 edges: Float[np.ndarray, " edges"],
                                 group: Int[np.ndarray, " examples"]) -> tuple[float, Float[np.ndarray, " groups"]]:
    """`squared_error` of one member's examples, and without each group of them."""
    whole, deleted = cells_without_groups(confidence, correct, edges, group)
    return float(squared_error(whole)), squared_error(deleted)


class ClassSums(NamedTuple):
    """For every class, sums over the examples whose probability of that class is in each bin."""
    edges: Float[np.ndarray, " edges"]
    count: Float[np.ndarray, "classes bins"]
    probability: Float[np.ndarray, "classes bins"]
    label: Float[np.ndarray, "classes bins"]  # number of them with that label
    square: float                             # Σ over examples and classes of (probability - [label is the class])²


def class_sums(logits: Real[Any, "examples classes"], labels: Integer[np.ndarray, " examples"], bins: int,
               temperature: float = 1.0) -> ClassSums:
    """One member's sums over equal-width bins of each class's probability.

    An example has at most bins - 1 classes above the first bin. Only these are binned one by one; the first bin is each
    class's total minus them. Edges are compared in the dtype of the probabilities, so k tied classes are at 1/k.
    """
    logits, labels = checked.member(logits, labels)
    classes = logits.shape[1]
    edges = edges_of(np.zeros(0), bins, "equal_width")

    def index(column: np.ndarray, value: np.ndarray) -> np.ndarray:
        return column * bins + bin_index(value, edges.astype(value.dtype))

    def block(rows):
        _, _, probability, others = streaming.softmax(logits[rows], temperature)
        probability /= (1 + others)[:, None]
        true = probability[np.arange(len(others)), labels[rows]]
        high = np.flatnonzero(probability > probability.dtype.type(edges[1]))
        value = probability.ravel()[high]
        square = np.einsum("ij,ij->", probability, probability, dtype=np.float64) + np.sum(
            1 - 2 * true, dtype=np.float64)
        return (index(high % classes, value), value, index(labels[rows],
                                                           true), probability.sum(axis=0, dtype=np.float64), square)

    high, value, true, totals, squares = zip(*streaming.over_blocks(block, *logits.shape))
    high, value, true = map(np.concatenate, (high, value, true))

    def grid(index: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(index, weights, classes * bins).reshape(classes, bins).astype(np.float64)

    count, probability = grid(high), grid(high, value)
    count[:, 0] += len(labels) - count.sum(axis=1)
    probability[:, 0] += np.sum(totals, axis=0) - probability.sum(axis=1)
    return ClassSums(edges, count, probability, grid(true), float(np.sum(squares)))


def classwise_error(of: ClassSums, norm: str = "l1", debiased: bool = False) -> float:
    """The classwise calibration error: mean, root-mean-square or maximum of the errors of each class's probability."""
    errors = calibration_error(of.count, of.probability - of.label, of.label, norm, debiased)
    if norm == "l2":
        mean = np.mean(np.sign(errors) * np.square(errors))
        return float(np.sign(mean) * np.sqrt(np.abs(mean)))
    return float(errors.max() if norm == "max" else errors.mean())


def mean_of(total: Real[np.ndarray, "*batch"], count: Real[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """total / count, and 0 where the count is 0."""
    return np.divide(total, count, out=np.zeros(np.shape(total)), where=np.asarray(count) > 0)


def _folded_mean(mean, std):
    """E|x| of a normal variable x; std may be 0."""
    ratio = np.divide(mean, std, out=np.zeros_like(mean), where=std > 0)
    normal = std * np.sqrt(2 / np.pi) * np.exp(-np.square(ratio) / 2) + mean * (1 - 2 * special.ndtr(-ratio))
    return np.where(std > 0, normal, np.abs(mean))
