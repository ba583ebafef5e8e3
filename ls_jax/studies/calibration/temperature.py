"""Temperature scaling (Guo et al. 2017): the logits of a trained network are divided by T, fitted on held-out data.

The mean NLL is convex in 1/T, so its slope in log T changes sign at most once. Newton's method on that slope, with
bisection to stay inside a bracket, finds the minimum, or the bound beyond which it lies.
"""
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer, Real

from ls_jax import checked
from ls_jax.studies.calibration import binning
from ls_jax.studies.common import streaming

BOUNDS = (0.01, 100.0)
SEARCHED_AT_ONCE = 8192
GRID = tuple(np.arange(1, 101) / 10)  # the paper gives its temperatures to one decimal


class Scores(NamedTuple):
    """NLL in nats and expected calibration error (equal-width bins) at temperature 1 and at the fitted one."""
    nll_before: Any
    nll_after: Any
    ece_before: Any
    ece_after: Any


class Fit(NamedTuple):
    """A fitted temperature. `status`: "converged", "at lower bound", "at upper bound", or "flat" (T stays 1)."""
    temperature: Any
    converged: Any
    status: Any
    fitted: Scores           # on the examples of the fit
    reported: Scores | None  # on the examples of `report`


def fit_temperature(logits: streaming.Logits, labels: streaming.Labels, report: Sequence[Any] | str | None = None, *,
                    criterion: str = "nll", bins: int = 15, bounds: tuple[float, float] = BOUNDS,
                    grid: Sequence[float] = GRID, mask: streaming.Mask = None) -> Fit:
    """The temperature that minimises a criterion on these examples, with the scores before and after.

    `report` is another split to report on, (logits, labels) or (logits, labels, mask); "same" reports on the examples
    of the fit, as the paper seems to do. `criterion` is "nll" (within `bounds`, in float64) or "ece", which picks the
    temperature of `grid` with the smallest calibration error (of equal ones, the nearest to 1). Leading dimensions are
    members; `report` must have the same ones.

    Some NLLs have no minimum. If every label has the largest logit (separable, or one correct example), T is the lower
    bound. If the logits are worse than constant ones (or one wrong example), it is the upper bound. If the NLL does not
    depend on T (constant logits, one class, logits too large), it is 1.

    Raises:
        ValueError: an argument is invalid, or the NLL is infinite.
    """
    if criterion not in ("nll", "ece"):
        raise ValueError(f"criterion={criterion!r}: choose nll or ece")
    if not 0 < bounds[0] <= 1 <= bounds[1] or not np.isfinite(bounds[1]):
        raise ValueError(f"bounds={bounds!r}: need 0 < lower <= 1 <= upper < infinity")
    if isinstance(report, str) and report != "same":
        raise ValueError(f"report={report!r}: give another split's (logits, labels), or 'same'")

    def fit(logits, labels):
        temperature, status = (minimise_nll(logits, labels, bounds) if criterion == "nll"
                               else minimise_ece(logits, labels, bins, grid))
        scores = scores_at(logits, labels, temperature, bins)
        return Fit(np.float64(temperature), np.bool_(status == "converged"), np.str_(status), scores, None)

    result = streaming.over_members(fit, logits, labels, mask)
    if report is None:
        return result
    if isinstance(report, str):
        return result._replace(reported=result.fitted)
    temperatures = iter(np.ravel(result.temperature))
    reported = streaming.over_members(lambda *member: scores_at(*member, next(temperatures), bins), *report)
    return result._replace(reported=reported)


def scores_at(logits: Real[Any, "examples classes"], labels: Integer[np.ndarray, " examples"], temperature: float,
              bins: int = 15) -> Scores:
    """NLL and calibration error of one member at temperature 1 and at `temperature`."""
    nll, ece = zip(*(_nll_and_ece(logits, labels, each, bins) for each in (1.0, temperature)))
    return Scores(*nll, *ece)


def minimise_nll(logits: Real[Any, "examples classes"], labels: Integer[np.ndarray, " examples"],
                 bounds: tuple[float, float] = BOUNDS, tolerance: float = 1e-6) -> tuple[float, str]:
    """(T, status) of the smallest NLL of one member; a typical fit takes three passes over the logits.

    It stops after a Newton step below the tolerance; the remaining error is about its square.
    """
    logits, labels = checked.member(logits, labels)
    low, high = np.log(bounds)
    few = slice(None, None, 16)  # a few of many examples give a starting point
    here = (np.log(minimise_nll(streaming.Rows(logits, few), labels[few], bounds, 1e-2)[0])
            if len(labels) > SEARCHED_AT_ONCE else 0.0)
    tried = set()
    slope, variance, separable = _slope(logits, labels, np.exp(here))
    if separable:
        flat = variance == 0 and _slope(logits, labels, bounds[1])[1] == 0
        return (1.0, "flat") if flat else (float(bounds[0]), "at lower bound")
    while True:
        tried.add(here)
        if here == np.log(bounds[0]) and slope > 0:  # it is downhill beyond the bound
            return float(bounds[0]), "at lower bound"
        if here == np.log(bounds[1]) and slope < 0:
            return float(bounds[1]), "at upper bound"
        low, high = (low, here) if slope > 0 else (here, high)
        step = -slope / variance if variance > 0 else -np.copysign(np.inf, slope)
        there = np.clip(here + step, low, high)
        if abs(step) < tolerance or high - low < 1e-9:
            return float(np.exp(there)), "converged"
        if there in tried:  # it overshot the bracket
            there = (low + high) / 2
        here = float(there)
        slope, variance, _ = _slope(logits, labels, np.exp(here))


def minimise_ece(logits: Real[Any, "examples classes"], labels: Integer[np.ndarray, " examples"], bins: int = 15,
                 grid: Sequence[float] = GRID) -> tuple[float, str]:
    """(T, status) of one member: the grid's temperature with the smallest equal-width calibration error; one pass."""
    logits, labels = checked.member(logits, labels)
    grid, edges = sorted(grid, key=lambda temperature: abs(np.log(temperature))), binning.equal_width(bins)

    def block(rows):
        top, shifted, _, _ = streaming.softmax(logits[rows])
        correct = top == labels[rows]
        shifted[np.arange(len(top)), top] = -np.inf  # the rest sums to the odds against the prediction
        others = (np.exp(shifted * shifted.dtype.type(1 / temperature)).sum(axis=-1).astype(np.float64)
                  for temperature in grid)
        with np.errstate(over="ignore"):
            cells = [binning.cells(1 / (1 + against), correct, edges) for against in others]
        return np.array([(each.count, each.confidence) for each in cells])

    total = sum(streaming.over_blocks(block, *logits.shape))
    errors = binning.of_cells(binning.Cells(edges, total[:, 0], total[:, 1]))
    best = float(grid[int(np.argmin(errors))])
    if best in (min(grid), max(grid)) and len(grid) > 1:
        return best, "at lower bound" if best == min(grid) else "at upper bound"
    return best, "converged"


def _nll_and_ece(logits, labels, temperature, bins):
    confidence, correct, nll = streaming.top_label(logits, labels, temperature)
    cells = binning.cells(confidence, correct, binning.edges_of(confidence, bins, "equal_width"))
    return nll.mean(), np.float64(binning.of_cells(cells))


def _slope(logits, labels, temperature):
    """(d NLL / d log T, mean variance of logits / T under the prediction, whether every label has the top logit)."""
    def block(rows):
        _, shifted, weight, others = streaming.softmax(np.asarray(logits[rows], np.float64), temperature)
        true = shifted[np.arange(len(others)), labels[rows]]
        with np.errstate(invalid="ignore"):
            mean = np.einsum("ij,ij->i", weight, shifted)
        if np.isnan(mean).any():  # from 0 times -inf
            shifted[weight == 0] = 0
            mean = np.einsum("ij,ij->i", weight, shifted)
        mean /= 1 + others
        weight *= shifted
        variance = np.einsum("ij,ij->i", weight, shifted) / (1 + others) - np.square(mean)
        return np.sum(true - mean), np.sum(np.maximum(variance, 0)), true.min()

    slope, variance, smallest = zip(*streaming.over_blocks(block, *logits.shape))
    if min(smallest) == -np.inf:
        raise ValueError(
            "a label has probability 0 (its logit is -inf, or another's is +inf): no temperature gives a finite NLL")
    return sum(slope) / len(labels), sum(variance) / len(labels), min(smallest) == 0
