"""Bootstrap intervals for calibration errors, computed from sums over bins, not from the examples."""
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from ls_jax import checked
from ls_jax.studies.calibration import binning


class Estimate(NamedTuple):
    """A number with its interval, or arrays of them."""
    value: Any
    low: Any
    high: Any


class Joint(NamedTuple):
    """Debiased calibration errors of members that were measured on the same examples."""
    estimates: list[Estimate]
    errors: Float[np.ndarray, "members draws"]  # draws of estimate - truth; all members share the resampled examples


def interval(observed: binning.Cells, level: float, norm: str = "l1", draws: int = 1000,
             seed: int = 0) -> tuple[float, float]:
    """An interval for the calibration error that infinitely many examples would have in these bins.

    The percentile bootstrap is biased upwards and never reaches 0, because resampling adds the label noise a second
    time. We invert a test instead: the interval holds the sizes of error (the bins' gaps times a common factor) under
    which the estimate is neither among the smallest nor among the largest (1 - level)/2 of draws. It starts at 0 where
    a calibrated model could have given the estimate. It may exclude the plain estimate, which is biased upwards.

    The bins' counts are drawn exactly (multinomial), and the edges stay fixed. Two things are approximate. A bin's
    confidences are replaced by their mean, so outcomes are binomial with one accuracy for each bin; for spread-out
    confidences this makes the interval wider. And that binomial is a rounded normal with the right mean, variance and
    skewness (Cornish and Fisher 1938).
    """
    debiased = norm != "max"
    rng = np.random.default_rng(seed)
    count, gap, _ = binning.sums(observed)
    full = count > 0
    count, gap, confidence = count[full], gap[full] / count[full], observed.confidence.sum(axis=-1)[full] / count[full]
    counts = rng.multinomial(int(count.sum()), count / count.sum(), size=draws)
    normal = rng.standard_normal(counts.shape)
    value = binning.of_cells(observed, norm, debiased)

    def accuracy(factor: float) -> np.ndarray:
        return np.clip(confidence - factor * gap, 0, 1)

    def truth(factor: float) -> float:
        return float(binning.calibration_error(count, count * (confidence - accuracy(factor)), count, norm))

    def quantile(factor: float, at: float) -> float:
        correct = _binomial(counts, accuracy(factor), normal)
        return np.quantile(binning.calibration_error(counts, counts * confidence - correct, correct, norm, debiased),
                           at)

    tail = (1 - _level(level)) / 2
    return (truth(_first(lambda factor: quantile(factor, 1 - tail) >= value)),
            truth(_first(lambda factor: quantile(factor, tail) > value)))


def share_interval(correct: Float[np.ndarray, " bins"], count: Float[np.ndarray, " bins"],
                   level: float) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """Wilson's interval (1927) for a proportion; unlike a bootstrap, it has a width where all or none are correct."""
    z = special.ndtri((1 + _level(level)) / 2)
    correct, count = checked.doubles(correct, "correct"), checked.doubles(count, "count")
    with np.errstate(invalid="ignore", divide="ignore"):
        share = correct / count
        middle = share + z**2 / (2 * count)
        half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
        return (middle - half) / (1 + z**2 / count), (middle + half) / (1 + z**2 / count)


def joint(confidence: Float[np.ndarray, "members examples"], correct: Bool[np.ndarray, "members examples"],
          bins: int = 15, scheme: str = "equal_width", level: float = 0.95, draws: int = 1000, seed: int = 0) -> Joint:
    """The members' debiased "l1" errors with their intervals, and draws of all on the same resampled examples."""
    confidence, correct = checked.doubles(confidence, "confidence"), checked.booleans(correct, "correct")
    cells = [binning.cells(c, r, binning.edges_of(c, bins, scheme)) for c, r in zip(confidence, correct)]
    estimates = [Estimate(float(binning.of_cells(each, debiased=True)), *interval(each, level, draws=draws, seed=seed))
                 for each in cells]
    drawn = resample(cells, confidence, correct, draws, seed)
    return Joint(estimates, np.stack([_errors(*pair) for pair in zip(cells, drawn)]))


def contrast(of: Joint, coefficients: Collection[float]) -> Estimate:
    """Σ coefficient · error over the members, with an interval: (1, -1) is a difference, (0.5, 0.5) a mean.

    The interval combines the members' own intervals with the correlations between their draws (MOVER, Zou and Donner
    2008). So it respects the bound at 0, which a bootstrap of the difference does not. Where a member's interval starts
    at 0, its estimate is biased upwards; no correlation corrects that, so its ends count in full. (Coverage in
    simulations at 90 %: 0.93 to 0.99.)
    """
    coefficients = np.asarray(coefficients, np.float64)
    value, low, high = (np.array(part, np.float64) for part in zip(*of.estimates))
    inside = np.clip(value, low, high)
    spread = of.errors - of.errors.mean(axis=1, keepdims=True)
    scale = np.sqrt(np.square(spread).sum(axis=1))
    spread /= np.where(scale > 0, scale, 1)[:, None]  # a member without noise has no correlation
    correlation, at_bound = spread @ spread.T, low <= 0
    ends = []
    for sign in (-1, 1):
        step = coefficients * np.where(sign * coefficients > 0, high - inside, inside - low)
        free = np.where(at_bound, 0.0, step)
        ends.append(sign * (np.abs(step[at_bound]).sum() + np.sqrt(max(free @ correlation @ free, 0.0))))
    return Estimate(float(coefficients @ value), *(float(coefficients @ inside + end) for end in ends))


def resample(members: Sequence[binning.Cells], confidence: Float[np.ndarray, "members examples"],
             correct: Bool[np.ndarray, "members examples"], draws: int, seed: int) -> list[binning.Cells]:
    """Cells [draws, bins, 2] of every member on the same resampled examples, which keeps the members' correlations.

    Examples that are in the same cells (bin and outcome) in all members form a group. The groups' sizes are drawn from
    their multinomial; for the counts this equals resampling the examples. A group's confidences are replaced by their
    mean, which ignores their spread within a bin.
    """
    rng = np.random.default_rng(seed)
    confidence, correct = checked.doubles(confidence, "confidence"), checked.booleans(correct, "correct")
    index = np.stack([2 * binning.bin_index(c, m.edges) + r for m, c, r in zip(members, confidence, correct)], axis=1)
    groups, inverse, count = _unique_rows(index)
    onehots = [np.eye(m.count.size)[groups[:, j]] for j, m in enumerate(members)]
    weighted = [onehot * (np.bincount(inverse, c) / count)[:, None] for onehot, c in zip(onehots, confidence)]
    chunk, parts = max(1, 2**22 // len(groups)), []
    for start in range(0, draws, chunk):
        drawn = rng.multinomial(len(index), count / count.sum(), size=min(chunk, draws - start)).astype(np.float64)
        parts.append([(drawn @ one, drawn @ weight) for one, weight in zip(onehots, weighted)])

    def gather(j: int, k: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.concatenate([part[j][k] for part in parts]).reshape(draws, *shape)

    return [binning.Cells(m.edges, *(gather(j, k, m.count.shape) for k in (0, 1))) for j, m in enumerate(members)]


def _errors(observed, drawn):
    """Draws of debiased estimate - truth, where the truth has the observed gaps, shrunk to the debiased estimate."""
    size = binning.of_cells(observed)
    factor = np.clip(binning.of_cells(observed, debiased=True) / size, 0, 1) if size > 0 else 0.0
    count, gap, correct = binning.sums(drawn)
    observed_count, observed_gap, _ = binning.sums(observed)
    shrunk = gap - (1 - factor) * count * binning.mean_of(observed_gap, observed_count)
    return binning.calibration_error(count, shrunk, correct, "l1", debiased=True) - factor * size


def _binomial(count, share, normal):
    """Approximately binomial draws, made from standard normal draws."""
    variance = count * share * (1 - share)
    skewed = np.sqrt(variance) * normal + (1 - 2 * share) * (np.square(normal) - 1) / 6
    return np.clip(np.rint(count * share + skewed), 0, count)


def _level(level):
    if not 0 < level < 1:
        raise ValueError(f"interval level {level!r}: choose one between 0 and 1, e.g. 0.95")
    return level


def _first(holds, tolerance=0.01):
    """The smallest factor >= 0 at which a monotone condition holds, by doubling and bisection; at most about 1e3."""
    if holds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while not holds(high):
        low, high = high, 2 * high
        if high > 1e3:
            return low
    while high - low > tolerance * high:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _unique_rows(index):
    """(distinct rows, each row's index among them, their counts), by coding rows as single numbers."""
    code = np.zeros(len(index), np.int64)
    for column in index.T:
        _, code = np.unique(code * (column.max() + 1) + column, return_inverse=True)
    _, first, inverse, count = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
    return index[first], inverse, count
