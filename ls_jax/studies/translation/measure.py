"""Next-token calibration at several temperatures, and translations with their scores."""
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ls_jax.studies.calibration import binning
from ls_jax.studies.common.crossed import Sample

BINS = 15
ERROR = "debiased squared error"  # of the next token's confidence; see `calibration.binning.squared_error`


class Curve(NamedTuple):
    """One member's next-token sums over a split at every temperature, given the correct prefix.

    The sums are over the tokens of each group of sentences: see `crossed.groups`.
    """
    split: str
    row: Mapping[str, Any]  # its hyper-parameters
    temperatures: Float[np.ndarray, " temperatures"]
    nll: Float[np.ndarray, "temperatures groups"]
    count: Float[np.ndarray, "temperatures groups bins"]       # number of tokens by bins of confidence (lo, hi]
    confidence: Float[np.ndarray, "temperatures groups bins"]  # sum of their confidences
    correct: Float[np.ndarray, "temperatures groups bins"]     # number of correct ones
    sentences: int = 0

    @property
    def tokens(self) -> int:
        """How many tokens the sums are over."""
        return int(self.count[0].sum())


class Translated(NamedTuple):
    """One member's translations of one file, with their scores."""
    split: str
    file: str
    row: Mapping[str, Any]
    beams: int
    temperature: float
    sentences: int
    scores: Mapping[str, Sample]
    halves: tuple[Sample, Sample] | None = None  # BLEU of every other sentence, from the first and from the second on


def measured(curve: Curve) -> dict[str, list[Sample]]:
    """{"nll", "ece" and "debiased squared error" of the next token: one sample for each temperature}."""
    parts = curve.nll, curve.count, curve.confidence, curve.correct
    whole = _measures(*(part.sum(axis=1) for part in parts))
    without = _measures(*(part.sum(axis=1, keepdims=True) - part for part in parts))
    return {name: [Sample(float(value), deleted=deleted if len(deleted) > 1 else None, examples=curve.sentences)
                   for value, deleted in zip(whole[name], without[name])] for name in whole}


def expected_calibration_error(curve: Curve) -> Float[np.ndarray, " temperatures"]:
    """ECE at every temperature: Σ over bins of |confidence - correct|, per token."""
    return np.array([sample.value for sample in measured(curve)["ece"]])


def _measures(nll, count, confidence, correct):
    """By name, of sums [..., bins]; of the NLL, [...]. NaN without tokens."""
    if not count.any():
        return dict.fromkeys(("nll", "ece", ERROR), np.full(nll.shape, np.nan))
    root = binning.calibration_error(count, confidence - correct, correct, "l2", debiased=True)
    return {"nll": nll / count.sum(axis=-1),
            "ece": binning.calibration_error(count, confidence - correct, correct),
            ERROR: np.sign(root) * np.square(root)}
