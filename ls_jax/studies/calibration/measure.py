"""Calibration: of predictions with confidence p, is the fraction p correct? (The paper's Table 3 and Figure 2.)

Every function takes logits [*members, examples, classes], labels [examples] or [*members, examples], and a mask of that
shape that is False for examples to ignore, such as padding tokens. Arrays may be NumPy or JAX; no array as large as the
logits is made, and sums over examples are float64. Bins are (lo, hi].
"""
from typing import Any, NamedTuple

import numpy as np

from ls_jax.studies.calibration import binning, bootstrap
from ls_jax.studies.calibration.bootstrap import Estimate
from ls_jax.studies.calibration.scores import smooth_calibration_error
from ls_jax.studies.calibration.temperature import fit_temperature
from ls_jax.studies.common import streaming
from ls_jax.studies.common.streaming import Labels, Logits, Mask

__all__ = [
    "Reliability", "calibration_error_difference", "expected_calibration_error", "fit_temperature", "reliability",
    "smooth_calibration_error"
]


class Reliability(NamedTuple):
    """A reliability diagram, [*members, bins]: NaN in empty bins; `low` and `high` are None without an interval."""
    edges: Any       # [*members, bins + 1]
    count: Any
    confidence: Any  # mean
    accuracy: Any
    low: Any         # of the accuracy
    high: Any


def expected_calibration_error(logits: Logits, labels: Labels, bins: int = 15, scheme: str = "equal_width", *,
                               norm: str = "l1", debiased: bool = False, interval: float | None = None,
                               draws: int = 1000, seed: int = 0, temperature: float = 1.0, mask: Mask = None) -> Any:
    """The expected calibration error (Guo et al. 2017) of each member; the defaults are the paper's.

    `scheme` "equal_width" or "equal_mass" bins the confidence of the predicted class, "classwise" each class's
    probability (equal widths, mean over classes; Kull et al. 2019). `norm` "l1" is the mean gap of the bins, "l2" the
    root-mean-square gap, "max" the largest. `debiased` subtracts the bias from label noise (Kumar et al. 2019); the
    estimate may then be negative. With `interval`, a level such as 0.95, it returns `Estimate(value, low, high)`, an
    interval for the error with infinitely many examples: see `bootstrap.interval`.

    Raises:
        ValueError: the input is invalid.
    """
    if scheme == "classwise" and interval is not None:
        raise ValueError("scheme='classwise' has no interval: an example is in a bin of every class, not in one; "
                         "choose equal_width or equal_mass")

    def measure(logits, labels):
        if scheme == "classwise":
            return np.float64(
                binning.classwise_error(binning.class_sums(logits, labels, bins, temperature), norm, debiased))
        of = streaming.top_label(logits, labels, temperature)
        cells = binning.cells(of.confidence, of.correct, binning.edges_of(of.confidence, bins, scheme))
        value = np.float64(binning.of_cells(cells, norm, debiased))
        if interval is None:
            return value
        return Estimate(value, *map(np.float64, bootstrap.interval(cells, interval, norm, draws, seed)))

    return streaming.over_members(measure, logits, labels, mask)


def reliability(logits: Logits, labels: Labels, bins: int = 15, scheme: str = "equal_width", *,
                interval: float | None = None, temperature: float = 1.0, mask: Mask = None) -> Reliability:
    """Count, mean confidence and accuracy of each bin; with `interval`, also `bootstrap.share_interval`."""
    def measure(logits, labels):
        of = streaming.top_label(logits, labels, temperature)
        return diagram(of, bins, scheme, interval)

    return streaming.over_members(measure, logits, labels, mask)


def diagram(of: streaming.TopLabel, bins: int = 15, scheme: str = "equal_width",
            interval: float | None = None) -> Reliability:
    """`reliability` of one member from its confidences."""
    cells = binning.cells(of.confidence, of.correct, binning.edges_of(of.confidence, bins, scheme))
    count, _, correct = binning.sums(cells)
    with np.errstate(invalid="ignore"):
        confidence, accuracy = cells.confidence.sum(axis=-1) / count, correct / count
    ends = (None, None) if interval is None else bootstrap.share_interval(correct, count, interval)
    return Reliability(cells.edges, count, confidence, accuracy, *ends)


def calibration_error_difference(logits: Logits, baseline_logits: Logits, labels: Labels, bins: int = 15,
                                 scheme: str = "equal_width", *, level: float = 0.95, draws: int = 1000, seed: int = 0,
                                 mask: Mask = None) -> Estimate:
    """Debiased calibration error minus the baseline's on the same examples, averaged over members, with its interval.

    All members share the resampled examples, so noise that both networks share cancels.
    """
    every = [streaming.over_members(streaming.top_label, each[None] if np.ndim(each) == 2 else each, labels, mask)
             for each in (logits, baseline_logits)]
    confidence, correct = (np.concatenate([getattr(of, name).reshape(-1, of.correct.shape[-1]) for of in every])
                           for name in ("confidence", "correct"))
    sizes = [np.prod(of.correct.shape[:-1]) for of in every]
    coefficients = np.concatenate([np.full(int(size), sign / size) for sign, size in zip((1, -1), sizes)])
    return bootstrap.contrast(bootstrap.joint(confidence, correct, bins, scheme, level, draws, seed), coefficients)
