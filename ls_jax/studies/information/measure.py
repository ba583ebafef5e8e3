"""How much a logit difference still tells of which example it came from (the paper's Section 4 and Figure 6), in nats.

X is the index of one of N training examples, Y the difference of two logits over a random augmentation of it. The paper takes
p(y|x) for a normal distribution N(μ_x, σ²) of one shared variance, μ_x being the mean of L draws, and estimates

    Î = 1/N Σ_x [ -(y_x - μ_x)²/2σ² - log 1/N Σ_x' exp(-(y_x - μ_x')²/2σ²) ],    σ² = 1/N Σ_x (y_x - μ_x)².

The paper prints x for x' too. Read so, the sum is over the examples' own residuals, and the estimate says nothing: it is never
positive, and about -0.153 whatever the data (`printed_information`). The outer draw y_x has to stay while x' runs.

Nor does the paper say whether y_x is a fresh draw or one of the L. For two collapsed clusters, whose information is log 2 = 0.693,
N = 600 and L = 5 give 0.628 with a fresh draw and 0.801 with a reused one; at L = 50 it is 0.683 and 0.703. So a residue
"slightly above log(2)" may be an artefact of the estimator, and both readings are given, at L = 5 and at a large L.

That Y is normal given X is what makes the question one of degree. An augmentation has finitely many outcomes (25 shifts of a digit,
162 crops and flips), so that Y has finitely many values for each x, and the exact information of almost any network is log N.
"""
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import digamma

from ls_jax import checked
from ls_jax.studies.common.blocks import blocks

NODES = np.arange(-9.0, 9.01, 0.25)  # of the quadrature, in standard deviations: the rest of a normal is 2e-19


def logit_information(draws: Float[np.ndarray, "*members examples views"],
                      fresh: Float[np.ndarray, "*members examples"] | None = None) -> Float[np.ndarray, "*members"] | float:
    """Î in nats, at most log N; in finite samples it may be a little negative.

    Args:
        draws: one scalar per augmented view; their means are the μ_x.
        fresh: outer draws y_x, not used for the means; None: the first of each example's draws, which is.

    Draws without any spread within the examples (σ = 0) give the limit, the entropy of the means.

    Raises:
        ValueError: shapes do not fit, or draws are not finite.
    """
    outer, means = _outer_and_means(draws, fresh)
    flat = [_information(y, mu) for y, mu in zip(outer.reshape(-1, outer.shape[-1]), means.reshape(-1, means.shape[-1]))]
    return np.reshape(flat, outer.shape[:-1]) if outer.ndim > 1 else flat[0]


def printed_information(draws: Float[np.ndarray, "examples views"], fresh: Float[np.ndarray, " examples"] | None = None) -> float:
    """The formula as the paper prints it, its inner sum over each example's own residual: never positive (Jensen).

    For normal residuals it is -(1 - log 2)/2 = -0.153 whatever the means are. It is here to be tested, not to be used.
    """
    outer, means = _outer_and_means(draws, fresh)
    exponent = -(outer - means) ** 2 / (2 * np.mean((outer - means) ** 2))
    return float(np.mean(exponent) - np.log(np.mean(np.exp(exponent))))


def mixture_information(means: Float[np.ndarray, " examples"], deviation: float) -> float:
    """The information of Y about X, in nats, where Y is exactly N(μ_x, σ²): entropy of the mixture less that of the normal.

    The mixture's entropy is the mean over x of -E log p(μ_x + σz), by the trapezoidal rule in z, which for such smooth integrands
    is as good as exact. Noisy means raise the result: with L draws each, by log(1 + 1/L)/2 where all examples of a
    cluster have one mean (0.091 at L = 5, 0.010 at 50).

    Args:
        means: μ_x.
        deviation: σ > 0.
    """
    means = np.sort(checked.doubles(means, "means")) / deviation
    weights = np.exp(-NODES**2 / 2) / np.sum(np.exp(-NODES**2 / 2))
    total = 0.0
    for rows in blocks(len(means), len(means) * len(NODES)):
        low, high = np.searchsorted(means, [means[rows.start] - 27, means[rows.stop - 1] + 27])  # others are 18 σ off or more
        exponent = ((means[rows, None] + NODES)[:, :, None] - means[low:high]) ** 2
        exponent *= -0.5
        total -= np.sum(np.log(np.sum(np.exp(exponent, out=exponent), axis=2)) @ weights)
    return float(total / len(means) + math.log(len(means)) - 0.5)


def fitted_mixture(draws: Float[np.ndarray, "examples views"]) -> tuple[Float[np.ndarray, " examples"], float]:
    """(μ_x, σ) of the mixture that the draws fit best: means, and the pooled deviation from them with L - 1 in the denominator."""
    draws = checked.doubles(draws, "draws")
    if draws.shape[1] < 2:
        raise ValueError("a deviation from the mean needs two views of each example or more")
    return draws.mean(axis=1), float(np.sqrt(np.mean(np.var(draws, axis=1, ddof=1))))


def neighbour_information(draws: Float[np.ndarray, "examples views"], neighbours: int = 3) -> float:
    """Ross's (2014) nearest-neighbour estimate of I(X; Y) in nats, which does not take Y for normal.

    With r the distance to the k-th nearest draw of the same example and m the number of all draws nearer than r (itself
    included), it is ψ(NL) + ψ(k) - ψ(L) - mean ψ(m): scikit-learn's `mutual_info_classif`, but in one dimension by sorting,
    for all examples at once, and not cut off at 0. Like there, equal draws are set apart by noise of 1e-10 standard deviations.

    Views that repeat make it log N, and rightly so (see above): judge it by `repeated`.

    Raises:
        ValueError: there are no more views than neighbours.
    """
    draws = checked.doubles(draws, "draws")
    examples, views = draws.shape
    if views <= neighbours:
        raise ValueError(f"{neighbours} neighbours need more than {neighbours} views of each example, not {views}")
    draws = (draws - np.mean(draws)) / (np.std(draws) or 1.0)
    draws = draws + 1e-10 * np.random.default_rng(0).standard_normal(draws.shape)
    radius = np.concatenate([np.sort(np.abs(part[:, :, None] - part[:, None, :]), axis=2)[:, :, neighbours]
                             for part in (draws[rows] for rows in blocks(examples, views * views))])
    radius -= 4 * np.spacing(np.abs(draws) + radius)  # the k-th neighbour itself is out, however the sums below are rounded
    pooled = np.sort(draws, axis=None)
    nearer = np.searchsorted(pooled, draws + radius, "right") - np.searchsorted(pooled, draws - radius, "left")
    return float(digamma(draws.size) + digamma(neighbours) - digamma(views) - np.mean(digamma(nearer)))


def repeated(draws: Float[np.ndarray, "examples views"]) -> float:
    """The share of draws that equal an earlier draw of their example."""
    ordered = np.sort(checked.doubles(draws, "draws"), axis=1)
    return float(np.mean(np.diff(ordered, axis=1) == 0) * (draws.shape[1] - 1) / draws.shape[1])


def collapsed(labels: Int[np.ndarray, " examples"] | Sequence[int]) -> float:
    """What is left in nats when every example says its class alone: the classes' entropy, log 2 for two of equal size."""
    labels = checked.integers(labels)
    share = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-np.sum(share * np.log(share)))


def half_samples(draws: Float[np.ndarray, "*members examples views"], fresh: Float[np.ndarray, "*members examples"] | None,
                 labels: Int[np.ndarray, " examples"], count: int = 100, seed: int = 0) -> Float[np.ndarray, "*members count"]:
    """How Î scatters from one choice of the examples to another: its values on random halves of each class, less their mean.

    Examples drawn with replacement, the plain bootstrap, would come in copies, which tell nothing apart: an information of log N
    would lose 0.57 nats. Halves hold no copies, and as a half drawn without replacement varies about the whole by
    as much as the whole does about the population (McCarthy 1969), an interval is Î plus the quantiles of what is returned.
    Members share the halves, so means and differences of members have intervals likewise.
    """
    (outer, means), labels = _outer_and_means(draws, fresh), checked.integers(labels)
    rng, classes = np.random.default_rng(seed), [np.flatnonzero(labels == label) for label in np.unique(labels)]
    values = []
    for _ in range(count):
        half = np.concatenate([rng.permutation(ids)[:max(1, len(ids) // 2)] for ids in classes])
        values.append([_information(y, mu) for y, mu in zip(outer.reshape(-1, outer.shape[-1])[:, half],
                                                             means.reshape(-1, means.shape[-1])[:, half])])
    values = np.moveaxis(np.asarray(values), 0, -1).reshape(*outer.shape[:-1], count)
    return values - values.mean(axis=-1, keepdims=True)


def _outer_and_means(draws, fresh):
    draws = checked.doubles(draws, "draws")
    if draws.ndim < 2 or 0 in draws.shape:
        raise ValueError(f"draws has shape {draws.shape}: it must be [..., examples, views]")
    outer = draws[..., 0] if fresh is None else checked.doubles(fresh, "fresh")
    if outer.shape != draws.shape[:-1]:
        raise ValueError(f"fresh has shape {outer.shape}, but {draws.shape[:-1]} goes with draws of shape {draws.shape}")
    if not (np.isfinite(draws).all() and np.isfinite(outer).all()):
        raise ValueError("draws must be finite: leave out members that diverged")
    return outer, draws.mean(axis=-1)


def _information(outer, means):
    """Î of one member from y [N] and μ [N]."""
    square = (outer - means) ** 2
    variance, total = np.mean(square), 0.0
    if not variance > 1e-24 * max(np.var(means), np.mean(means**2)):  # what rounding leaves is no spread
        _, same = np.unique(means, return_counts=True)
        return float(-np.sum(same / len(means) * np.log(same / len(means))))
    for rows in blocks(len(means), len(means)):
        exponent = (outer[rows, None] - means) ** 2
        exponent *= -0.5 / variance
        largest = exponent.max(axis=1)
        exponent -= largest[:, None]
        total += np.sum(np.log(np.mean(np.exp(exponent, out=exponent), axis=1)) + largest)
    return float(-0.5 - total / len(means))
