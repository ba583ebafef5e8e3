"""The recalibration study's records: vector and isotonic scaling, fitted on other examples than they are reported on.

`fitted_on` is "validation" for the test split, else "other half": each half of the split is scaled by the fit to the
other.
"""
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ls_jax import checked
from ls_jax.studies.calibration import binning
from ls_jax.studies.calibration.records import BINS
from ls_jax.studies.common import held_out, records
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.common.held_out import Network
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.common.triples import Triple
from ls_jax.studies.recalibration.measure import FITS, Predicted

ENOUGH = 10          # examples of the fit for each class, on average: with fewer, nothing is fitted
REFITTED = 20_000     # logits of the fit: with more, it is kept without each group: 20 fits would take 10 s a network
MOST = 1_000_000      # logits of the fit: with more, nothing is fitted, since the fits hold all of them several times
QUANTITIES = ("nll", "debiased squared error", "ece", "accuracy")


class Measured(NamedTuple):
    """One network on one split."""
    row: Mapping[str, Any]      # its hyper-parameters
    split: str
    fitted_on: str
    examples: int
    samples: dict[str, Sample]  # {"vector nll": its value, and how it depends on the examples}


def collect(studied: Studied) -> list[records.Record]:
    """Records of a run; none for students, which have their own study."""
    return run([each for network in held_out.of_run(studied) for each in measure(*network)])


def analyze(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[records.Record]:
    """Records of one network's logits and labels."""
    return held_out.of_unknown_training(run(list(measure(*held_out.of_arrays(arrays)))))


def measure(row: Mapping[str, Any], splits: Mapping[str, tuple[Any, Any]],
            ids: Mapping[str, Any] | None = None) -> Iterator[Measured]:
    """Measure one network on its held-out splits; nothing where the fit has too few examples a class, or too many
    logits.

    Args:
        row: its hyper-parameters.
        splits: {name: (logits [examples, classes], labels [examples])}.
        ids: {name: [examples] numbers of what an interval draws anew, such as sentences}; None: the examples.
    """
    splits = {split: checked.member(*arrays) for split, arrays in splits.items()}
    units = Network(row, splits, ids).units()
    for split, (logits, labels) in splits.items():
        elsewhere = split == "test" and "validation" in splits
        fitted = len(splits["validation"][1]) if elsewhere else len(labels) // 2
        classes = logits.shape[1]
        if not ENOUGH * classes <= fitted <= MOST / classes or units[split].count < 2 or not _finite(splits):
            continue
        samples = {}
        for name in FITS:
            samples |= _samples(name, _parts(split, splits, units, elsewhere), units[split].count)
        yield Measured(row, split, "validation" if elsewhere else "other half", len(labels), samples)


def run(measured: Sequence[Measured]) -> list[records.Record]:
    """Records of all measurements, with intervals for new seeds and new examples."""
    results = []
    for split in dict.fromkeys(each.split for each in measured):
        here = [each for each in measured if each.split == split]
        for quantity in here[0].samples:
            samples = [each.samples[quantity] for each in here]
            results += records.summarize("recalibration", quantity, split, [each.row for each in here],
                                         [each.value for each in samples], samples=samples, bins=BINS,
                                         fitted_on=here[0].fitted_on, examples=here[0].examples)
    return results


def _finite(splits):
    return all(np.isfinite(np.asarray(logits)).all() for logits, _ in splits.values())


def _parts(split, splits, units, elsewhere):
    """((logits, labels, group) to scale, the same of the fit) for each part of the split."""
    def of(name, rows):
        logits, labels = splits[name]
        return np.asarray(logits[rows]), labels[rows], units[name].group[rows]

    if elsewhere:
        return [(of(split, slice(None)), of("validation", slice(None)))]
    halves = [of(split, slice(start, None, 2)) for start in (0, 1)]
    return [(halves[0], halves[1]), (halves[1], halves[0])]


def _samples(name, parts, count):
    """{quantity: value, and values without each group of examples}; the scaling is fitted again without the group."""
    fit = FITS[name]
    fits = [fit(logits, labels) for _, (logits, labels, _) in parts]
    group = np.concatenate([group for (_, _, group), _ in parts])
    groups = int(group.max()) + 1
    refitted = parts[0][1][0].size <= REFITTED

    def predicted(scalings):
        found = (Predicted.of(scaling, *reported[:2]) for (reported, _), scaling in zip(parts, scalings))
        return Predicted(*map(np.concatenate, zip(*found)))

    def without(left_out):
        if not refitted:
            return of_all
        kept = [of % groups != left_out for _, (_, _, of) in parts]  # few reported units make few groups
        return predicted([fit(logits[rows], labels[rows], scaling)
                          for (_, (logits, labels, _)), rows, scaling in zip(parts, kept, fits)])

    of_all = predicted(fits)
    whole = _measures(*of_all)
    deleted = np.array([_measures(*(each[group != left_out] for each in without(left_out)))
                        for left_out in range(groups)])
    return {f"{name} {quantity}": Sample(float(whole[place]), deleted=deleted[:, place], examples=count)
            for place, quantity in enumerate(QUANTITIES)}


def _measures(confidence, correct, nll):
    cells = binning.cells(confidence, correct, binning.equal_width(BINS))
    return np.array([nll.mean(), binning.squared_error(cells), binning.of_cells(cells), correct.mean()])
