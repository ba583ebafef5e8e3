"""The sweep: the hyper-parameters of its members (an arm and a seed each) as arrays, and each member's baseline."""
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
    """The hyper-parameters as NumPy arrays [members]: the scalars that the sweep names.

    If any member has a teacher there is also "teacher", each teacher's index in `students.roster`, -1 for none.
    """
    all_members, roster = arms.unrounded(config), students.roster(config) if config.get("distill") else []
    hyper = {}
    for name, scalar in arms.scalars().items():
        if name in all_members[0] and (roster or name not in arms.TAUGHT):
            column = [scalar.off if member[name] is None else member[name] for member in all_members]
            hyper[name] = np.asarray(column, np.int32 if scalar.whole else np.float32)
    if roster:
        index = {teacher: place for place, teacher in enumerate(roster)}
        teachers = [index.get(students.teacher_of(config, member), -1) for member in members(config)]
        hyper["teacher"] = np.asarray(teachers, np.int32)
    return hyper


def baselines(config: ml_collections.ConfigDict) -> list[int | None]:
    """For each member the index of its baseline, of the same seed; None if it is the member itself or not in the sweep.

    The arm's `baseline` says which, or else `config.sweep.baseline`: an arm's name, or settings that replace the
    member's own. By default they are the `off` values of the losses' scalars, without those of the teacher's term.
    """
    found = (_candidates(config, member, named) for member, named in _named(config))
    return [others[0] if others and others[0] != place else None for place, others in enumerate(found)]


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a wrong sweep or a wrong baseline.

    Raises:
        UserError: one line that names the field and what it may be.
    """
    arms.check(config)
    own = {f"the baseline of {name!r}": settings["baseline"]
           for name, settings in arms.groups(config).items() if "baseline" in settings}
    for where, named in {"config.sweep.baseline": config.sweep.get("baseline"), **own}.items():
        if isinstance(named, str):
            _check_arm(where, named, [name for name in arms.groups(config) if name])
        elif named is not None:
            _check_settings(where, named, arms.unrounded(config))
    for member, named in _named(config):
        if isinstance(named, str) and len(_candidates(config, member, named)) > 1:
            raise UserError(f"the baseline {named!r} of {_name(member)!r} is more than one member of each seed: give "
                            "settings instead")


def take(tree: Any, member: int) -> Any:
    """One member of a tree of arrays [members, ...]: the arrays at index `member`."""
    return jax.tree.map(lambda x: x[member], tree)


def _name(member):
    return member.get("arm", member.get("student", ""))


def _named(config):
    """(member, its baseline: an arm's name, or settings that replace its own) for all members."""
    all_members, groups = arms.unrounded(config), arms.groups(config)
    off = {name: scalar.off for name, scalar in losses.scalars().items()
           if name in all_members[0] and name not in arms.TAUGHT}
    default = config.sweep.get("baseline") or off
    return [(member, groups[_name(member)].get("baseline") or default) for member in all_members]


def _candidates(config, member, named):
    """Indices of the members that the baseline `named` of a member may mean.

    If it is an arm's name, they are the arm's members that differ from this one only in what either arm sets.
    """
    all_members, groups = arms.unrounded(config), arms.groups(config)
    if not isinstance(named, str):
        return [index for index, other in enumerate(all_members) if arms.same({**member, **named}, other)]
    differ = {*groups[_name(member)], *groups.get(named, ()), *arms.TAUGHT, "teacher"} - {"seed"}
    differ |= {name for name, scalar in losses.scalars().items() if scalar.of in differ}
    return [index for index, other in enumerate(all_members)
            if _name(other) == named and arms.same(member, other, but=tuple(differ))]


def _check_arm(where, name, known):
    if not known:
        raise UserError(f"{where}={name!r} names an arm, and the sweep has none: give settings, such as "
                        "{'alpha': 0.0}")
    if name not in known:
        raise UserError(f"{where}={name!r} names no arm{did_you_mean(name, known)}; there are {', '.join(known)}")


def _check_settings(where, settings, all_members):
    if not isinstance(settings, (Mapping, ml_collections.ConfigDict)) or not settings:
        raise UserError(f"{where}={settings!r} must be an arm's name, or settings such as {{'alpha': 0.0}}")
    known = [name for name in arms.scalars() if name in all_members[0]]
    for name, value in settings.items():
        if name not in known:
            raise UserError(f"{where} has {name!r}, which the sweep has not{did_you_mean(name, known)}; it has "
                            f"{', '.join(known)}")
        arms.check_value(f"{where}.{name}", arms.scalars()[name], value)
    if not any(arms.same({**member, **settings}, candidate) for member in all_members for candidate in all_members):
        raise UserError(f"{where}={dict(settings)} is not in the sweep: add it, or name another")
