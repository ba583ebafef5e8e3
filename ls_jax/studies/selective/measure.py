"""Selective classification: how well a score ranks a network's errors.

Logits [*members, examples, classes] and labels [examples] or [*members, examples] give one number for each member. Sums
are float64.
"""
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Real

from ls_jax import checked
from ls_jax.studies.common import streaming
from ls_jax.studies.common.streaming import Labels, Logits, Mask

NORMS = tuple(range(1, 11))  # the candidates of Xia et al.


class Selective(NamedTuple):
    """Measures of a ranking of predictions, most certain first; of equal scores, the mean over all their orders."""
    aurc: Any                  # area under the risk-coverage curve
    augrc: Any                 # area under the generalised risk-coverage curve
    risk_at_80_coverage: Any   # error rate of the most certain 80 % of the examples
    coverage_at_5_risk: Any    # largest fraction of the examples whose error rate is at most 5 %


def ranked_errors(score: Float[np.ndarray, " examples"],
                  correct: Bool[np.ndarray, " examples"]) -> Float[np.ndarray, " examples"]:
    """1 where the prediction with the k-th highest score is wrong, else 0; equal scores share their mean."""
    score, correct = checked.doubles(score, "score"), checked.booleans(correct, "correct")
    _, group, count = np.unique(-score, return_inverse=True, return_counts=True)
    return (np.bincount(group, ~correct, len(count)) / count)[np.sort(group)]


def area(wrong: Float[np.ndarray, " examples"]) -> float:
    """AURC of `ranked_errors`: the error rate of the first k, averaged over k (Geifman and El-Yaniv 2017)."""
    return float(np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1)))


def generalised_area(wrong: Float[np.ndarray, " examples"]) -> float:
    """AUGRC of `ranked_errors` (Traub et al. 2024): P(wrong and accepted), averaged over the coverage.

    The curve is linear between its points. So this is e²/2 + (1 - AUROC) e (1 - e) for the error rate e and the AUROC
    of the score for correctness.
    """
    total = np.cumsum(wrong)
    return float((total.sum() - total[-1] / 2) / len(wrong)**2)


def risk_at(wrong: Float[np.ndarray, " examples"],
            coverage: float | Float[np.ndarray, " points"] = 0.8) -> float | Float[np.ndarray, " points"]:
    """The error rate of the first ceil(coverage * examples) of `ranked_errors`."""
    kept = np.maximum(np.ceil(np.asarray(coverage) * len(wrong) - 1e-9).astype(np.int64), 1)
    return np.cumsum(wrong)[kept - 1] / kept


def coverage_at(wrong: Float[np.ndarray, " examples"], risk: float = 0.05) -> float:
    """The largest coverage of `ranked_errors` at which the error rate is at most `risk`; 0 where there is none."""
    fits = np.flatnonzero(np.cumsum(wrong) <= risk * np.arange(1, len(wrong) + 1) + 1e-9)
    return float((fits[-1] + 1) / len(wrong)) if len(fits) else 0.0


def of_errors(wrong: Float[np.ndarray, " examples"]) -> Selective:
    """All measures from `ranked_errors`."""
    return Selective(area(wrong), generalised_area(wrong), float(risk_at(wrong)), coverage_at(wrong))


def without_groups(statistic: Callable[[np.ndarray], Any], score: Float[np.ndarray, " examples"],
                   correct: Bool[np.ndarray, " examples"], group: Int[np.ndarray, " examples"],
                   groups: int | None = None) -> tuple[Any, np.ndarray]:
    """statistic(`ranked_errors`) of all examples, and without each group of them, [groups, ...]; scores are sorted
    once.

    Args:
        statistic: of `ranked_errors`: a number or an array.
        score, correct: of each example.
        group: of each example, from `crossed.groups`.
        groups: how many groups there are; None: as many as occur.
    """
    score, correct = checked.doubles(score, "score"), checked.booleans(correct, "correct")
    order = np.argsort(-score)
    wrong, ordered = (~correct[order]).astype(np.float64), np.asarray(group)[order]
    tie = np.concatenate([[0], np.cumsum(np.diff(score[order]) != 0)])  # equal scores have equal numbers

    def of(kept):
        errors = wrong[kept]
        if tie[-1] + 1 < len(tie):  # some are equal
            ties = tie[kept]
            errors = (np.bincount(ties, errors) / np.maximum(np.bincount(ties), 1))[ties]
        return statistic(errors)

    count = int(ordered.max()) + 1 if groups is None else groups
    return of(slice(None)), np.array([of(np.flatnonzero(ordered != left_out)) for left_out in range(count)])


def risk_coverage_area(score: Float[np.ndarray, " examples"], correct: Bool[np.ndarray, " examples"]) -> float:
    """The area under the risk-coverage curve (AURC) of a score; see `area`."""
    return area(ranked_errors(score, correct))


def risk_coverage_area_without_groups(score: Float[np.ndarray, " examples"], correct: Bool[np.ndarray, " examples"],
                                      group: Int[np.ndarray, " examples"]) -> tuple[float,
                                                                                    Float[np.ndarray, " groups"]]:
    """`risk_coverage_area` of all examples, and without each group of them (`crossed.groups`)."""
    return without_groups(area, score, correct, group)


def selective(logits: Logits, labels: Labels, norm: int | None = None, mask: Mask = None) -> Selective:
    """All measures of each member; the score is as in `aurc`."""
    return streaming.over_members(lambda *member: Selective(*map(np.float64, of_errors(_errors(*member, norm)))),
                                  logits,
                                  labels, mask)


def aurc(logits: Logits, labels: Labels, norm: int | None = None, mask: Mask = None) -> Any:
    """AURC of each member. The score is the confidence, or with `norm` the normalised logit of Xia et al. (2025).

    Choose `norm` on another split with `select_norm`; see `normalised_logits`.
    """
    return streaming.over_members(lambda *member: np.float64(area(_errors(*member, norm))), logits, labels, mask)


def select_norm(logits: Logits, labels: Labels, norms: Sequence[float] = NORMS, mask: Mask = None) -> Any:
    """The norm whose normalised logits have the smallest AURC on this split, for each member."""
    return streaming.over_members(lambda *member: np.int64(best_norm(*member, norms)), logits, labels, mask)


def _errors(logits, labels, norm):
    of = streaming.top_label(logits, labels)
    return ranked_errors(of.confidence if norm is None else normalised_logits(logits, (norm,))[:, 0], of.correct)


def best_norm(logits: Real[Any, "examples classes"], labels: Integer[np.ndarray, " examples"],
              norms: Sequence[float] = NORMS) -> int:
    """`select_norm` for one member, whose logits may be a memory map."""
    correct = streaming.top_label(logits, labels).correct
    areas = [risk_coverage_area(score, correct) for score in normalised_logits(logits, norms).T]
    return norms[int(np.argmin(areas))]


def normalised_logits(logits: Real[Any, "examples classes"],
                      norms: Sequence[float] = NORMS) -> Float[np.ndarray, "examples norms"]:
    """The largest centred logit over the p-norm of the centred logits, for each p; float64 (Xia et al. 2025).

    Masked classes (-inf) are ignored. Constant logits score 0. +inf is the limit of a growing logit.
    """
    def block(rows):
        values = np.asarray(logits[rows], np.float64)
        unbounded = np.isposinf(values).any(axis=-1)
        if unbounded.any():
            values[unbounded] = np.where(np.isposinf(values[unbounded]), 1.0,
                                         np.where(np.isneginf(values[unbounded]), -np.inf, 0.0))
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
