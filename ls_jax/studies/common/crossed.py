"""Intervals for new seeds and new test examples: crossed random effects (Searle, Casella and McCulloch 1992).

The networks of a sweep share one test set. So a mean over seeds and examples varies for two reasons: other seeds would
give other networks, and other examples would be easier or harder for all of them. With n seeds, N examples and values
y [n, N]:

- V_S = (variance of the n seed means) / n: what seeds add;
- V_E = (variance of the N example means) / N: what examples add;
- V_R = (residual mean square) / (n N): the noise of single values, which V_S and V_E both contain.

The variance of the mean is V = max(V_S, V_E, V_S + V_E - V_R). The interval is Student's, with Satterthwaite's degrees
of freedom, at least n - 1. It is for this training set: how much another would change is not in the data.

docs/statistics.md explains the method and gives its simulated coverage (`benchmarks/coverage.py`).
"""
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import special

from ls_jax.errors import InvalidArray

GROUPS = 20  # that are deleted one at a time, for measures that are not means


@dataclasses.dataclass(frozen=True)
class Crossed:
    """An estimate with its interval and the parts of its variance. A part that was not estimated is None."""
    estimate: float
    interval: tuple[float, float] | None  # None: neither seeds nor examples say how much it varies
    seeds: float | None                   # V_S; None for one seed
    examples: float | None                # V_E; None where examples are not drawn anew, as on the training split
    residual: float | None                # V_R; None unless both are there
    degrees_of_freedom: float | None
    n: int                                # seeds
    N: int                                # examples, or clusters of them

    @property
    def variance(self) -> dict[str, float | None]:
        """The parts by name, each as a variance of the estimate."""
        return {"seeds": self.seeds, "examples": self.examples, "residual": self.residual}


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One network's measure, and how it depends on the examples: the values of a mean, or the values without groups.

    With neither, that is not known. Samples of networks that were measured on the same examples can be added,
    subtracted and multiplied by numbers. `of_samples` takes one a seed.
    """
    value: float | Float[np.ndarray, " points"]           # points: of a curve
    values: Float[np.ndarray, " examples"] | None = None  # of a mean
    deleted: Float[np.ndarray, "groups ..."] | None = None  # of another measure: without each group of examples
    examples: int = 0                                     # or clusters; of a mean it is known
    clusters: Shaped[np.ndarray, " examples"] | None = None
    step: float = 0.0                                     # see `of_mean`

    def __add__(self, other: "Sample") -> "Sample":
        def both(name):
            own, others = getattr(self, name), getattr(other, name)
            return None if own is None or others is None else own + others

        return dataclasses.replace(self, value=self.value + other.value, values=both("values"), deleted=both("deleted"))

    def __mul__(self, factor: float) -> "Sample":
        times = lambda name: None if getattr(self, name) is None else getattr(self, name) * factor
        return dataclasses.replace(self, value=self.value * factor, values=times("values"), deleted=times("deleted"))

    def __sub__(self, other: "Sample") -> "Sample":
        return self + other * -1.0

    def by_group(self) -> "Sample":
        """A mean as `of_statistic` takes it: without each of GROUPS groups of its examples, instead of its values."""
        if self.values is None:
            return self
        units = Units.of(self.clusters, len(self.values))
        size, total = np.bincount(units.group), np.bincount(units.group, self.values)
        if len(size) < 2:
            return Sample(self.value)
        return Sample(self.value, deleted=(total.sum() - total) / (size.sum() - size), examples=units.count)


def of_samples(samples: Sequence[Sample], level: float = 0.95) -> Crossed | None:
    """The mean over the seeds of a measure, by `of_mean` or `of_statistic`; None where a number is not finite, or
    where it is not known how one depends on the examples."""
    first = samples[0]
    name = "deleted" if first.values is None else "values"
    if any(getattr(each, name) is None for each in samples):
        return None
    by_seed = np.array([each.value for each in samples])
    parts = np.stack([getattr(each, name) for each in samples])
    if not (np.isfinite(by_seed).all() and np.isfinite(parts).all()):
        return None
    if first.values is None:
        return of_statistic(by_seed, parts, first.examples, level)
    return of_mean(parts, first.clusters, level, first.step)


def of_mean(values: Float[np.ndarray, "seeds examples"], clusters: Shaped[np.ndarray, " examples"] | None = None,
            level: float = 0.95, step: float = 0.0) -> Crossed:
    """The mean over seeds and examples, with its interval for new seeds and new examples.

    With one seed the interval is for new examples and this network. Where all seeds agree it comes from the examples.

    Args:
        values: one number a seed and example: a measure, or its difference between two networks of the same seed.
        clusters: the cluster, such as the sentence, of each example. Clusters are then drawn, with all their examples.
        level: of the interval.
        step: the smallest change of an example's value, such as 1 for correctness. It gives an interval where all
            values are equal: as wide as Wilson's (1927) at a share of 0. With 0 there is none then.

    Raises:
        InvalidArray: the values are not finite numbers [seeds, examples], or clusters are not one an example.
    """
    values = _finite("values", values, 2)
    by_seed = values.mean(axis=1)
    found = _combine(by_seed, values if clusters is None else _by_cluster(values, by_seed, clusters), level)
    if found.interval is None and step > 0:
        square = special.ndtri((1 + level) / 2) ** 2
        half = step * square / (found.N + square)
        return dataclasses.replace(found, interval=(found.estimate - half, found.estimate + half))
    return found


def of_statistic(by_seed: Float[np.ndarray, " seeds"], deleted: Float[np.ndarray, "seeds groups"], examples: int,
                 level: float = 0.95) -> Crossed:
    """The mean over seeds of a statistic of all examples, such as a calibration error, with its interval.

    The examples' part comes from the jackknife (Tukey 1958): with G groups, pseudo-value = G statistic - (G - 1)
    statistic without the group. Pseudo-values take the place of a mean's values, groups that of examples.

    Args:
        by_seed: the statistic of each seed's network, or its difference between two networks of the same seed.
        deleted: the same without each group of examples. See `groups` and `leave_out`.
        examples: how many examples, or clusters of them, there are in all.
        level: of the interval.

    Raises:
        InvalidArray: the numbers are not finite, or have other shapes.
    """
    by_seed, deleted = _finite("by_seed", by_seed, 1), _finite("deleted", deleted, 2)
    if len(by_seed) != len(deleted):
        raise InvalidArray(f"by_seed has {len(by_seed)} seeds, deleted {len(deleted)}: give both for the same seeds")
    count = deleted.shape[1]
    pseudo = count * by_seed[:, None] - (count - 1) * deleted
    return dataclasses.replace(_combine(by_seed, pseudo, level), N=examples)


def over_seeds(by_seed: Float[np.ndarray, " seeds"], examples: int, level: float = 0.95) -> Crossed:
    """The mean over seeds with Student's interval for new seeds on the same examples, as for the training split.

    Raises:
        InvalidArray: the numbers are not finite.
    """
    return dataclasses.replace(_combine(_finite("by_seed", by_seed, 1), None, level), N=examples)


def groups(ids: Shaped[np.ndarray, " examples"], count: int = GROUPS) -> Int[np.ndarray, " examples"]:
    """The group of each example: 0 to count - 1, sizes as equal as can be, as if at random.

    It depends on the ids alone, not on their order: networks that were measured on the same examples get the same
    groups. Equal ids, such as those of a sentence's tokens, are in one group. There are never more groups than
    different ids.

    Raises:
        InvalidArray: ids are not integers [examples].
    """
    ids = np.asarray(ids)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise InvalidArray(f"ids are {ids.dtype} of shape {ids.shape}: give one integer an example")
    different, place = np.unique(ids, return_inverse=True)
    order = np.argsort(_scrambled(different), kind="stable")
    group = np.empty(len(different), np.int64)
    group[order] = np.arange(len(different)) * min(count, len(different)) // max(1, len(different))
    return group[place]


class Units(NamedTuple):
    """What is drawn anew: the unit of each example (its id, or its sentence's), and its group."""
    unit: Int[np.ndarray, " examples"]
    group: Int[np.ndarray, " examples"]
    count: int

    @classmethod
    def of(cls, ids: Int[np.ndarray, " examples"] | None, examples: int) -> "Units":
        """The units of so many examples; without ids, each is its own."""
        ids = np.arange(examples) if ids is None else np.asarray(ids)
        return cls(ids, groups(ids), len(np.unique(ids)))

    def take(self, rows: slice) -> "Units":
        """Those of some of the examples, in the groups that they have among all."""
        return Units(self.unit[rows], self.group[rows], self.count)


def leave_out(statistic: Callable[[Bool[np.ndarray, " examples"]], Any],
              group: Int[np.ndarray, " examples"]) -> np.ndarray:
    """statistic(which examples remain) without each group in turn: [groups, ...]."""
    return np.array([statistic(group != left_out) for left_out in range(group.max() + 1)])


def _combine(by_seed: np.ndarray, units: np.ndarray | None, level: float) -> Crossed:
    """The interval of the mean of `by_seed` [n]; `units` [n, units] show the examples' part, None: there is none."""
    n, count = len(by_seed), 0 if units is None else units.shape[1]
    seeds = float(np.var(by_seed, ddof=1)) / n if n > 1 else None
    examples = float(np.var(units.mean(axis=0), ddof=1)) / count if count > 1 else None
    residual = None
    if seeds is not None and examples is not None:
        rest = units - units.mean(axis=1, keepdims=True) - units.mean(axis=0) + units.mean()
        residual = float(np.sum(np.square(rest))) / ((n - 1) * (count - 1) * n * count)
    varies = np.ptp(by_seed) > 0 or (count > 0 and np.ptp(units) > 0)
    sources = (seeds, n - 1), (examples, count - 1), (residual, (n - 1) * (count - 1))
    parts = [(part, freedom) for part, freedom in sources if part is not None]
    estimate = float(np.mean(by_seed))
    if not varies or not parts:
        return Crossed(estimate, None, seeds, examples, residual, None, n, count)
    variance = max(seeds or 0.0, examples or 0.0, (seeds or 0.0) + (examples or 0.0) - (residual or 0.0))
    freedom = max(variance**2 / sum(part**2 / freedom for part, freedom in parts), n - 1)
    half = float(special.stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance))
    return Crossed(estimate, (estimate - half, estimate + half), seeds, examples, residual, float(freedom), n, count)


def _by_cluster(values, by_seed, clusters):
    """Values [seeds, clusters] with the seeds' means: a mean over examples is a ratio of sums, here linearised."""
    clusters = np.asarray(clusters)
    if clusters.shape != values.shape[1:]:
        raise InvalidArray(f"clusters have shape {clusters.shape}, values {values.shape}: give one cluster an example")
    different, place, size = np.unique(clusters, return_inverse=True, return_counts=True)
    total = np.stack([np.bincount(place, of_seed, len(different)) for of_seed in values])
    return by_seed[:, None] + (total - by_seed[:, None] * size) * len(different) / len(clusters)


def _scrambled(ids):
    """Integers as if at random, each a function of its id: the mixing of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = ids.astype(np.int64).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _finite(name: str, values: Sequence[Any] | np.ndarray, dimensions: int) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != dimensions or not values.size or not np.isfinite(values).all():
        due = f"{dimensions} dimension{'s' * (dimensions > 1)}"
        raise InvalidArray(f"{name} have shape {values.shape}: give finite numbers of {due}")
    return values
