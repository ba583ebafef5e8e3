"""Is the confidence of a prediction the share of such predictions that are right? (The paper's Table 3 and Figure 2.)

Every function takes logits [*members, examples, classes], labels [examples] or [*members, examples], and a mask of that
shape that is False for what does not count: padding, say, once sentences are flattened to tokens. Arrays may be NumPy or
JAX; nothing as large as the logits is made, and sums over examples are float64. Bins are (lo, hi].
"""
from typing import Any, NamedTuple

import numpy as np

from ls_jax.studies.calibration import binning, bootstrap
from ls_jax.studies.calibration.bootstrap import Estimate
from ls_jax.studies.calibration.scores import smooth_calibration_error
from ls_jax.studies.calibration.temperature import fit_temperature
from ls_jax.studies.common import streaming
from ls_jax.studies.common.streaming import Labels, Logits, Mask

__all__ = ["Reliability", "calibration_error_difference", "expected_calibration_error", "fit_temperature", "reliability",
           "smooth_calibration_error"]


class Reliability(NamedTuple):
    """A reliability diagram, [*members, bins]; NaN where a bin is empty, None where no interval was asked for."""
    edges: Any       # [*members, bins + 1]
    count: Any
    confidence: Any  # mean
    accuracy: Any
    low: Any         # of the accuracy
    high: Any


def expected_calibration_error(logits: Logits, labels: Labels, bins: int = 15, scheme: str = "equal_width", *,
                               norm: str = "l1", debiased: bool = False, interval: float | None = None, draws: int = 1000,
                               seed: int = 0, temperature: float = 1.0, mask: Mask = None) -> Any:
    """The expected calibration error (Guo et al. 2017), one number a member; the paper's is the default.

    `scheme` "equal_width" or "equal_mass" bins the confidence of the predicted class, "classwise" each class's
    probability (equal widths, mean over classes; Kull et al. 2019). `norm` "l1" is the mean gap of the bins, "l2" the
    root-mean-square one, "max" the largest. `debiased` takes off what the labels' noise adds (Kumar et al. 2019); such an
    estimate may be negative. `interval`, a level such as 0.95, makes it an `Estimate(value, low, high)`, where the interval
    is for the error that infinitely many examples would have: see `bootstrap.interval`. Raises ValueError on bad input.
    """
    if scheme == "classwise" and interval is not None:
        raise ValueError("scheme='classwise' has no interval: an example is in a bin of every class, not in one; "
                         "choose equal_width or equal_mass")

    def measure(logits, labels):
        if scheme == "classwise":
            return np.float64(binning.classwise_error(binning.class_sums(logits, labels, bins, temperature), norm, debiased))
        of = streaming.top_label(logits, labels, temperature)
        cells = binning.cells(of.confidence, of.correct, binning.edges_of(of.confidence, bins, scheme))
        value = np.float64(binning.of_cells(cells, norm, debiased))
        if interval is None:
            return value
        return Estimate(value, *map(np.float64, bootstrap.interval(cells, interval, norm, draws, seed)))

    return streaming.over_members(measure, logits, labels, mask)


def reliability(logits: Logits, labels: Labels, bins: int = 15, scheme: str = "equal_width", *, interval: float | None = None,
                temperature: float = 1.0, mask: Mask = None) -> Reliability:
    """Count, mean confidence and accuracy of each bin, and optionally an interval of the accuracy (`bootstrap.share_interval`)."""
    def measure(logits, labels):
        of = streaming.top_label(logits, labels, temperature)
        return diagram(of, bins, scheme, interval)

    return streaming.over_members(measure, logits, labels, mask)


def diagram(of: streaming.TopLabel, bins: int = 15, scheme: str = "equal_width", interval: float | None = None) -> Reliability:
    """`reliability` of one member whose confidences are at hand."""
    cells = binning.cells(of.confidence, of.correct, binning.edges_of(of.confidence, bins, scheme))
    count, _, correct = binning.sums(cells)
    with np.errstate(invalid="ignore"):
        confidence, accuracy = cells.confidence.sum(axis=-1) / count, correct / count
    ends = (None, None) if interval is None else bootstrap.share_interval(correct, count, interval)
    return Reliability(cells.edges, count, confidence, accuracy, *ends)


def calibration_error_difference(logits: Logits, baseline_logits: Logits, labels: Labels, bins: int = 15,
                                 scheme: str = "equal_width", *, level: float = 0.95, draws: int = 1000, seed: int = 0,
                                 mask: Mask = None) -> Estimate:
    """The debiased calibration error less that of a baseline on the same examples, [members] of both averaged, with its interval.

    The examples are resampled for all members at once, so what makes both networks err on an example cancels.
    """
    every = [streaming.over_members(lambda *member: streaming.top_label(*member), each[None] if np.ndim(each) == 2 else each, labels, mask)
             for each in (logits, baseline_logits)]
    confidence, correct = (np.concatenate([getattr(of, name).reshape(-1, of.correct.shape[-1]) for of in every])
                           for name in ("confidence", "correct"))
    sizes = [np.prod(of.correct.shape[:-1]) for of in every]
    coefficients = np.concatenate([np.full(int(size), sign / size) for sign, size in zip((1, -1), sizes)])
    return bootstrap.contrast(bootstrap.joint(confidence, correct, bins, scheme, level, draws, seed), coefficients)
