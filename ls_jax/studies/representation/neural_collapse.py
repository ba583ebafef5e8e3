"""Neural collapse (Papyan, Han and Donoho 2020), and the variants of Guo et al. 2024, "Cross Entropy versus Label Smoothing".

With h an example's features, μ_c the class means, M the matrix of the K means less their mean, W the output layer's columns,
Σ_W the mean of the classes' covariances, and Σ_B = 1/K Σ_c (μ_c - μ)(μ_c - μ)ᵀ, all of these are 0 at collapse:

- `nc1` = Tr(Σ_W Σ_B⁺)/K: within-class variability;
- `nc2 norms`, `nc2 weight norms`: coefficient of variation of the norms of M's, of W's columns;
- `nc2 angles`, `nc2 weight angles`: standard deviation of their cosines over pairs of classes;
- `nc2 simplex`, `nc2 weight simplex`: mean of |cosine + 1/(K-1)|, the distance from the largest angle that K vectors can keep;
- `nc2 logits` = ||WᵀM/||WᵀM||_F - (I - 11ᵀ/K)/√(K-1)||_F (Guo et al.);
- `nc3` = ||W/||W||_F - M/||M||_F||_F: duality of classifier and means (of both papers);
- `nc4`: the share of examples where the network does not choose the class of the nearest mean.

Classes without examples are left out, and K counts the others.
"""
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from ls_jax import checked
from ls_jax.studies.common.class_statistics import ClassStatistics, disagreement

CUTOFF = 1e-9  # singular values of the class means below this times the largest are rounding


def measure(arrays: Mapping[str, Any], statistics: ClassStatistics) -> dict[str, float]:
    """Every number above of one network on one split; those of W and the logits only where `arrays` holds "kernel" [d, K].

    Raises:
        ValueError: fewer than two classes have examples, or all class means are one.
    """
    centred = statistics.centred
    if len(centred) < 2 or not np.linalg.norm(centred) > CUTOFF * np.linalg.norm(statistics.means):
        raise ValueError("neural collapse needs two classes with different means")
    found = {"nc1": variability(statistics.within, centred), **_named("nc2 {}", simplex(centred))}
    if "kernel" in arrays:
        checked.check_finite("kernel", arrays["kernel"])
        weights = checked.doubles(arrays["kernel"], "kernel")[:, statistics.classes].T
        found |= {**_named("nc2 weight {}", simplex(weights)), "nc2 logits": logit_simplex(weights, centred),
                  "nc3": duality(weights, centred), "nc4": disagreement(arrays, statistics)}
    return found


def variability(within: Float[np.ndarray, "features features"], centred: Float[np.ndarray, "classes features"]) -> float:
    """Tr(Σ_W Σ_B⁺)/K: with centred = U S Vᵀ, Σ_B = V (S²/K) Vᵀ, so it is the sum of vᵀ Σ_W v / s² over the directions v."""
    within, centred = checked.doubles(within, "within"), checked.doubles(centred, "centred")
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    kept = sizes > CUTOFF * sizes[0]
    directions = directions[kept]
    return float(np.sum(np.sum((directions @ within) * directions, axis=1) / sizes[kept] ** 2))


def simplex(vectors: Float[np.ndarray, "classes features"]) -> dict[str, float]:
    """{"norms", "angles", "simplex"}: how far K vectors are from a simplex of equal norms and cosines -1/(K-1)."""
    vectors = checked.doubles(vectors, "vectors")
    norms = np.linalg.norm(vectors, axis=1)
    unit = vectors / np.where(norms > 0, norms, np.nan)[:, None]
    cosines = (unit @ unit.T)[np.triu_indices(len(vectors), 1)]
    return {"norms": float(np.std(norms) / np.mean(norms)), "angles": float(np.std(cosines)),
            "simplex": float(np.mean(np.abs(cosines + 1 / (len(vectors) - 1))))}


def logit_simplex(weights: Float[np.ndarray, "classes features"], centred: Float[np.ndarray, "classes features"]) -> float:
    """How far the logits of the class means are from a simplex (Guo et al.'s NC2), from 0 to 2."""
    weights, centred = checked.doubles(weights, "weights"), checked.doubles(centred, "centred")
    classes, logits = len(weights), weights @ centred.T
    target = (np.eye(classes) - 1 / classes) / np.sqrt(classes - 1)
    return float(np.linalg.norm(logits / np.linalg.norm(logits) - target))


def duality(weights: Float[np.ndarray, "classes features"], centred: Float[np.ndarray, "classes features"]) -> float:
    """||W/||W||_F - M/||M||_F||_F, from 0 to 2."""
    weights, centred = checked.doubles(weights, "weights"), checked.doubles(centred, "centred")
    return float(np.linalg.norm(weights / np.linalg.norm(weights) - centred / np.linalg.norm(centred)))


def _named(pattern, values):
    return {pattern.format(name): value for name, value in values.items()}
