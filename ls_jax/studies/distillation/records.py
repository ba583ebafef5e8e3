"""The distillation study of a run: its teachers measured, its students compared, and what figures and claims read of the records.

Students' accuracies are the records of the study "accuracy". Records of the study "distillation" are about teachers ("teacher
accuracy"; over the training set "equivalent smoothing" and "stability"), with the fields teacher, teacher_alpha, temperature; and
about students: "accuracy against the hard teacher", at the same T, paired by seed, and "diffusion", against the student of the same
teacher and seed at T = 1.
"""
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ls_jax.studies import accuracy, distillation
from ls_jax.studies.common import records as results
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
        about = {"teacher": teacher.name, "teacher_alpha": teacher.alpha, "seed": teacher.seed, "split": split, "examples": len(labels)}
        if split != "train":
            measured.append(({**about, "quantity": "teacher accuracy"}, accuracy.accuracy(logits, labels)))
            continue
        measured.append(({**about, "quantity": "stability", "temperature": 1.0}, distillation.stability(logits, labels)))
        if teacher.alpha == hardest:
            similar[teacher.seed] = distillation.similar_classes(logits, labels)
        for temperature in sorted({row["temperature"] for row in rows if row["temperature"] and
                                   (row["teacher"], row["teacher_alpha"]) == (teacher.name, teacher.alpha)}):
            gamma = distillation.equivalent_smoothing(logits, labels, temperature)
            measured.append(({**about, "quantity": "equivalent smoothing", "temperature": temperature}, gamma))
    split = held_out(accuracies)
    measured += list(_diffusion(rows, split, similar, features))
    return [*_grouped(measured), *_against_hard(accuracies, split)]


def held_out(records: Sequence[results.Record]) -> str:
    """Validation where there is one, as the paper reports, else test."""
    splits = {record["split"] for record in results.select(records, study="accuracy")}
    return "validation" if "validation" in splits else "test"


def students(records: Sequence[results.Record], split: str) -> dict[Condition, dict[int, float]]:
    """{condition: {seed: accuracy}} of the students; of several β, learning rates or weight decays the first counts."""
    found: dict[Condition, dict[int, float]] = {}
    for record in results.select(records, study="accuracy", quantity="accuracy", split=split):
        if "student" in record:
            taught = record["teacher_alpha"] is not None
            condition = Condition(record["alpha"], record["teacher_alpha"], record["temperature"], bool(record["control"] and taught))
            found.setdefault(condition, dict(zip(record["seeds"], record["values"])))
    return found


def baseline(of: Mapping[Condition, BySeed]) -> dict[float, BySeed]:
    """{α: {seed: accuracy}} of the students without a teacher, α rising."""
    return {condition.alpha: of[condition] for condition in sorted(of, key=lambda c: c.alpha) if condition.teacher_alpha is None}


def distilled(of: Mapping[Condition, BySeed], control: bool = False) -> dict[tuple[float, float | None], BySeed]:
    """{(teacher's α, T): {seed: accuracy}} of the students with a teacher, rising; T is None where logits are matched."""
    chosen = [condition for condition in of if condition.teacher_alpha is not None and condition.control == control]
    return {(c.teacher_alpha, c.temperature): of[c] for c in sorted(chosen, key=lambda c: (c.teacher_alpha, c.temperature or 0))}


def smoothings(records: Sequence[results.Record]) -> dict[tuple[float, float], dict[int | None, float]]:
    """{(teacher's α, T): {seed: γ}}; the seed of a teacher from a file is None."""
    return {(record["teacher_alpha"], record["temperature"]): dict(zip(record["seeds"], record["values"]))
            for record in results.select(records, study="distillation", quantity="equivalent smoothing")}


def of_seed(gammas: Mapping[int | None, float], seed: int) -> float:
    """A seed's γ."""
    return gammas.get(seed, gammas.get(None, float("nan")))


def interpolated(gamma: float, points: Sequence[tuple[float, float]]) -> float:
    """Accuracy at γ on a curve of (γ, accuracy) points, linear between neighbours; NaN beyond the curve's ends."""
    x, y = np.transpose(sorted(points))
    return float(np.interp(gamma, x, y)) if x[0] <= gamma <= x[-1] else float("nan")


def _diffusion(rows, split, similar, features):
    """(record's fields, value) of every student at T > 1 whose sibling at T = 1 is there."""
    siblings = {}
    for member, row in enumerate(rows):
        if row["temperature"] and not row["control"]:
            key = tuple(value for name, value in row.items() if name not in ("temperature", "student"))
            siblings.setdefault(key, {})[row["temperature"]] = member, row
    for taught in siblings.values():
        reference = features(taught[1.0][0], split) if 1.0 in taught and len(taught) > 1 else None
        for temperature in sorted(taught):
            member, row = taught[temperature]
            alike = similar.get(row["seed"], similar.get(None))
            own = features(member, split) if reference and temperature > 1 and alike is not None else None
            moved = distillation.diffusion(own[0], reference[0], own[1], alike) if own else float("nan")
            if np.isfinite(moved):  # a student whose classes have all become one has no distances to compare
                yield ({"quantity": "diffusion", "split": split, "teacher": row["teacher"], "teacher_alpha": row["teacher_alpha"],
                        "temperature": temperature, "seed": row["seed"], "examples": len(own[1])},
                       moved)


def _grouped(measured):
    """A record per combination of fields other than the seed."""
    key = lambda each: tuple(item for item in each[0].items() if item[0] != "seed")
    groups = {}
    for each in measured:
        groups.setdefault(key(each), {})[each[0]["seed"]] = each[1]
    return [{"study": "distillation", **dict(fields), **results.moments(by_seed.values()), "seeds": list(by_seed)}
            for fields, by_seed in groups.items()]


def _against_hard(accuracies, split):
    """The students of each smoothed teacher less those of the hard one at the same T, seed by seed."""
    of = distilled(students(accuracies, split))
    for (alpha, temperature), by_seed in of.items():
        hard = of.get((0.0, temperature), {})
        shared = [seed for seed in by_seed if seed in hard]
        if alpha > 0 and shared:
            differences = [by_seed[seed] - hard[seed] for seed in shared]
            yield {"study": "distillation", "quantity": "accuracy against the hard teacher", "split": split, "teacher_alpha": alpha,
                   "temperature": temperature, **results.moments(differences), "interval": results.t_interval(differences), "seeds": shared}


def pairs(*groups: BySeed) -> list[int]:
    """The seeds that all groups have."""
    return [seed for seed in groups[0] if all(seed in group for group in itertools.islice(groups, 1, None))]
