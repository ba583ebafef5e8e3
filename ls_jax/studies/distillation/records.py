"""The distillation study's records: its teachers measured, its students compared.

Students' accuracies are records of the study "accuracy". This study has records of teachers: "teacher accuracy", and on
the training set "equivalent smoothing" and "stability", with the hyper-parameters teacher, teacher_alpha and
temperature. Of students it has "agreement" with the teacher at the end of training, and "agreement's rise" over the
last fifth of the steps. It has two records that compare students. "accuracy against the hard teacher" compares with the
unsmoothed teacher's students at the same T, paired by seed. "diffusion" compares with the student of the same teacher
and seed at T = 1.
"""
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ls_jax.studies import distillation
from ls_jax.studies.accuracy.measure import of_examples
from ls_jax.studies.common import course, records
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.common.statistics import paired
from ls_jax.studies.distillation import conditions
from ls_jax.studies.distillation.conditions import distilled, families, sampled
from ls_jax.training.students import Taught


def run(taught: Iterable[Taught], rows: Sequence[Mapping[str, Any]], accuracies: Sequence[records.Record],
        features: Callable[[int, str], Any]) -> list[records.Record]:
    """Records of teachers and students.

    Args:
        taught: the teachers' predictions.
        rows: each student's hyper-parameters.
        accuracies: the students' accuracy records.
        features: gives (features, labels) of a member on a split, or None.
    """
    measured, similar = [], {}
    smallest = min((row["teacher_alpha"] for row in rows if row["teacher"]), default=None)
    for teacher, split, logits, labels in taught:
        settings, place = {"teacher": teacher.name, "teacher_alpha": teacher.alpha,
                           "seed": teacher.seed}, (split, len(labels))
        if split != "train":
            measured.append(("teacher accuracy", *place, settings, of_examples(logits, labels)["accuracy"]))
            continue
        measured.append(("stability", *place, {**settings, "temperature": 1.0}, distillation.stability(logits, labels)))
        if teacher.alpha == smallest:
            similar[teacher.seed] = distillation.similar_classes(logits, labels)
        for temperature in sorted({row["temperature"] for row in rows if row["temperature"] and
                                   (row["teacher"], row["teacher_alpha"]) == (teacher.name, teacher.alpha)}):
            gamma = distillation.equivalent_smoothing(logits, labels, temperature)
            measured.append(("equivalent smoothing", *place, {**settings, "temperature": temperature}, gamma))
    split = records.held_out(accuracies, "accuracy")
    measured += list(_diffusion(rows, split, similar, features))
    return [*summarized(measured), *against_unsmoothed(accuracies, split)]


def agreement(metrics: course.Rows, rows: Sequence[Mapping[str, Any]],
              left_out: frozenset[int] = frozenset()) -> list[records.Record]:
    """Records of how often students' top class is their teacher's on training examples, and of its last rise.

    Args:
        metrics: the rows of metrics.jsonl; those of earlier versions have no agreement.
        rows: each student's hyper-parameters, seed, arm and baseline.
        left_out: members without a record.
    """
    ends = {member: end for member, end in course.ends(metrics, "train", "agreement").items() if member not in left_out}
    if not ends:
        return []
    chosen = [rows[member] for member in ends]
    measured = {conditions.AGREEMENT: [end.value for end in ends.values()],
                conditions.RISE: [end.change for end in ends.values()]}
    return [record for quantity, values in measured.items()
            for record in records.summarize("distillation", quantity, "train", chosen, values)
            if record.kind == records.VALUE]


def _diffusion(rows, split, similar, features):
    """(quantity, split, examples, settings with the seed, value) of each student at T > 1 with a sibling at T = 1."""
    siblings = {}
    taught = [records.hyper(row) for row in rows if row["temperature"] and not row["control"]]
    others = [
        name for name in records.varying(taught, always=()) if name not in ("student", "teacher_alpha", "temperature")
    ]
    for member, row in enumerate(rows):
        if row["temperature"] and not row["control"]:
            key = row["seed"], records.key(
                {name: of for name, of in records.hyper(row).items() if name not in ("temperature", "student")})
            siblings.setdefault(key, {})[row["temperature"]] = member, row
    for of_temperature in siblings.values():
        reference = features(of_temperature[1.0][0],
                             split) if 1.0 in of_temperature and len(of_temperature) > 1 else None
        for temperature in sorted(of_temperature):
            member, row = of_temperature[temperature]
            alike = similar.get(row["seed"], similar.get(None))
            own = features(member, split) if reference and temperature > 1 and alike is not None else None
            moved = distillation.diffusion(own[0], reference[0], own[1], alike) if own else float("nan")
            if np.isfinite(moved):  # NaN where a student's classes have collapsed
                settings = {name: row[name] for name in ("teacher", "teacher_alpha", "temperature", *others, "seed")}
                yield "diffusion", split, len(own[1]), settings, moved


def summarized(measured: Sequence[tuple[str, str, int, records.Row, Any]]) -> list[records.Record]:
    """Records of (quantity, split, examples, settings with the seed, value or sample)."""
    results = []
    for quantity, split, examples in dict.fromkeys(each[:3] for each in measured):
        rows, values = zip(*(each[3:] for each in measured if each[:3] == (quantity, split, examples)))
        samples = values if isinstance(values[0], Sample) else None
        results += records.summarize(
            "distillation", quantity, split, rows, [each.value for each in samples] if samples else values,
            samples=samples, combined=samples is not None, examples=examples)
    return records.select(results, kind=records.VALUE)


def against_unsmoothed(accuracies: Sequence[records.Record], split: str) -> Iterator[records.Record]:
    """Accuracy of each smoothed teacher's students minus the unsmoothed teacher's at the same T, paired by seed."""
    for where, results in families(accuracies):
        of = distilled(sampled(results, split))
        for (alpha, temperature), by_seed in of.items():
            if alpha > 0:
                settings = {"teacher_alpha": alpha, "temperature": temperature, **where}
                less = paired(by_seed, of.get((0.0, temperature), {}))
                yield from records.difference("distillation", "accuracy against the hard teacher", split, settings,
                                              {**settings, "teacher_alpha": 0.0},
                                              {seed: sample.value for seed, sample in less.items()}, samples=less)
