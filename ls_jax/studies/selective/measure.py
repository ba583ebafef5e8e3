"""Selective classification: how well a score ranks a network's errors.

Logits [*members, examples, classes] and labels [examples] or [*members, examples] give one number a member. Sums are float64.
"""
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ls_jax import checked
from ls_jax.studies.common import streaming
from ls_jax.studies.common.streaming import Labels, Logits, Mask

NORMS = tuple(range(1, 11))  # those that Xia et al. choose from


def risk_coverage_area(score: Float[np.ndarray, " examples"], correct: Bool[np.ndarray, " examples"]) -> float:
    """The area under the risk-coverage curve (AURC): the error rate of the k highest scores, averaged over k.

    Equal scores are taken in random order: this is the mean over those orders.
    """
    score, correct = checked.doubles(score, "score"), checked.booleans(correct, "correct")
    _, group, count = np.unique(-score, return_inverse=True, return_counts=True)
    wrong = (np.bincount(group, ~correct, len(count)) / count)[np.sort(group)]
    return float(np.mean(np.cumsum(wrong) / np.arange(1, len(score) + 1)))


def aurc(logits: Logits, labels: Labels, norm: int | None = None, mask: Mask = None) -> Any:
    """AURC with the confidence as the score, or with the normalised largest logit of Xia et al. (2025), `normalised_logits`.

    Take `norm` from another split: `select_norm`.
    """
    def area(logits, labels):
        of = streaming.top_label(logits, labels)
        score = of.confidence if norm is None else normalised_logits(logits, (norm,))[:, 0]
        return np.float64(risk_coverage_area(score, of.correct))

    return streaming.over_members(area, logits, labels, mask)


def select_norm(logits: Logits, labels: Labels, norms: Sequence[int] = NORMS, mask: Mask = None) -> Any:
    """The norm whose normalised logits rank errors best: that of the smallest AURC on this split."""
    return streaming.over_members(lambda *member: np.int64(best_norm(*member, norms)), logits, labels, mask)


def best_norm(logits: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"],
              norms: Sequence[int] = NORMS) -> int:
    """`select_norm` of one member, whose logits may be on disk."""
    correct = streaming.top_label(logits, labels).correct
    areas = [risk_coverage_area(score, correct) for score in normalised_logits(logits, norms).T]
    return norms[int(np.argmin(areas))]


def normalised_logits(logits: Float[np.ndarray, "examples classes"],
                      norms: Sequence[int] = NORMS) -> Float[np.ndarray, "examples norms"]:
    """The largest of the logits less their mean, over their p-norm, for each p; float64 (Xia et al. 2025).

    Masked classes (-inf) are left out; constant logits score 0; +inf is taken as the limit of a growing logit.
    """
    def block(rows):
        values = np.asarray(logits[rows], np.float64)
        unbounded = np.isposinf(values).any(axis=-1)
        if unbounded.any():
            values[unbounded] = np.where(np.isposinf(values[unbounded]), 1.0, np.where(np.isneginf(values[unbounded]), -np.inf, 0.0))
        present = ~np.isneginf(values)
        mean = np.sum(values, axis=-1, where=present) / present.sum(axis=-1)
        values = np.where(present, values - mean[:, None], 0.0)
        largest, size = values.max(axis=-1), np.abs(values, out=values).max(axis=-1)
        size = np.where(size > 0, size, 1.0)
        values /= size[:, None]
        power, scores = np.ones_like(values), {}
        for norm in range(1, max(norms) + 1):
            power *= values
            scores[norm] = power.sum(axis=-1) ** (1 / norm)
        total = np.stack([scores[norm] for norm in norms], axis=-1)
        return (largest / size)[:, None] / np.where(total > 0, total, 1.0)

    if any(norm != int(norm) or norm < 1 for norm in norms):
        raise ValueError(f"norms={tuple(norms)!r}: choose whole numbers of at least 1")
    checked.check_reals(logits, "logits", 2)
    return np.concatenate(list(streaming.over_blocks(block, *logits.shape)))
