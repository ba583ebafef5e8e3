"""Measures of the penultimate representation: collapse, separation, stability, rank, similarity.

- `class separation` R² = 1 - d_within/d_total of cosine distances, classes weighted equally (Kornblith et al. 2021).
  With m_k the mean of class k's features over their norms, the sums over all pairs are exactly
  d_within = 1 - mean ||m_k||² and d_total = 1 - ||mean m_k||².
- `stability` S = 1 - 1/K Σ_c 1/n_c Σ_i ||p_i - mean p of class c||² of the probabilities p (Shen et al. 2021). They do
  not say whether p is the vector or its entry c; here it is the vector.
- `rank of class means`, `rank within classes`: effective rank, exp of the entropy of the singular values' shares (Roy
  and Vetterli 2007), of the centred class means (at most K - 1) and of all examples' differences from their class's
  mean.
- `linear_cka` compares two networks on the same examples (Kornblith et al. 2019).
- neural collapse: see `neural_collapse`.

Examples are read in blocks; no sum runs over pairs of examples.
"""
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from ls_jax import checked
from ls_jax.errors import InvalidArray
from ls_jax.studies.common import class_statistics
from ls_jax.studies.common.blocks import blocks
from ls_jax.studies.common.class_statistics import ClassStatistics, stability
from ls_jax.studies.representation import neural_collapse


def measure_all(arrays: Mapping[str, Any]) -> dict[str, float]:
    """{measure: value} of one network on one split, for every measure that its arrays allow and that is finite.

    Args:
        arrays: logits [N, K] and labels [N] give stability; features [N, d] add the features' measures; kernel [d, K]
            adds those of the output layer. Logits and features may be memory maps larger than memory.

    Raises:
        InvalidArray: a dtype, a shape or a label is wrong, there is no example, or a number is not finite.
    """
    found = {"stability": stability(arrays["logits"], arrays["labels"])}
    if "features" in arrays:
        statistics = class_statistics.of_features(arrays["features"], arrays["labels"])
        found |= {
            "class separation": class_separation(statistics), "rank of class means": effective_rank(statistics.centred),
            "rank within classes": _rank(np.sqrt(np.maximum(np.linalg.eigvalsh(statistics.within), 0)))
        }
        try:
            found |= neural_collapse.measure(arrays, statistics)
        except InvalidArray:
            raise
        except ValueError:
            pass  # one class, or all class means are equal
    return {name: value for name, value in found.items() if math.isfinite(value)}


def class_separation(statistics: ClassStatistics) -> float:
    """R² of cosine distances, from 0 (classes alike) to 1 (collapsed); a zero vector has distance 1 from all others."""
    within = 1 - np.mean(np.sum(statistics.directions ** 2, axis=1))
    total = 1 - np.sum(np.mean(statistics.directions, axis=0) ** 2)
    return float(1 - within / total) if total > 0 else math.nan


def effective_rank(matrix: Float[np.ndarray, "rows columns"]) -> float:
    """exp(entropy of the normalised singular values): from 1 to the rank, which it reaches if they are all equal."""
    return _rank(np.linalg.svd(checked.doubles(matrix, "matrix"), compute_uv=False))


def linear_cka(features: Any, others: Any) -> float:
    """Linear centred kernel alignment, ||YᵀX||² / (||XᵀX|| ||YᵀY||), from 0 to 1.

    Args:
        features, others: [N, d] and [N, d'] of the same examples in two networks.

    Raises:
        ValueError: there are no examples, or not equally many.
        InvalidArray: an array has the wrong type or shape, or a number is not finite.
    """
    checked.check_reals(features, "features", 2)
    checked.check_reals(others, "others", 2)
    if not len(features):
        raise ValueError("features have no examples: at least one is needed")
    if len(features) != len(others):
        raise ValueError(
            f"{len(features)} and {len(others)} examples: the alignment compares networks on the same ones")
    sizes = features.shape[1], others.shape[1]
    for name, array in (("features", features), ("others", others)):
        for rows in blocks(len(array), array.shape[1]):
            checked.check_finite(name, array[rows], rows.start)
    means = [
        sum(np.asarray(each[rows], np.float64).sum(axis=0) for rows in blocks(len(each), each.shape[1])) / len(each)
        for each in (features, others)
    ]
    own, cross, other = np.zeros((sizes[0],) * 2), np.zeros(sizes), np.zeros((sizes[1],) * 2)
    for rows in blocks(len(features), sum(sizes)):
        x, y = (np.asarray(each[rows], np.float64) - mean for each, mean in zip((features, others), means))
        own += x.T @ x
        cross += x.T @ y
        other += y.T @ y
    scale = np.linalg.norm(own) * np.linalg.norm(other)
    return float(np.sum(cross ** 2) / scale) if scale > 0 else math.nan


def _rank(sizes):
    share = sizes / sizes.sum() if sizes.sum() > 0 else np.full(1, np.nan)
    share = share[~(share == 0)]
    return float(np.exp(-np.sum(share * np.log(share))))
