"""The sweep, the unit of work: arms times seeds, each pair a member; their hyper-parameters as arrays, and who is compared with whom."""
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
import numpy as np

from ls_jax import losses
from ls_jax.errors import UserError, did_you_mean
from ls_jax.training import arms, students
from ls_jax.training.arms import members
from ls_jax.training.state import Hyper


def grid(config: ml_collections.ConfigDict) -> Hyper:
    """Hyper of NumPy arrays [M]: the scalars that the sweep names, and of students with a teacher "teacher", its place in the roster."""
    rows, roster = arms.rows(config), students.roster(config) if config.get("distill") else []
    named = {name: scalar for name, scalar in arms.scalars().items() if name in rows[0] and (roster or name not in arms.TAUGHT)}
    column = lambda name, scalar: [scalar.off if row[name] is None else row[name] for row in rows]
    hyper = {name: np.asarray(column(name, scalar), np.int32 if scalar.whole else np.float32) for name, scalar in named.items()}
    if roster:
        place = {teacher: index for index, teacher in enumerate(roster)}
        teachers = [place.get(students.teacher_of(config, row), -1) for row in members(config)]
        hyper["teacher"] = np.asarray(teachers, np.int32)
    return hyper


def baselines(config: ml_collections.ConfigDict) -> list[int | None]:
    """Of each member the one that it is compared with, of equal seed; None where that is itself, or not in the sweep.

    It is what the arm names as its `baseline`, else `config.sweep.baseline`: an arm's name, or settings that replace the member's own.
    By default those are the `off` values of the losses' scalars, of a student's but for those of its teacher's term.
    """
    found = ((member, _candidates(config, row, named)) for member, (row, named) in enumerate(_named(config)))
    return [others[0] if others and others[0] != member else None for member, others in found]


def check(config: ml_collections.ConfigDict) -> None:
    """What can be wrong with the sweep and its baselines.

    Raises:
        UserError: one line that names the field and what it may be.
    """
    arms.check(config)
    own = {f"the baseline of {name!r}": settings["baseline"] for name, settings in arms.groups(config).items() if "baseline" in settings}
    for where, named in {"config.sweep.baseline": config.sweep.get("baseline"), **own}.items():
        if isinstance(named, str):
            _check_arm(where, named, [name for name in arms.groups(config) if name])
        elif named is not None:
            _check_settings(where, named, arms.rows(config))
    for row, named in _named(config):
        if isinstance(named, str) and len(_candidates(config, row, named)) > 1:
            raise UserError(f"the baseline {named!r} of {_name(row)!r} is more than one member of each seed: give settings instead")


def take(tree: Any, member: int) -> Any:
    """One member of a tree of arrays [M, ...]."""
    return jax.tree.map(lambda x: x[member], tree)


def _name(row):
    return row.get("arm", row.get("student", ""))


def _named(config):
    """(member, its baseline: an arm's name, or settings that replace its own) for all members."""
    rows, groups = arms.rows(config), arms.groups(config)
    off = {name: scalar.off for name, scalar in losses.scalars().items() if name in rows[0] and name not in arms.TAUGHT}
    return [(row, groups[_name(row)].get("baseline") or config.sweep.get("baseline") or off) for row in rows]


def _candidates(config, row, named):
    """The members that are the baseline of this one; of an arm's name those that differ in nothing but what either arm sets."""
    rows, groups = arms.rows(config), arms.groups(config)
    if not isinstance(named, str):
        return [other for other, candidate in enumerate(rows) if arms.same({**row, **named}, candidate)]
    differ = ({*groups[_name(row)], *groups.get(named, ()), *arms.TAUGHT, "teacher"} - {"seed"})
    return [other for other, candidate in enumerate(rows) if _name(candidate) == named and arms.same(row, candidate, but=tuple(differ))]


def _check_arm(where, name, known):
    if not known:
        raise UserError(f"{where}={name!r} names an arm, and the sweep has none: give settings, such as {{'alpha': 0.0}}")
    if name not in known:
        raise UserError(f"{where}={name!r} names no arm{did_you_mean(name, known)}; there are {', '.join(known)}")


def _check_settings(where, settings, rows):
    if not isinstance(settings, (Mapping, ml_collections.ConfigDict)) or not settings:
        raise UserError(f"{where}={settings!r} must be an arm's name, or settings such as {{'alpha': 0.0}}")
    known = [name for name in arms.scalars() if name in rows[0]]
    for name, value in settings.items():
        if name not in known:
            raise UserError(f"{where} has {name!r}, which the sweep has not{did_you_mean(name, known)}; it has {', '.join(known)}")
        arms.check_value(f"{where}.{name}", arms.scalars()[name], value)
    if not any(arms.same({**row, **settings}, candidate) for row in rows for candidate in rows):
        raise UserError(f"{where}={dict(settings)} is not in the sweep: add it, or name another")
