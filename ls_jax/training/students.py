"""The students of a distillation, which are the arms of its sweep, and the teacher of each.

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
    """One network that teaches. `seed` is None for logits from a file, which all seeds share."""
    name: str
    alpha: float
    seed: int | None


class Taught(NamedTuple):
    """One teacher's predictions on one split."""
    teacher: Teacher
    split: str
    logits: Float[np.ndarray, "examples classes"]
    labels: Int[np.ndarray, " examples"]


def roster(config: ml_collections.ConfigDict) -> list[Teacher]:
    """Every network that teaches a student, once, in the order of the students."""
    return list(dict.fromkeys(teacher for member in arms.members(config) if (teacher := teacher_of(config, member))))


def teacher_of(config: ml_collections.ConfigDict, member: dict[str, Any]) -> Teacher | None:
    """The teacher of a student, whose settings are as `arms.members` gives them; None without one."""
    name = member["teacher"]
    if name is None:
        return None
    return Teacher(name, member["teacher_alpha"], None if is_file(config.distill.teachers[name]) else member["seed"])


def is_file(source: str | ml_collections.ConfigDict) -> bool:
    """Whether an entry of `config.distill.teachers` is a file of logits rather than a network's config or workdir."""
    return isinstance(source, str) and source.endswith(".npz")


def online(config: ml_collections.ConfigDict) -> bool:
    """Whether teachers run at every step, because students see augmented images; otherwise logits are precomputed."""
    varied = config.data.augment != "none" or sources.of(config.data) is stream
    return varied and not all(is_file(config.distill.teachers[teacher.name]) for teacher in roster(config))


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a wrong `config.distill`; `sweep.check` has checked the students' settings.

    Raises:
        UserError: one line that names the field and what it may be.
    """
    section = config.distill
    if section.loss not in losses.MATCHES:
        raise UserError(f"config.distill.loss={section.loss!r} is unknown; choose from {', '.join(losses.MATCHES)}")
    if section.student_temperature is not None and not section.student_temperature > 0:
        raise UserError(f"config.distill.student_temperature={section.student_temperature} must be above 0, or None: "
                        "the teacher's")
    sources = [section.teachers[teacher.name] for teacher in roster(config)]
    if online(config) and any(is_file(source) for source in sources):
        raise UserError("config.distill.teachers has a file of logits beside networks that run on augmented images: "
                        "choose data.augment='none', or another run for either")
