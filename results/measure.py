"""Measure kept runs anew from their predictions, after a statistic has changed: no network is trained again.

    python results/measure.py [NAME ...]

For each folder here with predictions/, the records of `STUDIES` on the held-out splits are computed again and take the
places of the old ones in results.json. All other records stay as the run wrote them. Where the largest
log-probabilities alone are kept, accuracy, NLL and the study of rivals are measured anew, and nothing else. Without
names: all such folders.
"""
import pathlib
import sys
import types

import ml_collections
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from ls_jax import losses  # noqa: E402
from ls_jax.errors import UserError  # noqa: E402
from ls_jax.studies import registry  # noqa: E402
from ls_jax.studies.accuracy import measure as accuracy  # noqa: E402
from ls_jax.studies.accuracy import records as accuracy_records  # noqa: E402
from ls_jax.studies.calibration import binning, over_examples  # noqa: E402
from ls_jax.studies.calibration import records as calibration  # noqa: E402
from ls_jax.studies.common import course, crossed, records  # noqa: E402
from ls_jax.studies.common.crossed import Sample  # noqa: E402
from ls_jax.studies.common.studied import Studied  # noqa: E402
from ls_jax.studies.distillation import records as distillation  # noqa: E402
from ls_jax.studies.rivals import records as rivals  # noqa: E402
from ls_jax.studies.selective.measure import risk_coverage_area_without_groups  # noqa: E402
from ls_jax.training import sweep  # noqa: E402
from ls_jax.workdir import compact, files, log, npz_map, predictions  # noqa: E402

# what they need are logits and labels
STUDIES = ("accuracy", "calibration", "recalibration", "selective", "amplification", "rivals")


def measure(folder: pathlib.Path) -> list[records.Record]:
    """The records of a kept run, in the order of the studies.

    Raises:
        UserError: a file is missing or damaged.
    """
    config = ml_collections.ConfigDict(files.read_config(folder / "config.json"))
    members = [{**member, "terms": list(losses.active(member))} for member in sweep.members(config)]
    rows = records.arms(members, sweep.baselines(config))
    there = {(split, member) for split in compact.HELD_OUT for member in range(len(rows))
             if predictions.file(folder, split, member).exists()}
    if not there:
        raise UserError(f"{folder} holds no predictions")
    if "logits" not in npz_map.open_npz(predictions.file(folder, *min(there))):
        found = [*_of_metrics(folder, rows, _without(rows, there)), *_of_largest(folder, rows, there)]
        return merged(_old(folder), [*found, *_of_students(folder, config, found)])
    studied = Studied(types.SimpleNamespace(config=config), [], folder, folder, rows, _without(rows, there),
                      list(_measured(folder, rows, there)), records=_old(folder))
    found = _of_metrics(folder, rows, studied.left_out)
    for study, collect in registry.having("collect"):
        if study.name in STUDIES:
            found += collect(studied)
    found += _of_students(folder, config, found)
    return merged(_old(folder), found)


def merged(old: list[records.Record], new: list[records.Record]) -> list[records.Record]:
    """The new records in the places of the old ones of their study and split; of metrics.jsonl, of their quantity."""
    def place_of(record):
        return record.study, record.split, record.quantity if record.study in ("training", "distillation") else None

    replaced = {place_of(record) for record in new}
    left = [record for record in old if place_of(record) not in replaced]
    order = [study.name for study in registry.STUDIES]
    place = {name: order.index(name) for name in order}
    return sorted([*left, *new], key=lambda record: place.get(record.study, -1))


def _old(folder):
    return records.read(folder) if (folder / "results.json").exists() else []


def _without(rows, there):
    """Members that diverged."""
    return frozenset(range(len(rows))) - {member for _, member in there}


def _of_metrics(folder, rows, left_out):
    """Whether networks were still training, and students' agreement with their teachers."""
    metrics = log.read_metrics(folder)
    found = course.still_training(metrics, rows, left_out)
    return [*found, *distillation.agreement(metrics, rows, left_out)] if "student" in rows[0] else found


def _of_students(folder, config, found):
    """What compares students' accuracies, and their teachers' accuracies; nothing for other networks."""
    if not config.distill:
        return []
    return [*distillation.against_unsmoothed(found, records.held_out(found, "accuracy")),
            *distillation.summarized([of for name in config.distill.teachers for of in _of_teacher(folder, name)])]


def _of_teacher(folder, name):
    """(quantity, split, examples, settings with the seed, sample) of a teacher that was trained in the run."""
    place = folder / "teachers" / name
    if not (place / "config.json").exists():
        return
    for member, row in enumerate(sweep.members(ml_collections.ConfigDict(files.read_config(place / "config.json")))):
        for split in compact.HELD_OUT:
            if predictions.file(place, split, member).exists():
                arrays, correct = _right(predictions.file(place, split, member))
                yield ("teacher accuracy", split, len(correct),
                       {"teacher": name, "teacher_alpha": row["alpha"], "seed": row["seed"]},
                       Sample(float(correct.mean()), values=correct, step=1.0))


def _right(path):
    """(the kept arrays, 1.0 where the network's answer is right and else 0.0)."""
    arrays = compact.read(path)
    top = arrays["top_classes"][:, 0] if "top_classes" in arrays else np.argmax(arrays["logits"], axis=1)
    return arrays, (top == arrays["labels"]).astype(np.float64)


def _measured(folder, rows, there):
    for split in compact.HELD_OUT:
        for member, row in enumerate(rows):
            if (split, member) in there:
                arrays = predictions.load(folder, split, member)
                yield split, row, accuracy.measure_all(arrays["logits"], arrays["labels"])


def _of_largest(folder, rows, there):
    """Records of accuracy and NLL, and of rivals, from each example's largest log-probability and its label's."""
    measured, samples, scores = [], [], {}
    for split in compact.HELD_OUT:
        for member, row in enumerate(rows):
            if (split, member) in there:
                arrays, correct = _right(predictions.file(folder, split, member))
                nll, sentence = -arrays["label_log_probability"].astype(np.float64), arrays.get("sentence")
                measured.append((split, row, {"accuracy": correct.mean(), "nll": nll.mean(), "examples": len(nll)}))
                samples.append({"accuracy": Sample(float(correct.mean()), values=correct, clusters=sentence, step=1.0),
                                "nll": Sample(float(nll.mean()), values=nll, clusters=sentence)})
                scores[member, split] = measured[-1][2]
    of_test = {member: {**sample, **_of_confidence(folder, member)}
               for (member, split), sample in zip(scores, samples) if split == "test"}
    return [*accuracy_records.run(measured, samples),
            *rivals.compared(rows, sorted(of_test), scores, of_test.__getitem__, _old(folder))]


def _of_confidence(folder, member):
    """Calibration and ranking of errors on the test set, from the largest log-probabilities alone."""
    arrays, correct = _right(predictions.file(folder, "test", member))
    confidence, correct = np.exp(arrays["top_log_probabilities"][:, 0].astype(np.float64)), correct.astype(bool)
    units = crossed.Units.of(arrays.get("sentence", arrays["index"]), len(correct))
    cells = binning.cells_without_groups(confidence, correct, binning.equal_width(calibration.BINS), units.group)
    area, without = risk_coverage_area_without_groups(confidence, correct, units.group)
    return {"debiased squared error": over_examples.of_bins(*cells, units.count)["debiased squared error"],
            "aurc": Sample(area, deleted=without, examples=units.count)}


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.parent.name for path in HERE.glob("*/predictions")):
        try:
            records.write(HERE / name, measure(HERE / name))
            print(f"{name}: measured")
        except UserError as error:
            print(f"{name}: {error}")
