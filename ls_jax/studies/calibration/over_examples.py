"""How one network's calibration measures depend on its examples: the numbers that an interval for new examples needs.

Measures that are means keep their value of each example. The others are computed again without each of `crossed.GROUPS`
groups of examples. Temperatures are fitted again without each group, by one Newton step from the fitted one: a group
moves log T so little that the step is exact to its square. So the logits are read once, whatever the number of groups.
"""
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Real

from ls_jax import checked
from ls_jax.studies.calibration import binning
from ls_jax.studies.common import streaming
from ls_jax.studies.common.crossed import Sample, Units

IN_GROUPS = "nll, in groups"  # the NLL's sample without each group of examples, as those of scaled networks are
CELLS = {  # measures of bins of equal width, by name
    "ece": binning.of_cells,
    "debiased ece": lambda cells: binning.of_cells(cells, debiased=True),
    "rms calibration error": lambda cells: binning.of_cells(cells, "l2"),
    "debiased squared error": binning.squared_error,
}


class Details(NamedTuple):
    """One network's predictions at a temperature T, and how they change with log T; all float64 but `correct`."""
    confidence: Float[np.ndarray, " examples"]
    correct: Bool[np.ndarray, " examples"]
    nll: Float[np.ndarray, " examples"]               # nats
    brier: Float[np.ndarray, " examples"]
    confidence_slope: Float[np.ndarray, " examples"]  # d log confidence / d log T
    nll_slope: Float[np.ndarray, " examples"]         # d nll / d log T
    nll_curvature: Float[np.ndarray, " examples"]     # its scale: the variance of logits / T under the prediction


class Part(NamedTuple):
    """Examples that are scaled by one temperature, and those that it was fitted on."""
    reported: Details
    fitted: Details       # at that temperature
    units: Units          # of the reported examples
    fitted_units: Units
    converged: bool


def details(logits: Real[Any, "examples classes"], labels: Integer[np.ndarray, " examples"],
            temperature: float = 1.0) -> Details:
    """What is needed of one network's logits, which may be on disk: they are read in blocks."""
    logits, labels = checked.member(logits, labels)

    def block(rows):
        top, shifted, weight, others = streaming.softmax(logits[rows], temperature)
        place = np.arange(len(top)), labels[rows]
        total = 1 + others.astype(np.float64)
        true, probability = shifted[place].astype(np.float64), weight[place] / total
        shifted[weight == 0] = 0  # 0 times -inf
        mean = np.einsum("ij,ij->i", weight, shifted) / total
        square = np.einsum("ij,ij->i", weight, weight) / np.square(total)
        weight *= shifted
        variance = np.einsum("ij,ij->i", weight, shifted) / total - np.square(mean)
        brier = square + 1 - 2 * probability
        return Details(1 / total, top == labels[rows], np.log(total) - true, brier, mean, true - mean,
                       np.maximum(variance, 0))

    return Details(*map(np.concatenate, zip(*streaming.over_blocks(block, *logits.shape))))


def at_one(of: Details, units: Units, bins: int = 15) -> dict[str, Sample]:
    """{measure: its dependence on the examples} of one network at T = 1; of the NLL twice, see IN_GROUPS."""
    means = {"nll": of.nll, "brier": of.brier, "overconfidence": of.confidence - of.correct}
    cells = (binning.cells_without_groups(of.confidence, of.correct, binning.edges_of(of.confidence, bins, scheme),
                                          units.group)
             for scheme in ("equal_width", "equal_mass"))
    width, mass = (of_bins(*each, units.count) for each in cells)
    found = {name: Sample(float(values.mean()), values=values, clusters=units.unit) for name, values in means.items()}
    return {**found, IN_GROUPS: _in_groups(of.nll, units), **width, "equal-mass ece": mass["ece"]}


def _in_groups(values, units):
    """The mean as a measure that is computed without each group, so that a scaled network's can be subtracted."""
    sums, counts = np.bincount(units.group, values), np.bincount(units.group)
    deleted = (values.sum() - sums) / (len(values) - counts)
    return Sample(float(values.mean()), deleted=deleted, examples=units.count)


def of_bins(whole: binning.Cells, deleted: binning.Cells, examples: int) -> dict[str, Sample]:
    """The measures of CELLS, from the sums over bins of all examples, and without each group."""
    return {name: Sample(float(measure(whole)), deleted=measure(deleted), examples=examples)
            for name, measure in CELLS.items()}


def scaled(parts: Sequence[Part], bins: int = 15) -> dict[str, Sample]:
    """The scaled NLL and the measures of CELLS, as "scaled ...", with temperatures fitted again without each group."""
    groups = max(int(part.units.group.max()) for part in parts) + 1
    steps = [_step(part, groups) for part in parts]
    edges = binning.equal_width(bins)
    group = np.concatenate([part.units.group for part in parts])
    correct = np.concatenate([part.reported.correct for part in parts])

    def at(left_out):
        moves = [0.0 if left_out is None else step[left_out] for step in steps]
        moved = [_moved(part.reported, move) for part, move in zip(parts, moves)]
        confidence, nll = (np.concatenate(each) for each in zip(*moved))
        kept = slice(None) if left_out is None else group != left_out
        return binning.cells(confidence[kept], correct[kept], edges), nll[kept].mean()

    whole, *deleted = map(at, (None, *range(groups)))
    stacked = binning.Cells(edges, np.stack([cells.count for cells, _ in deleted]),
                            np.stack([cells.confidence for cells, _ in deleted]))
    units = parts[0].units.count
    nll = Sample(float(whole[1]), deleted=np.array([each for _, each in deleted]), examples=units)
    return {"scaled nll": nll, **{f"scaled {name}": each for name, each in of_bins(whole[0], stacked, units).items()}}


def _step(part, groups):
    """How far log T moves without each of the reported examples' groups.

    Few units make few groups: then the groups of the fit, if there are more, are merged to as many.
    """
    if not part.converged:
        return np.zeros(groups)
    merged = part.fitted_units.group % groups
    sums = lambda values: values.sum() - np.bincount(merged, values, groups)
    curvature = sums(part.fitted.nll_curvature)
    return np.divide(-sums(part.fitted.nll_slope), curvature, out=np.zeros(groups), where=curvature > 0)


def _moved(of, step):
    """Confidence and NLL after a small step of log T."""
    nll = of.nll + step * of.nll_slope + step**2 / 2 * (of.nll_curvature - of.nll_slope)
    return np.minimum(of.confidence * np.exp(of.confidence_slope * step), 1.0), nll

