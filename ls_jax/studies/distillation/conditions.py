"""Students by the conditions under which they were taught: what figures, tables and claims read of the records."""
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ls_jax.studies.common import records
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.common.statistics import paired

AGREEMENT, RISE = "agreement", "agreement's rise"  # of a student's top class with its teacher's; over the last fifth
BELOW, RISING = 0.02, 0.005  # so far below the agreement at T = 1 and still rising so fast: not trained
FAILED = 0.5  # of the agreement at T = 1: students below it have failed to train, whether they still rise or not
Accuracies = TypeVar("Accuracies")  # of one condition: {seed: number} or {seed: Sample}
Place = tuple[float, float | None, bool]  # (teacher's α, T, whether it is the control's): what students are compared by


class Condition(NamedTuple):
    """How students were taught. `alpha` is their own smoothing; without a teacher, the others are None or False."""
    alpha: float
    teacher_alpha: float | None
    temperature: float | None
    control: bool


def families(results: Sequence[records.Record]) -> list[tuple[dict[str, Any], list[records.Record]]]:
    """(settings, records) of each family of students, which has one curve in a figure.

    Families differ in β, the learning rate, the students' own α and the like, at equal teacher's α and T. Most runs
    have one family, without settings. Students that do not differ in the settings belong to every family.
    """
    students = [record for record in records.select(results, study="accuracy") if "student" in record.hyper]
    names = _beyond_places([record.hyper for record in students])
    if not names:
        return [({}, list(results))]
    by_place: dict[tuple, dict[frozenset, dict[str, Any]]] = {}
    for record in students:
        settings = {name: record.hyper.get(name) for name in names}
        by_place.setdefault(_place(record.hyper), {})[records.key(settings)] = settings
    in_all = {id(record) for record in students if len(by_place[_place(record.hyper)]) == 1}
    wheres = {key: where for group in by_place.values() if len(group) > 1 for key, where in group.items()}.values()
    return [(where, [record for record in results if id(record) in in_all or _has(record, where)]) for where in wheres]


def _has(record, settings):
    """Whether the record has these settings, as far as it has such hyper-parameters."""
    return all(record.hyper.get(name, value) == value for name, value in settings.items())


def students(results: Sequence[records.Record], split: str) -> dict[Condition, dict[int, float]]:
    """{condition: {seed: accuracy}} of one family's students. Groups with equal settings are the same networks."""
    return {condition: record.by_seed for condition, record in _by_condition(results, split).items()}


def sampled(results: Sequence[records.Record], split: str) -> dict[Condition, dict[int, Sample]]:
    """`students` with how each accuracy depends on the examples, where the records tell."""
    return {condition: record.samples for condition, record in _by_condition(results, split).items()}


def _by_condition(results, split):
    found: dict[Condition, records.Record] = {}
    for record in records.select(results, study="accuracy", quantity="accuracy", kind=records.VALUE, split=split):
        if "student" in record.hyper:
            found.setdefault(_condition(record.hyper), record)
    return found


def _condition(of):
    return Condition(of["alpha"], of["teacher_alpha"], of["temperature"],
                     bool(of["control"] and of["teacher_alpha"] is not None))


def _place(of):
    """The key of students in `baseline` or `distilled`."""
    condition = _condition(of)
    return condition if condition.teacher_alpha is None else condition[1:]


def _beyond_places(hypers):
    """Names of hyper-parameters, other than the group's name, in which students with the same key differ."""
    by_place = {}
    for of in hypers:
        by_place.setdefault(_place(of), []).append(of)
    return sorted({name for group in by_place.values() for name in group[0]
                   if name != "student" and len({of.get(name) for of in group}) > 1})


def baseline(of: Mapping[Condition, Accuracies]) -> dict[float, Accuracies]:
    """{α: {seed: accuracy}} of the students without a teacher, in the order of α."""
    return {
        condition.alpha: of[condition] for condition in sorted(of, key=lambda c: c.alpha)
        if condition.teacher_alpha is None
    }


def distilled(of: Mapping[Condition, Accuracies],
              control: bool = False) -> dict[tuple[float, float | None], Accuracies]:
    """{(teacher's α, T): {seed: accuracy}} of the students with a teacher, sorted; T is None for matched logits."""
    chosen = [condition for condition in of if condition.teacher_alpha is not None and condition.control == control]
    return {(c.teacher_alpha, c.temperature): of[c]
            for c in sorted(chosen, key=lambda c: (c.teacher_alpha, c.temperature or 0))}


def smoothings(results: Sequence[records.Record]) -> dict[tuple[float, float], dict[int | None, float]]:
    """{(teacher's α, T): {seed: γ}}; the seed is None for a teacher that was read from a file."""
    return {(record.hyper["teacher_alpha"], record.hyper["temperature"]): record.by_seed
            for record in records.select(results, study="distillation", quantity="equivalent smoothing")}


def of_seed(gammas: Mapping[int | None, float], seed: int) -> float:
    """The seed's γ, or that of a teacher from a file; NaN without either."""
    return gammas.get(seed, gammas.get(None, float("nan")))


def interpolated(gamma: float, points: Mapping[Any, tuple[float, Sample]]) -> Sample | None:
    """Accuracy at γ, interpolated linearly between the two points {key: (γ, accuracy)} around it; None beyond their
    ends."""
    near = around(gamma, points)
    if not near:
        return None
    before, after = (points[key] for key in (near * 2)[:2])
    share = (gamma - before[0]) / (after[0] - before[0]) if len(near) > 1 else 0.0
    return before[1] * (1 - share) + after[1] * share


def around(gamma: float, points: Mapping[Any, tuple[float, Any]]) -> list[Any]:
    """The keys of the one or two points {key: (γ, accuracy)} from which `interpolated` takes its value."""
    order = sorted(points, key=lambda key: points[key][0])
    x = np.array([points[key][0] for key in order])
    if not x[0] <= gamma <= x[-1]:
        return []
    after = int(np.searchsorted(x, gamma))
    return [order[after]] if x[after] == gamma else [order[after - 1], order[after]]


def agreements(results: Sequence[records.Record]) -> dict[Place, float]:
    """{place: agreement with the teacher on training examples at the end of training}, means over seeds."""
    return {_condition(record.hyper)[1:]: record.mean for record in records.select(
        results, study="distillation", quantity=AGREEMENT, kind=records.VALUE)}


def untrained(results: Sequence[records.Record]) -> dict[Place, float]:
    """{place: agreement with the teacher} of one family's students that have not learnt their teacher's answers.

    These agree with their teacher on the training examples by more than BELOW less often than the students of the same
    teacher and seeds at T = 1, and this agreement rose by more than RISING over the last fifth of the steps: it would
    rise further. Or some of them have less than FAILED of the agreement at T = 1, as networks have whose units all
    died. Runs without records of agreement have none.
    """
    found = {quantity: {_condition(record.hyper)[1:]: record.by_seed for record in records.select(
        results, study="distillation", quantity=quantity, kind=records.VALUE)} for quantity in (AGREEMENT, RISE)}
    lacking = {}
    for place, by_seed in found[AGREEMENT].items():
        at_one = found[AGREEMENT].get((place[0], 1.0, False), {})
        gap, rise = list(paired(by_seed, at_one).values()), list(found[RISE].get(place, {}).values())
        rises_still = gap and rise and np.mean(gap) < -BELOW and np.mean(rise) > RISING
        if rises_still or any(by_seed[seed] < FAILED * at_one[seed] for seed in by_seed if seed in at_one):
            lacking[place] = float(np.mean(list(by_seed.values())))
    return lacking
