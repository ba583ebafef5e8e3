"""The students of a distillation as `config.distill` describes them: their hyper-parameters, and who teaches each.

A group of students is a product of tuples, as a sweep is; the groups follow one another, in the order of their names, the
seed varying fastest. A student's teacher has the student's seed, so differences between teachers are paired.
"""
import itertools
import math
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from jaxtyping import Float, Int

from ls_jax.data.pictures import stream
from ls_jax.errors import UserError, did_you_mean
from ls_jax.training.state import Hyper

LOSSES = ("soft", "logits")
SWEPT = ("alpha", "learning_rate", "weight_decay", "seed")  # as in config.sweep
TAUGHT = {                    # what else a group with a teacher may list, with its defaults
    "teacher_alpha": (0.0,),  # the smoothing that the teacher was trained with
    "temperature": (1.0,),    # the teacher's T; not of the loss "logits", which has none
    "beta": (1.0,),           # the weight of the teacher's term
    "control": (False,),      # True: the teacher's wrong classes are made equally likely
}


class Teacher(NamedTuple):
    """One network that teaches; `seed` is None for logits from a file, which are the same for every seed."""
    name: str
    alpha: float
    seed: int | None


class Taught(NamedTuple):
    """What one teacher predicts on one split."""
    teacher: Teacher
    split: str
    logits: Float[np.ndarray, "examples classes"]
    labels: Int[np.ndarray, " examples"]


def rows(config: ml_collections.ConfigDict) -> list[dict[str, Any]]:
    """One dict per student: `sweep.rows`' fields and student (its group), teacher, teacher_alpha, temperature, beta, control.

    Of students without a teacher those are None, with β = 0.
    """
    result = []
    for name in sorted(config.distill.students):
        group = config.distill.students[name]
        taught = TAUGHT if group.get("teacher") else {"teacher_alpha": (None,), "temperature": (None,), "beta": (0.0,), "control": (False,)}
        if config.distill.loss == "logits":
            taught = taught | {"temperature": (None,)}
        fields = taught | {field: config.sweep[field] for field in SWEPT}
        for values in itertools.product(*(group.get(field, default) for field, default in fields.items())):
            result.append({"student": name, "teacher": group.get("teacher"), **dict(zip(fields, values))})
    return result


def roster(config: ml_collections.ConfigDict) -> list[Teacher]:
    """Every network that teaches a student, once, in the order of the students."""
    return list(dict.fromkeys(teacher for row in rows(config) if (teacher := teacher_of(config, row))))


def teacher_of(config: ml_collections.ConfigDict, row: dict[str, Any]) -> Teacher | None:
    """Who teaches the student of this row."""
    if row["teacher"] is None:
        return None
    return Teacher(row["teacher"], row["teacher_alpha"], None if is_file(config.distill.teachers[row["teacher"]]) else row["seed"])


def is_file(source: Any) -> bool:
    """Whether a teacher is a file of logits, rather than a network's config or workdir."""
    return isinstance(source, str) and source.endswith(".npz")


def online(config: ml_collections.ConfigDict) -> bool:
    """Whether teachers must be asked at every step, since students see augmented images or random crops; else their logits are kept."""
    varied = config.data.augment != "none" or stream.is_streamed(config.data)
    return varied and not all(is_file(config.distill.teachers[teacher.name]) for teacher in roster(config))


def hyper(config: ml_collections.ConfigDict) -> Hyper:
    """Hyper of NumPy arrays [M]."""
    students, place = rows(config), {teacher: index for index, teacher in enumerate(roster(config))}
    column = lambda name, dtype=np.float32: np.asarray([row[name] for row in students], dtype)
    return {**{name: column(name) for name in ("alpha", "learning_rate", "weight_decay", "beta", "control")},
            "seed": column("seed", np.int32), "temperature": np.asarray([row["temperature"] or 1.0 for row in students], np.float32),
            "teacher": np.asarray([place.get(teacher_of(config, row), -1) for row in students], np.int32)}


def check(config: ml_collections.ConfigDict) -> None:
    """What can be wrong with `config.distill` by itself.

    Raises:
        UserError: one line that names the field and what it may be.
    """
    section = config.distill
    if section.loss not in LOSSES:
        raise UserError(f"config.distill.loss={section.loss!r} is unknown; choose from {', '.join(LOSSES)}")
    if section.student_temperature is not None and not section.student_temperature > 0:
        raise UserError(f"config.distill.student_temperature={section.student_temperature} must be above 0, or None: the teacher's")
    if not section.students:
        raise UserError("config.distill.students is empty: name at least one group of students")
    for name, group in section.students.items():
        _check_group(f"config.distill.students.{name}", group, section)
    sources = [section.teachers[teacher.name] for teacher in roster(config)]
    if online(config) and any(is_file(source) for source in sources):
        raise UserError("config.distill.teachers has a file of logits beside networks that are asked on augmented images: choose "
                        "data.augment='none', or another run for either")


def _check_group(where, group, section):
    known = ("teacher", *SWEPT, *TAUGHT)
    for field, values in group.items():
        if field not in known:
            raise UserError(f"{where} has no field {field!r}{did_you_mean(field, known)}; it may have {', '.join(known)}")
        if field != "teacher" and (not isinstance(values, (tuple, list)) or not values or len(set(values)) < len(values)):
            raise UserError(f"{where}.{field}={values!r} must be a tuple of different values, such as (1.0, 2.0)")
    if group.get("teacher") is None:
        if extra := [field for field in TAUGHT if field in group]:
            raise UserError(f"{where} has {', '.join(extra)} but no teacher: name one of {', '.join(section.teachers)}")
    elif group.teacher not in section.teachers:
        raise UserError(f"{where}.teacher={group.teacher!r} is not among config.distill.teachers: {', '.join(section.teachers)}")
    for field, low, high in (("alpha", 0, 1), ("teacher_alpha", 0, 1), ("beta", 0, 1), ("temperature", 0, math.inf)):
        for value in group.get(field, ()):
            if not low <= value <= high or (field != "beta" and value == high) or (field == "temperature" and value == 0):
                raise UserError(f"{where}.{field} holds {value}: it must be {'above 0' if field == 'temperature' else 'from 0 to 1'}")
    if section.loss == "logits" and any(field in group for field in ("temperature", "control")):
        raise UserError(f"{where} has a temperature or a control, which config.distill.loss='logits' makes no use of")
