"""Information, in nats, between a training example and a difference of two logits (the paper's Section 4 and Figure 6).

X is the index of one of N training examples, Y the difference of two logits for a random augmentation of it. The paper
assumes that p(y|x) is normal, N(μ_x, σ²) with one shared variance, takes the mean of L draws as μ_x, and estimates

    Î = 1/N Σ_x [ -(y_x - μ_x)²/2σ² - log 1/N Σ_x' exp(-(y_x - μ_x')²/2σ²) ],    σ² = 1/N Σ_x (y_x - μ_x)².

The paper prints x in place of x' too. Then the sum runs over the examples' own residuals, and the estimate is useless:
never positive, and about -0.153 for any data (`printed_information`). The outer draw y_x must stay fixed while x' runs.

The paper does not say whether y_x is a fresh draw or one of the L. For two collapsed clusters the information is log 2
= 0.693. With N = 600 and L = 5 the estimate is 0.628 with a fresh draw and 0.801 with a reused one; with L = 50 it is
0.683 and 0.703. So a value "slightly above log(2)" may be an artefact of the estimator. We report both readings, at L =
5 and at a large L.

The assumption that Y is normal given X matters. An augmentation has finitely many outcomes (25 shifts of a digit, 162
crops and flips), so Y has finitely many values for each x, and the exact information of almost any network is log N.
"""
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer
from scipy.special import digamma

from ls_jax import checked
from ls_jax.studies.common.blocks import blocks

NODES = np.arange(-9.0, 9.01, 0.25)  # of the quadrature, in standard deviations; a normal has 2e-19 outside


def logit_information(
        draws: Float[np.ndarray, "*members examples views"],
        fresh: Float[np.ndarray, "*members examples"] | None = None) -> Float[np.ndarray, "*members"] | float:
    """The paper's estimate Î in nats, for each member: at most log N, and slightly negative at times.

    Args:
        draws: one number for each augmented view; their means are the μ_x.
        fresh: outer draws y_x that are not in the means; None: the first of each example's draws, which is.

    Without spread within the examples (σ = 0), the result is the limit: the entropy of the means.

    Raises:
        ValueError: shapes do not match, or a draw is not finite.
    """
    outer, means = _outer_and_means(draws, fresh)
    flat = [
        _information(y, mu) for y, mu in zip(outer.reshape(-1, outer.shape[-1]), means.reshape(-1, means.shape[-1]))
    ]
    return np.reshape(flat, outer.shape[:-1]) if outer.ndim > 1 else flat[0]


def printed_information(draws: Float[np.ndarray, "examples views"],
                        fresh: Float[np.ndarray, " examples"] | None = None) -> float:
    """The formula as printed in the paper, with the inner sum over examples' own residuals; never positive (Jensen).

    For normal residuals it is -(1 - log 2)/2 = -0.153 for any means. It is here for tests only.
    """
    outer, means = _outer_and_means(draws, fresh)
    exponent = -(outer - means) ** 2 / (2 * np.mean((outer - means) ** 2))
    return float(np.mean(exponent) - np.log(np.mean(np.exp(exponent))))


def mixture_information(means: Float[np.ndarray, " examples"], deviation: float) -> float:
    """The information between X and Y in nats if Y is exactly N(μ_x, σ²): the mixture's entropy minus the normal's.

    The mixture's entropy is the mean over x of -E log p(μ_x + σz), by the trapezoidal rule in z, which is practically
    exact for such smooth integrands. Noise in the means raises the result: with L draws, by log(1 + 1/L)/2 where all
    examples of a cluster have the same mean (0.091 at L = 5, 0.010 at 50).

    Args:
        means: μ_x.
        deviation: σ. Where it is 0, up to rounding, the result is the limit: the entropy of the means.
    """
    means = np.sort(checked.doubles(means, "means"))
    if not deviation > 1e-9 * np.abs(means).max():
        return _entropy(means)
    means = means / deviation
    weights = np.exp(-NODES**2 / 2) / np.sum(np.exp(-NODES**2 / 2))
    total = 0.0
    for rows in blocks(len(means), len(means) * len(NODES)):
        low, high = np.searchsorted(
            means, [means[rows.start] - 27, means[rows.stop - 1] + 27])  # the others are 18 σ or more away
        exponent = ((means[rows, None] + NODES)[:, :, None] - means[low:high]) ** 2
        exponent *= -0.5
        total -= np.sum(np.log(np.sum(np.exp(exponent, out=exponent), axis=2)) @ weights)
    return float(total / len(means) + math.log(len(means)) - 0.5)


def fitted_mixture(draws: Float[np.ndarray, "examples views"]) -> tuple[Float[np.ndarray, " examples"], float]:
    """(μ_x, σ) of the mixture fitted to the draws: means, and the pooled standard deviation with denominator L - 1.

    Raises:
        ValueError: examples have fewer than two views.
    """
    draws = checked.doubles(draws, "draws")
    if draws.shape[1] < 2:
        raise ValueError("a standard deviation needs two or more views of each example")
    return draws.mean(axis=1), float(np.sqrt(np.mean(np.var(draws, axis=1, ddof=1))))


def neighbour_information(draws: Float[np.ndarray, "examples views"], neighbours: int = 3) -> float:
    """The nearest-neighbour estimate of I(X; Y) in nats (Ross 2014), which does not assume that Y is normal.

    Let r be the distance to the k-th nearest draw of the same example, and m the number of all draws nearer than r,
    itself included. The estimate is ψ(NL) + ψ(k) - ψ(L) - mean ψ(m), as scikit-learn's `mutual_info_classif`, but by
    sorting in one dimension, and not cut off at 0. As there, noise of 1e-10 standard deviations separates equal draws.

    Repeated views make it log N, correctly (see above); check `repeated` first.

    Raises:
        ValueError: there are not more views than neighbours.
    """
    draws = checked.doubles(draws, "draws")
    examples, views = draws.shape
    if views <= neighbours:
        raise ValueError(f"{neighbours} neighbours need more than {neighbours} views of each example, not {views}")
    draws = (draws - np.mean(draws)) / (np.std(draws) or 1.0)
    draws = draws + 1e-10 * np.random.default_rng(0).standard_normal(draws.shape)
    radius = np.concatenate([np.sort(np.abs(part[:, :, None] - part[:, None, :]), axis=2)[:, :, neighbours]
                             for part in (draws[rows] for rows in blocks(examples, views * views))])
    radius -= 4 * np.spacing(
        np.abs(draws) + radius)  # excludes the k-th neighbour itself, however the sums below are rounded
    pooled = np.sort(draws, axis=None)
    nearer = np.searchsorted(pooled, draws + radius, "right") - np.searchsorted(pooled, draws - radius, "left")
    return float(digamma(draws.size) + digamma(neighbours) - digamma(views) - np.mean(digamma(nearer)))


def repeated(draws: Float[np.ndarray, "examples views"]) -> float:
    """The fraction of draws that equal an earlier draw of the same example."""
    ordered = np.sort(checked.doubles(draws, "draws"), axis=1)
    return float(np.mean(np.diff(ordered, axis=1) == 0) * (draws.shape[1] - 1) / draws.shape[1])


def collapsed(labels: Integer[np.ndarray, " examples"] | Sequence[int]) -> float:
    """The information in nats if logits depend on the class alone: the entropy of the classes."""
    labels = checked.integers(labels)
    share = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-np.sum(share * np.log(share)))


def half_samples(draws: Float[np.ndarray, "*members examples views"],
                 fresh: Float[np.ndarray, "*members examples"] | None, labels: Integer[np.ndarray, " examples"],
                 count: int = 100, seed: int = 0) -> Float[np.ndarray, "*members count"]:
    """How Î varies with the choice of examples: its values on random halves of each class, minus their mean.

    The plain bootstrap draws copies of examples, which cannot be told apart: an information of log N would lose 0.57
    nats. Halves have no copies. A half drawn without replacement varies around the whole as much as the whole varies
    around the population (McCarthy 1969), so an interval is Î plus quantiles of the result. Members share the halves,
    so means and differences of members have intervals too.
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
        raise ValueError(f"fresh has shape {outer.shape}, but draws {draws.shape}: fresh must be {draws.shape[:-1]}")
    if not (np.isfinite(draws).all() and np.isfinite(outer).all()):
        raise ValueError("draws must be finite: exclude members that diverged")
    return outer, draws.mean(axis=-1)


def _information(outer, means):
    """Î of one member from y [N] and μ [N]."""
    square = (outer - means) ** 2
    variance, total = np.mean(square), 0.0
    if not variance > 1e-24 * max(np.var(means), np.mean(means**2)):  # rounding errors are not spread
        return _entropy(means)
    for rows in blocks(len(means), len(means)):
        exponent = (outer[rows, None] - means) ** 2
        exponent *= -0.5 / variance
        largest = exponent.max(axis=1)
        exponent -= largest[:, None]
        total += np.sum(np.log(np.mean(np.exp(exponent, out=exponent), axis=1)) + largest)
    return float(-0.5 - total / len(means))


def _entropy(means):
    """In nats, of which mean an example has."""
    _, same = np.unique(means, return_counts=True)
    return float(-np.sum(same / len(means) * np.log(same / len(means))))
