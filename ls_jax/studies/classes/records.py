"""The records of single classes: accuracy, and the calibration error of the class's probability, on held-out examples.

Records have the field `label`, the class's number, and `class_name`. "worst class's accuracy" is the smallest of all;
noise lowers it, in all arms alike. The calibration error is of the probability of the class over all examples, in bins
of equal width.
"""
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ls_jax import checked
from ls_jax.studies.calibration import binning
from ls_jax.studies.calibration.records import BINS
from ls_jax.studies.common import held_out, records, streaming
from ls_jax.studies.common.crossed import Sample, Units
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.common.triples import Triple
from ls_jax.workdir import predictions

MOST = 100  # classes: with more, nothing is measured
WORST = "worst class's accuracy"
QUANTITIES = ("class accuracy", "class ece", "class squared error")


class Measured(NamedTuple):
    """One network on one split."""
    row: Mapping[str, Any]  # its hyper-parameters
    split: str
    names: Sequence[str]    # of the classes
    count: Sequence[int]    # examples of each class
    of_class: Sequence[dict[str, Sample]]  # for each class {quantity: value}; empty where it has no examples
    worst: Sample


def collect(studied: Studied) -> list[records.Record]:
    """Records of a run; none for students, for text, and with more than MOST classes."""
    if studied.run.config.distill:
        return []
    return run([measure(studied.rows[member], split, arrays)
                for split, member, arrays in predictions.every(studied.outputs, len(studied.rows))
                if split != "train" and _few(arrays)])


def analyze(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[records.Record]:
    """Records of one network's logits and labels."""
    if not _few(arrays):
        return []
    return held_out.of_unknown_training(run([measure(held_out.UNKNOWN, "test", arrays)]))


def measure(row: Mapping[str, Any], split: str, arrays: Mapping[str, Any]) -> Measured:
    """Measure one network on one split; `arrays` has logits [N, K], labels [N], and perhaps index [N] and class_names
    [K]."""
    logits, labels = checked.member(arrays["logits"], arrays["labels"])
    classes = logits.shape[1]
    units = Units.of(arrays.get("index"), len(labels))
    names = [str(name)
             for name in arrays["class_names"]] if "class_names" in arrays else [str(k) for k in range(classes)]
    correct = streaming.top_label(logits, labels).correct
    groups = int(units.group.max()) + 1
    right, count = (np.bincount(labels * groups + units.group, weights, classes * groups).reshape(classes, groups)
                    for weights in (correct, None))
    present = np.flatnonzero(count.sum(axis=1))
    share = lambda right, count: binning.mean_of(right, count)[present].min(axis=0)
    less = [each.sum(axis=1, keepdims=True) - each for each in (right, count)]
    worst = Sample(float(share(right.sum(axis=1), count.sum(axis=1))), deleted=share(*less), examples=units.count)
    errors = _errors(logits, labels, units.group, groups)
    of_class = [
        {"class accuracy": Sample(float(right[k].sum() / count[k].sum()),
                                  values=correct[labels == k].astype(np.float64),
                                  clusters=units.unit[labels == k], step=1.0),
         **{name: Sample(float(values[0, k]), deleted=values[1:, k], examples=units.count)
            for name, values in errors.items()}} if k in present else {} for k in range(classes)]
    return Measured(row, split, names, count.sum(axis=1).astype(int).tolist(), of_class, worst)


def run(measured: Sequence[Measured]) -> list[records.Record]:
    """Records of all measurements, with intervals for new seeds and new examples; of each class by itself."""
    results = []
    for split in dict.fromkeys(each.split for each in measured):
        here = [each for each in measured if each.split == split]
        rows = [each.row for each in here]

        def summarize(quantity, samples, **extra):
            drawn = samples if sum(here[0].count) > 1 else None
            return records.summarize("classes", quantity, split, rows, [each.value for each in samples],
                                     samples=drawn, **extra)

        results += summarize(WORST, [each.worst for each in here])
        for k, (name, count) in enumerate(zip(here[0].names, here[0].count)):
            for quantity in here[0].of_class[k]:
                results += summarize(quantity, [each.of_class[k][quantity] for each in here], label=k, class_name=name,
                                     examples=count, bins=BINS)
    return results


def _few(arrays):
    return "sentence" not in arrays and arrays["logits"].shape[1] <= MOST


def _errors(logits, labels, group, groups):
    """{quantity: [1 + groups, classes]}: the plain and the debiased squared error of each class, of all examples
    first."""
    logits = np.asarray(logits)
    parts = [binning.class_sums(logits[group == k], labels[group == k], BINS) for k in range(groups)]

    def sums(name: str) -> np.ndarray:
        each = np.stack([getattr(part, name) for part in parts])
        return each.sum(axis=0) - np.concatenate([np.zeros_like(each[:1]), each])

    count, probability, label = (sums(name) for name in ("count", "probability", "label"))
    if groups == 1:
        count, probability, label = count[:1], probability[:1], label[:1]
    root = binning.calibration_error(count, probability - label, label, "l2", debiased=True)
    return {"class ece": binning.calibration_error(count, probability - label, label),
            "class squared error": np.sign(root) * np.square(root)}
