"""Calibration of next tokens at several temperatures, and what is known of translations."""
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

BINS = 15


class Curve(NamedTuple):
    """One member's next tokens on one split at every temperature: sums over all tokens, the correct prefix given."""
    split: str
    row: Mapping[str, Any]  # its hyper-parameters
    temperatures: Float[np.ndarray, " temperatures"]
    nll: Float[np.ndarray, " temperatures"]
    count: Float[np.ndarray, "temperatures bins"]       # tokens by bins of confidence, (lo, hi] ...
    confidence: Float[np.ndarray, "temperatures bins"]  # ... the sums of their confidence ...
    correct: Float[np.ndarray, "temperatures bins"]     # ... and how many are right


class Translated(NamedTuple):
    """One member's translations of one file."""
    split: str
    file: str
    row: Mapping[str, Any]
    beams: int
    temperature: float
    sentences: int
    scores: Mapping[str, float]


def expected_calibration_error(curve: Curve) -> Float[np.ndarray, " temperatures"]:
    """ECE at every temperature: Σ |confidence - correct| over the bins, per token."""
    return np.abs(curve.confidence - curve.correct).sum(axis=1) / curve.count.sum(axis=1)
