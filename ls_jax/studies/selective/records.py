"""The selective study's records: how well confidence and normalised logits rank the errors of a run's networks.

The norm p of the normalised logits is chosen on other examples: on validation for the test split, else each half of the
split gets the norm that is best on the other half, and the measures of the two halves are averaged.
"""
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ls_jax import checked
from ls_jax.studies.common import crossed, held_out, records, streaming
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.common.held_out import Network
from ls_jax.studies.common.statistics import moments
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.common.triples import Triple
from ls_jax.studies.selective import measure as measures

QUANTITIES = ("aurc", "augrc", "risk at 80 % coverage", "coverage at 5 % risk")  # in the order of measures.Selective
NORMALISED, CHANGE = " of normalised logits", " change by normalisation"         # suffixes of quantities
CURVE = "risk-coverage"
COVERAGES = np.arange(1, 101) / 100  # of the curve's points


class Measured(NamedTuple):
    """One network on one split; `scores` has "confidence", and "normalised logits" where there are examples to choose
    p."""
    row: Mapping[str, Any]        # its hyper-parameters
    split: str
    examples: int
    samples: dict[str, Sample]    # {quantity: its value, and how it depends on the examples}
    curves: dict[str, Sample]     # {score: the risks at COVERAGES, likewise: value [points], deleted [groups, points]}
    norms: Sequence[int]          # p, one for each half, or one; empty where none was chosen
    chosen_on: str                # "validation" or "other half"


def collect(studied: Studied) -> list[records.Record]:
    """Records of a run; none for students, which have their own study."""
    return run([each for network in held_out.of_run(studied) for each in measure(*network)])


def analyze(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[records.Record]:
    """Records of one network's logits and labels."""
    return held_out.of_unknown_training(run(list(measure(*held_out.of_arrays(arrays)))))


def measure(row: Mapping[str, Any], splits: Mapping[str, tuple[Any, Any]],
            ids: Mapping[str, Any] | None = None) -> Iterator[Measured]:
    """Measure one network on its held-out splits.

    Args:
        row: its hyper-parameters.
        splits: {name: (logits [examples, classes], labels [examples])}.
        ids: {name: [examples] numbers of what an interval draws anew, such as sentences}; None: the examples.
    """
    splits = {split: checked.member(*arrays) for split, arrays in splits.items()}
    all_units = Network(row, splits, ids).units()
    for split, (logits, labels) in splits.items():
        units = all_units[split]
        of = streaming.top_label(logits, labels)
        confidence = _ranked([(slice(None), of.confidence)], of.correct, units)
        samples, curves = _samples(confidence, units), {"confidence": _curve(confidence, units)}
        parts, chosen_on = _norms(split, splits)
        if parts:
            normalised = _ranked([(rows, measures.normalised_logits(streaming.Rows(logits, rows), (norm,))[:, 0])
                                  for rows, norm in parts], of.correct, units)
            same = _ranked([(rows, of.confidence[rows]) for rows, _ in parts], of.correct, units)  # on equal parts
            less = tuple(one - other for one, other in zip(normalised, same))
            samples |= _samples(normalised, units, NORMALISED) | _samples(less, units, CHANGE)
            curves["normalised logits"] = _curve(normalised, units)
        yield Measured(row, split, len(labels), samples, curves, [norm for _, norm in parts], chosen_on)


def run(measured: Sequence[Measured]) -> list[records.Record]:
    """Records of all measurements, with intervals for new seeds and new examples.

    Beside the measures of QUANTITIES by confidence and by normalised logits there are "aurc change by normalisation"
    and the like, normalised logits less confidence for the same network; and "risk-coverage", the curve of each arm.
    """
    rows = records.arms([each.row for each in measured])
    measured = [each._replace(row=row) for each, row in zip(measured, rows)]
    results = []
    for split in dict.fromkeys(each.split for each in measured):
        here = [each for each in measured if each.split == split]
        for quantity in here[0].samples:
            samples = [each.samples[quantity] for each in here]
            usable = samples if samples[0].examples > 1 else None
            extra = {"examples": here[0].examples}
            if quantity not in QUANTITIES:
                extra["chosen_on"] = here[0].chosen_on
            results += records.summarize("selective", quantity, split, [each.row for each in here],
                                         [each.value for each in samples], samples=usable, **extra)
        results += _curves(here)
    return results


def _norms(split, splits):
    """((rows, the norm for them) for each part of the split, what they were chosen on)."""
    logits, labels = splits[split]
    if split == "test" and "validation" in splits:
        return [(slice(None), measures.best_norm(*splits["validation"]))], "validation"
    if len(labels) < 2 * crossed.GROUPS:
        return [], ""
    halves = slice(0, None, 2), slice(1, None, 2)
    norms = [measures.best_norm(streaming.Rows(logits, half), labels[half]) for half in halves]
    return [(halves[0], norms[1]), (halves[1], norms[0])], "other half"


def _ranked(parts, correct, units):
    """(measures and curve [numbers], the same without each group [groups, numbers]): means over parts (rows, score)."""
    def statistic(wrong):
        return np.concatenate([measures.of_errors(wrong), measures.risk_at(wrong, COVERAGES)])

    whole, deleted, groups = 0.0, 0.0, int(units.group.max()) + 1
    for rows, score in parts:
        share = len(score) / len(correct)
        of = measures.without_groups(statistic, score, correct[rows], units.group[rows], groups if groups > 1 else 0)
        whole, deleted = whole + share * of[0], deleted + share * of[1]
    return whole, deleted


def _samples(ranked, units, suffix=""):
    whole, deleted = ranked
    return {name + suffix: Sample(float(whole[place]), deleted=deleted[:, place] if units.count > 1 else None,
                                  examples=units.count) for place, name in enumerate(QUANTITIES)}


def _curve(ranked, units):
    whole, deleted = (each[..., len(QUANTITIES):] for each in ranked)
    return Sample(whole, deleted=deleted, examples=units.count)


def _curves(here):
    """A record of each arm's curve for each score: its mean over seeds and its 95 % interval at each coverage."""
    found = {}
    for each in here:
        found.setdefault(records.key(records.hyper(each.row)), []).append(each)
    for members in found.values():
        row = members[0].row
        for score in members[0].curves:
            samples = [each.curves[score] for each in members]
            risks, low, high = _band(samples)
            name = "aurc" if score == "confidence" else "aurc" + NORMALISED
            yield records.Record("selective", CURVE, here[0].split,
                                 **moments([each.samples[name].value for each in members]),
                                 hyper=records.hyper(row), arm=row["arm"], seeds=[each.row["seed"] for each in members],
                                 extra={"score": score, "risk": risks, "low": low, "high": high,
                                        "examples": here[0].examples})


def _band(samples):
    """Mean over seeds, and the ends of the interval at each point; None where there is no interval."""
    by_seed = np.stack([each.value for each in samples])
    risks = [round(float(risk), 6) for risk in by_seed.mean(axis=0)]
    if samples[0].examples < 2:
        return risks, [None] * len(risks), [None] * len(risks)
    found = [crossed.of_statistic(by_seed[:, point], np.stack([each.deleted[:, point] for each in samples]),
                                  samples[0].examples).interval for point in range(len(risks))]
    return risks, *([None if ends is None else round(ends[side], 6) for ends in found] for side in (0, 1))
