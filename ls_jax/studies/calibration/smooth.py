"""The reliability curve without bins: accuracy against confidence, smoothed by a kernel (Błasiok and Nakkiran 2023).

The kernel is a Gaussian that is reflected at 0 and 1. Its bandwidth is the smooth calibration error
(`scores.smooth_error`):
the smallest scale at which the residuals are no smaller than the scale itself.
"""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import fft

from ls_jax import checked
from ls_jax.studies.calibration.scores import smooth_error
from ls_jax.studies.common import crossed

POINTS = 100          # intervals between the points of the curve
GRID = 20 * POINTS    # intervals of the grid on which the kernel is applied
NARROWEST = 0.01      # bandwidth: narrower curves are noise at the points
FEW = 10              # examples under the kernel, below which the curve has no value


class Curve(NamedTuple):
    """A smooth reliability curve at confidences k / POINTS; None where fewer than FEW examples are near."""
    accuracy: Sequence[float | None]    # mean over the seeds
    low: Sequence[float | None]         # its 95 % interval at each point, for new seeds and new examples
    high: Sequence[float | None]
    density: Sequence[float]            # of the confidence, mean over the seeds
    bandwidth: float                    # mean over the seeds


def curve(confidence: Float[np.ndarray, "seeds examples"], correct: Bool[np.ndarray, "seeds examples"],
          group: Int[np.ndarray, " examples"], examples: int) -> Curve:
    """The curve of one arm's networks.

    Args:
        confidence, correct: of the networks of all seeds on the same examples.
        group: each example's group, from `crossed.groups`.
        examples: how many examples, or clusters of them, there are.
    """
    widths = [max(smooth_error(*each), NARROWEST) for each in zip(confidence, correct)]
    parts = [_accuracy(*each, width, group) for *each, width in zip(confidence, correct, widths)]
    whole, deleted, near = (np.stack(each) for each in zip(*parts))
    shown = near.min(axis=0) >= FEW
    ends = [None] * len(shown)
    if examples > 1:
        ends = [crossed.of_statistic(whole[:, k], deleted[:, :, k], examples).interval if enough else None
                for k, enough in enumerate(shown)]
    density = near.mean(axis=0) / confidence.shape[1] / (np.mean(widths) * np.sqrt(2 * np.pi))
    return Curve([_rounded(value) if enough else None for value, enough in zip(whole.mean(axis=0), shown)],
                 *([None if end is None else _rounded(end[side]) for end in ends] for side in (0, 1)),
                 [_rounded(value) for value in density], _rounded(np.mean(widths)))


def smoothed(place: Float[np.ndarray, " examples"], weight: Shaped[np.ndarray, " examples"],
             group: Int[np.ndarray, " examples"], width: float) -> Float[np.ndarray, "groups points"]:
    """At the points k / POINTS, the sum of each group's weights, times the kernel relative to its peak."""
    place, groups = checked.doubles(place, "place") * GRID, int(group.max()) + 1
    below = np.minimum(place.astype(np.int64), GRID - 1)
    upper, cell = (place - below) * weight, group * (GRID + 1) + below
    size = groups * (GRID + 1)
    mass = np.bincount(cell, weight - upper, size) + np.bincount(cell + 1, upper, size)
    mass = mass.reshape(groups, GRID + 1)
    mass[:, [0, -1]] *= 2  # the reflection returns to the end itself
    decay = np.exp(-np.square(np.pi * width * np.arange(GRID + 1)) / 2)
    density = fft.idct(fft.dct(mass, type=1) * decay, type=1) * GRID
    return density[:, ::GRID // POINTS] * width * np.sqrt(2 * np.pi)


def _accuracy(confidence, correct, width, group):
    """(accuracy [points], accuracy without each group [groups, points], examples under the kernel [points])."""
    near, right = (smoothed(confidence, weight, group, width) for weight in (np.ones(len(group)), correct))

    def share(right: np.ndarray, near: np.ndarray) -> np.ndarray:
        return np.clip(np.divide(right, near, out=np.zeros_like(near), where=near > 1e-9), 0, 1)

    total, of_all = near.sum(axis=0), right.sum(axis=0)
    return share(of_all, total), share(of_all - right, total - near), total


def _rounded(value):
    return round(float(value), 5)
