"""Neural collapse (Papyan, Han and Donoho 2020), with the variants of Guo et al. 2024 (arXiv 2402.03979).

Let μ_c be the class means of the features and μ their mean, M the matrix of the K vectors μ_c - μ, W the output layer's
columns, Σ_W the mean of the classes' covariances, and Σ_B = 1/K Σ_c (μ_c - μ)(μ_c - μ)ᵀ. All of these are 0 at
collapse:

- `nc1` = Tr(Σ_W Σ_B⁺)/K: within-class variability;
- `nc2 norms`, `nc2 weight norms`: coefficient of variation of the norms of M's, of W's columns;
- `nc2 angles`, `nc2 weight angles`: standard deviation of their cosines over pairs of classes;
- `nc2 simplex`, `nc2 weight simplex`: mean of |cosine + 1/(K-1)|, the deviation from the largest common angle of K
  vectors;
- `nc2 logits` = ||WᵀM/||WᵀM||_F - (I - 11ᵀ/K)/√(K-1)||_F (Guo et al.);
- `nc3` = ||W/||W||_F - M/||M||_F||_F: duality of classifier and means (both papers);
- `nc4`: the fraction of examples where the network does not predict the class of the nearest mean.

Classes without examples are excluded; K is the number of the others.
"""
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from ls_jax import checked
from ls_jax.studies.common.class_statistics import ClassStatistics, disagreement

CUTOFF = 1e-9  # relative to the largest; smaller singular values of the class means are rounding errors


def measure(arrays: Mapping[str, Any], statistics: ClassStatistics) -> dict[str, float]:
    """{name: value} of these measures of one network on one split; those with W only if `arrays` has "kernel" [d, K].

    Raises:
        ValueError: fewer than two classes have examples, or all class means are equal.
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


def variability(within: Float[np.ndarray, "features features"], centred: Float[np.ndarray,
                                                                               "classes features"]) -> float:
    """NC1 = Tr(Σ_W Σ_B⁺)/K. With centred = U S Vᵀ, Σ_B = V (S²/K) Vᵀ, so NC1 = Σ vᵀ Σ_W v / s² over directions v."""
    within, centred = checked.doubles(within, "within"), checked.doubles(centred, "centred")
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    kept = sizes > CUTOFF * sizes[0]
    directions = directions[kept]
    return float(np.sum(np.sum((directions @ within) * directions, axis=1) / sizes[kept] ** 2))


def simplex(vectors: Float[np.ndarray, "classes features"]) -> dict[str, float]:
    """{"norms", "angles", "simplex"}: deviations of K vectors from a simplex with equal norms and cosines -1/(K-1)."""
    vectors = checked.doubles(vectors, "vectors")
    norms = np.linalg.norm(vectors, axis=1)
    unit = vectors / np.where(norms > 0, norms, np.nan)[:, None]
    cosines = (unit @ unit.T)[np.triu_indices(len(vectors), 1)]
    return {"norms": float(np.std(norms) / np.mean(norms)), "angles": float(np.std(cosines)),
            "simplex": float(np.mean(np.abs(cosines + 1 / (len(vectors) - 1))))}


def logit_simplex(weights: Float[np.ndarray, "classes features"], centred: Float[np.ndarray,
                                                                                 "classes features"]) -> float:
    """NC2 of Guo et al.: the distance of the class means' logits from a simplex, from 0 to 2."""
    weights, centred = checked.doubles(weights, "weights"), checked.doubles(centred, "centred")
    classes, logits = len(weights), weights @ centred.T
    target = (np.eye(classes) - 1 / classes) / np.sqrt(classes - 1)
    return float(np.linalg.norm(logits / np.linalg.norm(logits) - target))


def duality(weights: Float[np.ndarray, "classes features"], centred: Float[np.ndarray, "classes features"]) -> float:
    """NC3: ||W/||W||_F - M/||M||_F||_F, from 0 to 2."""
    weights, centred = checked.doubles(weights, "weights"), checked.doubles(centred, "centred")
    return float(np.linalg.norm(weights / np.linalg.norm(weights) - centred / np.linalg.norm(centred)))


def _named(pattern, values):
    return {pattern.format(name): value for name, value in values.items()}
