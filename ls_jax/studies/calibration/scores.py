"""Scores of predicted probabilities without bins for calibration: NLL, Brier score and smooth ECE.

Logits [*members, examples, classes] and labels [examples] or [*members, examples] give one number for each member. Sums
are float64.
"""
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import fft

from ls_jax import checked
from ls_jax.studies.calibration import binning
from ls_jax.studies.common import streaming
from ls_jax.studies.common.streaming import Labels, Logits, Mask


class Brier(NamedTuple):
    """The Brier score and its three parts, which sum to it; see `brier_split`."""
    score: Any
    calibration: Any
    refinement: Any
    within: Any


def negative_log_likelihood(logits: Logits, labels: Labels, temperature: float = 1.0, mask: Mask = None) -> Any:
    """Mean negative log-likelihood in nats; infinite where a label has probability 0."""
    return streaming.over_members(lambda *member: streaming.top_label(*member, temperature).nll.mean(), logits, labels,
                                  mask)


def brier_score(logits: Logits, labels: Labels, temperature: float = 1.0, mask: Mask = None) -> Any:
    """The Brier score (1950), from 0 to 2: the mean of Σ over classes (probability - [label is the class])²."""
    return brier_split(logits, labels, 1, temperature, mask).score


def brier_split(logits: Logits, labels: Labels, bins: int = 15, temperature: float = 1.0, mask: Mask = None) -> Brier:
    """The Brier score's parts over equal-width bins of each class's probability, summed over classes.

    calibration is Σ share (mean probability - frequency)². refinement is Σ share frequency (1 - frequency), the score
    if every bin predicted its frequency (Murphy 1973). within is the rest, from the spread within bins (Stephenson et
    al. 2008).
    """
    def split(logits, labels):
        of = binning.class_sums(logits, labels, bins, temperature)
        share = of.count / len(labels)
        frequency = binning.mean_of(of.label, of.count)
        calibration = np.sum(share * np.square(binning.mean_of(of.probability, of.count) - frequency))
        refinement = np.sum(share * frequency * (1 - frequency))
        score = of.square / len(labels)
        return Brier(*map(np.float64, (score, calibration, refinement, score - calibration - refinement)))

    return streaming.over_members(split, logits, labels, mask)


def smooth_calibration_error(logits: Logits, labels: Labels, temperature: float = 1.0, mask: Mask = None) -> Any:
    """The smooth ECE of Błasiok and Nakkiran (2023), which needs no bins; see `smooth_error`."""
    def measure(logits, labels):
        of = streaming.top_label(logits, labels, temperature)
        return np.float64(smooth_error(of.confidence, of.correct))

    return streaming.over_members(measure, logits, labels, mask)


def smooth_error(confidence: Float[np.ndarray, " examples"], correct: Bool[np.ndarray, " examples"], grid: int = 2**13,
                 tolerance: float = 1e-6) -> float:
    """The smooth ECE from confidences: the bandwidth σ at which the smoothed residuals have mean size σ.

    Each residual is divided between the two nearest points of a grid on [0, 1], then smoothed exactly by a Gaussian
    that is reflected at 0 and 1: this is the heat equation, which a cosine transform makes diagonal. Values below the
    grid's spacing are not resolved.
    """
    confidence, correct = checked.doubles(confidence, "confidence"), checked.booleans(correct, "correct")
    place = confidence * (grid - 1)
    below = np.minimum(place.astype(np.int64), grid - 2)
    residual = (confidence - correct) / len(confidence)
    upper = residual * (place - below)
    mass = np.bincount(below, residual - upper, grid) + np.bincount(below + 1, upper, grid)
    mass[[0, -1]] *= 2  # the reflection returns to the end itself
    waves = fft.dct(mass, type=1)
    decay = np.square(np.pi * np.arange(grid)) / 2

    def size(width):
        smooth = np.abs(fft.idct(waves * np.exp(-decay * width**2), type=1))
        return smooth.sum() - (smooth[0] + smooth[-1]) / 2

    low, high = 0.0, 1.0  # the size decreases with the width
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) > middle else (low, middle)
    return high
