"""The distillation study of a run: its teachers measured, its students compared, and what figures and claims read of the records.

Students' accuracies are the records of the study "accuracy". Records of the study "distillation" are about teachers ("teacher
accuracy"; over the training set "equivalent smoothing" and "stability"), with the fields teacher, teacher_alpha, temperature; and
about students: "accuracy against the hard teacher", at the same T, paired by seed, and "diffusion", against the student of the same
teacher and seed at T = 1.
"""
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ls_jax.studies import accuracy, distillation
from ls_jax.studies.common import records as results
from ls_jax.studies.common.statistics import paired
from ls_jax.training.students import Taught

BySeed = Mapping[int, float]


class Condition(NamedTuple):
    """How students of all seeds were taught: `alpha` is their own smoothing, the others are None (False) without a teacher."""
    alpha: float
    teacher_alpha: float | None
    temperature: float | None
    control: bool


def run(taught: Iterable[Taught], rows: Sequence[Mapping[str, Any]], accuracies: Sequence[results.Record],
        features: Callable[[int, str], Any]) -> list[results.Record]:
    """Records from the teachers' predictions, the students' rows and accuracy records, and (features, labels) of a member on a split."""
    measured, similar = [], {}
    hardest = min((row["teacher_alpha"] for row in rows if row["teacher"]), default=None)
    for teacher, split, logits, labels in taught:
        settings, place = {"teacher": teacher.name, "teacher_alpha": teacher.alpha, "seed": teacher.seed}, (split, len(labels))
        if split != "train":
            measured.append(("teacher accuracy", *place, settings, accuracy.accuracy(logits, labels)))
            continue
        measured.append(("stability", *place, {**settings, "temperature": 1.0}, distillation.stability(logits, labels)))
        if teacher.alpha == hardest:
            similar[teacher.seed] = distillation.similar_classes(logits, labels)
        for temperature in sorted({row["temperature"] for row in rows if row["temperature"] and
                                   (row["teacher"], row["teacher_alpha"]) == (teacher.name, teacher.alpha)}):
            gamma = distillation.equivalent_smoothing(logits, labels, temperature)
            measured.append(("equivalent smoothing", *place, {**settings, "temperature": temperature}, gamma))
    split = results.held_out(accuracies, "accuracy")
    measured += list(_diffusion(rows, split, similar, features))
    return [*_summarized(measured), *_against_hard(accuracies, split)]


def families(records: Sequence[results.Record]) -> list[tuple[dict[str, Any], list[results.Record]]]:
    """(settings, their records): apart where students of one teacher's α and T differ otherwise, by β, learning rate, their own α, ...

    Mostly there is one, without settings. Students that have no such others belong to every family.
    """
    students = [record for record in results.select(records, study="accuracy") if "student" in record.hyper]
    names = _beyond_places([record.hyper for record in students])
    if not names:
        return [({}, list(records))]
    settings = lambda record: {name: record.hyper.get(name) for name in names}
    by_place: dict[tuple, dict[frozenset, dict[str, Any]]] = {}
    for record in students:
        by_place.setdefault(_place(record.hyper), {})[results.key(settings(record))] = settings(record)
    in_all = {id(record) for record in students if len(by_place[_place(record.hyper)]) == 1}
    wheres = {key: where for group in by_place.values() if len(group) > 1 for key, where in group.items()}.values()
    of = lambda record, where: all(record.hyper.get(name, value) == value for name, value in where.items())
    return [(where, [record for record in records if id(record) in in_all or of(record, where)]) for where in wheres]


def students(records: Sequence[results.Record], split: str) -> dict[Condition, dict[int, float]]:
    """{condition: {seed: accuracy}} of the students of one family; those of equal settings in several groups are the same networks."""
    found: dict[Condition, dict[int, float]] = {}
    for record in results.select(records, study="accuracy", quantity="accuracy", kind=results.VALUE, split=split):
        if "student" in record.hyper:
            found.setdefault(_condition(record.hyper), record.by_seed)
    return found


def _condition(of):
    return Condition(of["alpha"], of["teacher_alpha"], of["temperature"], bool(of["control"] and of["teacher_alpha"] is not None))


def _place(of):
    """What gives students their place in `baseline` or `distilled`."""
    condition = _condition(of)
    return condition if condition.teacher_alpha is None else condition[1:]


def _beyond_places(hypers):
    """The hyper-parameters, beside the group's name, in which students of one place differ."""
    by_place = {}
    for of in hypers:
        by_place.setdefault(_place(of), []).append(of)
    return sorted({name for group in by_place.values() for name in group[0]
                   if name != "student" and len({of.get(name) for of in group}) > 1})


def baseline(of: Mapping[Condition, BySeed]) -> dict[float, BySeed]:
    """{α: {seed: accuracy}} of the students without a teacher, α rising."""
    return {condition.alpha: of[condition] for condition in sorted(of, key=lambda c: c.alpha) if condition.teacher_alpha is None}


def distilled(of: Mapping[Condition, BySeed], control: bool = False) -> dict[tuple[float, float | None], BySeed]:
    """{(teacher's α, T): {seed: accuracy}} of the students with a teacher, rising; T is None where logits are matched."""
    chosen = [condition for condition in of if condition.teacher_alpha is not None and condition.control == control]
    return {(c.teacher_alpha, c.temperature): of[c] for c in sorted(chosen, key=lambda c: (c.teacher_alpha, c.temperature or 0))}


def smoothings(records: Sequence[results.Record]) -> dict[tuple[float, float], dict[int | None, float]]:
    """{(teacher's α, T): {seed: γ}}; the seed of a teacher from a file is None."""
    return {(record.hyper["teacher_alpha"], record.hyper["temperature"]): record.by_seed
            for record in results.select(records, study="distillation", quantity="equivalent smoothing")}


def of_seed(gammas: Mapping[int | None, float], seed: int) -> float:
    """A seed's γ."""
    return gammas.get(seed, gammas.get(None, float("nan")))


def interpolated(gamma: float, points: Sequence[tuple[float, float]]) -> float:
    """Accuracy at γ on a curve of (γ, accuracy) points, linear between neighbours; NaN beyond the curve's ends."""
    x, y = np.transpose(sorted(points))
    return float(np.interp(gamma, x, y)) if x[0] <= gamma <= x[-1] else float("nan")


def _diffusion(rows, split, similar, features):
    """(quantity, split, number of examples, settings with the seed, value) of every student at T > 1 whose sibling at T = 1 is there."""
    siblings = {}
    taught = [results.hyper(row) for row in rows if row["temperature"] and not row["control"]]
    others = [name for name in results.varying(taught, always=()) if name not in ("student", "teacher_alpha", "temperature")]
    for member, row in enumerate(rows):
        if row["temperature"] and not row["control"]:
            key = row["seed"], results.key({name: of for name, of in results.hyper(row).items() if name not in ("temperature", "student")})
            siblings.setdefault(key, {})[row["temperature"]] = member, row
    for of_temperature in siblings.values():
        reference = features(of_temperature[1.0][0], split) if 1.0 in of_temperature and len(of_temperature) > 1 else None
        for temperature in sorted(of_temperature):
            member, row = of_temperature[temperature]
            alike = similar.get(row["seed"], similar.get(None))
            own = features(member, split) if reference and temperature > 1 and alike is not None else None
            moved = distillation.diffusion(own[0], reference[0], own[1], alike) if own else float("nan")
            if np.isfinite(moved):  # a student whose classes have all become one has no distances to compare
                settings = {name: row[name] for name in ("teacher", "teacher_alpha", "temperature", *others, "seed")}
                yield "diffusion", split, len(own[1]), settings, moved


def _summarized(measured):
    """The records of (quantity, split, number of examples, settings with the seed, value)."""
    records = []
    for quantity, split, examples in dict.fromkeys(each[:3] for each in measured):
        rows, values = zip(*(each[3:] for each in measured if each[:3] == (quantity, split, examples)))
        records += results.summarize("distillation", quantity, split, rows, values, examples=examples)
    return results.select(records, kind=results.VALUE)


def _against_hard(accuracies, split):
    """The students of each smoothed teacher less those of the hard one at the same T, seed by seed."""
    for where, records in families(accuracies):
        of = distilled(students(records, split))
        for (alpha, temperature), by_seed in of.items():
            if alpha > 0:
                settings = {"teacher_alpha": alpha, "temperature": temperature, **where}
                yield from results.difference("distillation", "accuracy against the hard teacher", split, settings,
                                              {**settings, "teacher_alpha": 0.0}, paired(by_seed, of.get((0.0, temperature), {})))
