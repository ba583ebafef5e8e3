"""How often intervals for new seeds and new test examples contain the truth, in a simulation whose truth is known.

    PYTHONPATH=. python -m benchmarks.coverage [--trials 1000] [--seeds 3 5 10] [--examples 500 2000 10000]

Two arms of n networks each are measured on the same N examples. The estimates are their paired differences in accuracy,
which is a mean, and in two measures that are not: the area under the risk-coverage curve and the debiased squared
calibration error. A network's score on an example is

    z = mean + difficulty(example) + luck(example, arm) + effect(seed, arm) + interaction(example, seed, arm).

The prediction is right where z exceeds a standard normal number that the networks mostly share (the label is ambiguous
for all of them), so the probability of a right answer is Φ(z), and the network's confidence is Φ(slope z):
over-confident where the slope is above 1.
Each trial draws everything anew: it is a new test set and new seeds.
"""
import argparse
import itertools
from typing import NamedTuple

import numpy as np
from scipy import special

from ls_jax.studies import selective
from ls_jax.studies.calibration import binning
from ls_jax.studies.common import crossed
from ls_jax.studies.common.statistics import t_interval

EDGES = binning.equal_width(15)
MEASURES = ("accuracy", "aurc", "debiased squared error")

WITHOUT_GROUPS = {
    "aurc": selective.risk_coverage_area_without_groups,
    "debiased squared error": lambda confidence, correct, group: binning.squared_error_without_groups(
        confidence, correct, EDGES, group),
}


class Mix(NamedTuple):
    """Standard deviations of what a network's score is made of, and what the two arms differ in."""
    luck: float              # of an example for an arm, the same for all its seeds
    effect: float            # of a seed, the same for all its examples
    means: tuple[float, float] = (1.2, 1.3)
    slopes: tuple[float, float] = (1.5, 1.1)
    difficulty: float = 0.8
    interaction: float = 0.5
    shared: float = 0.8      # of the threshold's variance, by all networks


MIXES = {
    "test set's luck only": Mix(luck=0.5, effect=0.0),
    "seeds differ": Mix(luck=0.3, effect=0.1),
    "neither": Mix(luck=0.0, effect=0.0, means=(1.2, 1.2), slopes=(1.3, 1.3)),
}


def truth(mix: Mix) -> tuple[float, ...]:
    """The differences, second arm less first, in MEASURES: means over all seeds and examples."""
    spread = np.sqrt(mix.difficulty**2 + mix.luck**2 + mix.interaction**2)
    nodes, weights = special.roots_hermitenorm(21)
    arms = [weights / weights.sum()
            @ np.array([_of_all_examples(mean + mix.effect * node, spread, slope) for node in nodes])
            for mean, slope in zip(mix.means, mix.slopes)]
    return tuple(map(float, arms[1] - arms[0]))


def _of_all_examples(mean, spread, slope, points=50_000):
    """MEASURES of infinitely many examples whose scores are normal."""
    score = mean - spread * special.ndtri((np.arange(points) + 0.5) / points)  # the most confident first
    confidence, right = special.ndtr(slope * score), special.ndtr(score)
    place = binning.bin_index(confidence, EDGES)
    count, gap = np.bincount(place), np.bincount(place, confidence - right)
    return (np.mean(right), np.mean(np.cumsum(1 - right) / np.arange(1, points + 1)),
            np.sum(np.square(gap)[count > 0] / count[count > 0]) / points)


def draw(mix: Mix, n: int, N: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(confidence, correct), each [2 arms, n seeds, N examples], of one trial."""
    normal = lambda *shape: rng.standard_normal(shape, np.float32)
    score = (np.float32(mix.means)[:, None, None] + mix.difficulty * normal(N) + mix.luck * normal(2, 1, N)
             + mix.effect * normal(2, n, 1) + mix.interaction * normal(2, n, N))
    threshold = np.sqrt(mix.shared) * normal(N) + np.sqrt(1 - mix.shared) * normal(2, n, N)
    return special.ndtr(np.float32(mix.slopes)[:, None, None] * score), threshold < score


def differences(confidence: np.ndarray, correct: np.ndarray,
                group: np.ndarray) -> dict[str, tuple[crossed.Crossed, np.ndarray]]:
    """{measure: (its interval, the seeds' differences)} of one trial."""
    right = np.subtract(*correct[::-1].astype(np.float64))
    found = {"accuracy": (crossed.of_mean(right, step=1.0), right.mean(axis=1))}
    for measure, of_network in WITHOUT_GROUPS.items():
        networks = [[of_network(*network, group) for network in zip(*arm)] for arm in zip(confidence, correct)]
        whole, deleted = (np.subtract(*(np.array([each[part] for each in arm]) for arm in reversed(networks)))
                          for part in (0, 1))
        found[measure] = crossed.of_statistic(whole, deleted, right.shape[1]), whole
    return found


def coverage(mix: Mix, n: int, N: int, trials: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Of each measure the shares of intervals that contain the truth, "crossed" and, of t-intervals over seeds, "seeds
    only".

    "width" is the mean width of the first over that of a normal interval which knows the true variance.
    """
    rng, group, at = np.random.default_rng(seed), crossed.groups(np.arange(N)), truth(mix)
    found = [differences(*draw(mix, n, N, rng), group) for _ in range(trials)]
    result = {}
    for measure, true in zip(MEASURES, at):
        intervals = np.array([each[measure][0].interval for each in found])
        seeds = np.array([t_interval(each[measure][1]) for each in found])
        covered = lambda of, true=true: float(np.mean((of[:, 0] <= true) & (true <= of[:, 1])))
        spread = np.std([each[measure][0].estimate for each in found])
        result[measure] = {"crossed": covered(intervals), "seeds only": covered(seeds),
                           "width": float(np.mean(np.ptp(intervals, axis=1)) / (2 * special.ndtri(0.975) * spread))}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=(3, 5, 10))
    parser.add_argument("--examples", type=int, nargs="+", default=(500, 2000, 10000))
    given = parser.parse_args()
    print("| mix | n | N | " + " | ".join(f"{measure}: both | seeds only | width" for measure in MEASURES) + " |")
    print("|---" * (3 + 3 * len(MEASURES)) + "|")
    for (name, mix), n, N in itertools.product(MIXES.items(), given.seeds, given.examples):
        of = coverage(mix, n, N, given.trials)
        numbers = (f"{100 * each['crossed']:.1f} % | {100 * each['seeds only']:.1f} % | {each['width']:.2f}"
                   for each in of.values())
        print(f"| {name} | {n} | {N:,} | {' | '.join(numbers)} |", flush=True)


if __name__ == "__main__":
    main()
