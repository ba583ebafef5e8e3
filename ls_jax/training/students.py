"""The students of a distillation, the arms of its sweep, and who teaches each.

A student's teacher has the student's seed, so differences between teachers are paired.
"""
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from jaxtyping import Float, Int

from ls_jax import losses
from ls_jax.data import sources
from ls_jax.data.pictures import stream
from ls_jax.errors import UserError
from ls_jax.training import arms


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


def roster(config: ml_collections.ConfigDict) -> list[Teacher]:
    """Every network that teaches a student, once, in the order of the students."""
    return list(dict.fromkeys(teacher for row in arms.members(config) if (teacher := teacher_of(config, row))))


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
    varied = config.data.augment != "none" or sources.of(config.data) is stream
    return varied and not all(is_file(config.distill.teachers[teacher.name]) for teacher in roster(config))


def check(config: ml_collections.ConfigDict) -> None:
    """What else can be wrong with `config.distill`, once `sweep.check` has found nothing.

    Raises:
        UserError: one line that names the field and what it may be.
    """
    section = config.distill
    if section.loss not in losses.MATCHES:
        raise UserError(f"config.distill.loss={section.loss!r} is unknown; choose from {', '.join(losses.MATCHES)}")
    if section.student_temperature is not None and not section.student_temperature > 0:
        raise UserError(f"config.distill.student_temperature={section.student_temperature} must be above 0, or None: the teacher's")
    sources = [section.teachers[teacher.name] for teacher in roster(config)]
    if online(config) and any(is_file(source) for source in sources):
        raise UserError("config.distill.teachers has a file of logits beside networks that are asked on augmented images: choose "
                        "data.augment='none', or another run for either")
