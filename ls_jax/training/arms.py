"""The arms of a sweep, resolved from the config to one dict of named scalars per member.

A sweep is the product of the tuples in `config.sweep`, or its named `arms`, or the groups of students in
`config.distill.students`, whose settings are tuples too. Arms and groups are in the order of their names, and the seed
varies fastest.
"""
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections
import numpy as np

from ls_jax import losses
from ls_jax.errors import UserError, did_you_mean
from ls_jax.losses import Scalar
from ls_jax.training import optim

SEED = {"seed": Scalar(0, 0, 2**31, what="a seed", whole=True)}
# Defaults of an arm with a teacher, and of one without. `teacher_alpha` is the smoothing in the teacher's training.
TAUGHT = {"teacher_alpha": 0.0, "temperature": 1.0, "beta": 1.0, "control": False}
UNTAUGHT = {"teacher_alpha": None, "temperature": None, "beta": 0.0, "control": False}
UNMATCHED = ("temperature", "control")  # not used by a student that matches logits
NAMES = ("teacher", "baseline")  # fields of an arm that are not tuples
BESIDE = ("arms", "baseline")  # fields of `config.sweep` that are not scalars
ALWAYS = ("alpha", *optim.SCALARS, *SEED)  # scalars of every member, by which tables and figures name networks


def scalars() -> dict[str, Scalar]:
    """Every scalar that a sweep may vary."""
    return losses.scalars() | optim.SCALARS | SEED


def members(config: ml_collections.ConfigDict) -> list[dict[str, Any]]:
    """One dict of plain values per member, for logs and tables: {"alpha": 0.1, "seed": 3, "learning_rate": 0.1, ...}.

    Members of named arms also have "arm". Students also have "student" (the group or arm), "teacher" and
    "teacher_alpha"; without a teacher, the settings of its term are None. Numbers are float32, with 7 digits.
    """
    return [{name: _rounded(name, value) for name, value in member.items()} for member in unrounded(config)]


def _rounded(name, value):
    value = value if isinstance(value, bool) else number(name, value)
    return float(f"{value:.7g}") if isinstance(value, float) else value


def unrounded(config: ml_collections.ConfigDict) -> list[dict[str, Any]]:
    """As `members`, with the numbers as they are in the config."""
    return [losses.followed(member) for name, settings in groups(config).items()
            for member in _product(config, name, settings)]


def teaching(config: ml_collections.ConfigDict, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The default settings of the teacher's term for an arm."""
    defaults = TAUGHT if settings.get("teacher") else UNTAUGHT
    return defaults | {"temperature": None} if config.distill.loss == "logits" else defaults


def same(member: Mapping[str, Any], other: Mapping[str, Any], but: tuple[str, ...] = ()) -> bool:
    """Whether two members have equal settings, apart from those in `but` and the names of their arms."""
    member, other = effective(member), effective(other)
    return all(member[name] == other[name] for name in set(member) - {"arm", "student", *but})


def effective(member: Mapping[str, Any]) -> dict[str, Any]:
    """A member's settings as a step uses them; None for one without effect, such as a margin without a weight."""
    found = {name: number(name, value) for name, value in losses.followed(member).items()}
    known = losses.scalars()
    for name in found.keys() & known.keys():
        weight = known[name].of
        if not weight or known[name].off is None:
            continue
        if {found[weight], found.get(losses.END.format(weight))} <= {known[weight].off, None}:
            found[name] = None
    return found


def number(name: str, value: Any) -> Any:
    """A setting as a step computes with it: numbers rounded to float32, the seed to int; names and None unchanged."""
    if not isinstance(value, (int, float, np.number)):
        return value
    with np.errstate(over="ignore"):
        return int(value) if name in SEED else float(np.float32(value))


def groups(config: ml_collections.ConfigDict) -> dict[str, dict[str, Any]]:
    """{name: settings} of the arms or groups of students; a plain product is one arm named "".

    Settings are tuples, apart from the teacher and the baseline.
    """
    if config.get("distill") and config.distill.students:
        students = config.distill.students
        return {name: {field: value if field in NAMES else tuple(value) for field, value in students[name].items()}
                for name in sorted(students)}
    arms = config.sweep.get("arms")
    return {name: _as_tuples(arms[name]) for name in sorted(arms)} if arms else {"": {}}


def _as_tuples(arm):
    """The settings of an arm, each value as a tuple of one."""
    return {field: value if field in NAMES else (value,) for field, value in arm.items()}


def _product(config, name, own) -> Iterator[dict[str, Any]]:
    """The members of a group with the settings `own`; the last setting varies fastest."""
    arms, distilled = config.sweep.get("arms"), config.get("distill")
    columns, labels = {}, {"arm": name} if arms else {}
    if distilled:
        labels |= {"student": name, "teacher": own.get("teacher")}
        columns = {field: own.get(field, _swept(config, field, own) or (default,))
                   for field, default in teaching(config, own).items()}
    named = {field for settings in groups(config).values() for field in settings}
    for field, scalar in losses.scalars().items():
        if field not in columns and (_swept(config, field, own) is not None or field in named):
            columns[field] = own.get(field, (scalar.off,) if arms else config.sweep.get(field) or (scalar.off,))
    columns |= {field: own.get(field, config.sweep[field]) for field in (*optim.SCALARS, "seed")}
    order = list(columns)
    if not distilled:  # the order of the columns in metrics.jsonl
        order = [field for field in order if field not in optim.SCALARS and field != "seed"] + ["seed", *optim.SCALARS]
    for values in itertools.product(*columns.values()):
        member = dict(zip(columns, values))
        yield labels | {field: member[field] for field in order}


def _swept(config, field, own):
    """The tuple of a scalar in `config.sweep`, or None; scalars of the teacher's term need an arm with a teacher."""
    return None if field in TAUGHT and not own.get("teacher") else config.sweep.get(field)


# Checks of the config.


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a sweep with unknown names, values out of range or equal members.

    Raises:
        UserError: one line that names the field and what it may be.
    """
    sweep, distilled = config.sweep, config.get("distill")
    for name in sweep:
        if name not in BESIDE and name not in scalars():
            raise UserError(f"config.sweep has no field {name!r}{did_you_mean(name, scalars())}; it may have "
                            f"{', '.join(scalars())}")
        if name not in BESIDE and (sweep[name] is not None or name in ALWAYS):
            check_values("config.sweep", name, sweep[name])
            if name in TAUGHT and not distilled:
                raise UserError(f"config.sweep.{name} is of students with a teacher: set config.distill, or leave it "
                                "out")
            if name in UNMATCHED and distilled and distilled.loss == "logits":
                raise UserError(f"config.sweep.{name}: config.distill.loss='logits' makes no use of it")
            if sweep.get("arms") is None:
                _check_belongs("config.sweep", name, [each for each in scalars() if sweep.get(each) is not None])
    if sweep.get("arms") is not None:
        _check_arms(config)
    if distilled:
        if not distilled.students and sweep.get("arms") is None:
            raise UserError("config.distill.students is empty: name at least one group of students, or "
                            "config.sweep.arms")
        for name, own in distilled.students.items():
            _check_group(f"config.distill.students.{name}", own, distilled)
    _check_twins(config)


def check_values(where: str, name: str, values: Any) -> None:
    """Refuse `values` unless they are a tuple of different values of the scalar `name`.

    Raises:
        UserError: one line that names the field and what it may be.
    """
    scalar, field = scalars().get(name, losses.scalars()["alpha"]), f"{where}.{name}"  # teacher_alpha is an alpha
    if not isinstance(values, (tuple, list)):
        raise UserError(f"{field}={values!r} must be a tuple of different values, such as (1.0, 2.0)")
    if not values:
        raise UserError(f"{field} is empty: name at least one value")
    for value in values:
        check_value(field, scalar, value)
    if len({number(name, value) for value in values}) < len(values):
        raise UserError(f"{field}={tuple(values)} holds a value twice, as float32 has it: members would be copies of "
                        "each other")


def check_value(field: str, scalar: Scalar, value: Any) -> None:
    """Refuse a value that is not a finite number in the scalar's range after rounding to float32.

    Raises:
        UserError: one line that names the field and what it may be.
    """
    is_number = isinstance(value, (int, float, np.number)) and math.isfinite(value)
    if not is_number or (scalar.whole and isinstance(value, bool)):
        raise UserError(f"{field} holds {value!r}: {scalar.what} must be a number in {scalar.range}")
    if scalar.whole and value != int(value):
        raise UserError(f"{field} holds {value}: {scalar.what} must be a whole number")
    with np.errstate(over="ignore"):
        if not scalar.holds(value if scalar.whole else np.float32(value)):
            raise UserError(f"{field} holds {value}: {scalar.what} must lie in {scalar.range}")


def _check_belongs(where, name, named):
    """Refuse a scalar without the one that it belongs to."""
    of = name in scalars() and scalars()[name].of
    if of and of not in named:
        raise UserError(f"{where}.{name} means nothing without {of}: set {of} too")


def _check_arms(config):
    arms = config.sweep.arms
    if not isinstance(arms, (Mapping, ml_collections.ConfigDict)) or not arms:
        raise UserError(f"config.sweep.arms={arms!r} must name settings, such as "
                        "{'plain': {'alpha': 0.0}, 'smoothed': {'alpha': 0.1}}")
    if config.get("distill") and config.distill.students:
        raise UserError("config.sweep.arms and config.distill.students are both given: students are arms, name them in "
                        "either")
    for name in losses.scalars():
        if name != "alpha" and config.sweep.get(name) is not None:
            raise UserError(f"config.sweep.{name} and config.sweep.arms are both given: set {name} in the arms")
    for name, own in arms.items():
        where = f"config.sweep.arms.{name}"
        if "." in name:
            raise UserError(
                f"config.sweep.arms: the name {name!r} has a dot, which a config has between the names of fields: "
                            "write another, such as '5 %' for 0.05")
        if not isinstance(own, (Mapping, ml_collections.ConfigDict)):
            raise UserError(f"{where}={own!r} must be settings, such as {{'alpha': 0.1}}")
        if "seed" in own:
            raise UserError(f"{where}.seed: every arm is trained with all of config.sweep.seed; set the seeds there")
        for field, value in own.items():
            if isinstance(value, (tuple, list)):
                raise UserError(f"{where}.{field}={value!r}: an arm has one value of each scalar; name an arm for each")
        _check_group(where, _as_tuples(own), config.get("distill"))


def _check_group(where, own, distilled):
    known = (*(("teacher", "teacher_alpha") if distilled else ()), "baseline",
             *(name for name in scalars() if distilled or name not in TAUGHT))
    for name, values in own.items():
        if name not in known:
            raise UserError(f"{where} has no field {name!r}{did_you_mean(name, known)}; it may have {', '.join(known)}")
        if name not in NAMES:
            check_values(where, name, values)
            _check_belongs(where, name, own)
    if not distilled:
        return
    if own.get("teacher") is None:
        if extra := [name for name in TAUGHT if name in own]:
            raise UserError(f"{where} has {', '.join(extra)} but no teacher: name one of "
                            f"{', '.join(distilled.teachers)}")
    elif own.get("teacher") not in distilled.teachers:
        raise UserError(f"{where}.teacher={own.get('teacher')!r} is not among config.distill.teachers: "
                        f"{', '.join(distilled.teachers)}")
    if distilled.loss == "logits" and any(name in own for name in UNMATCHED):
        raise UserError(f"{where} has a temperature or a control, which config.distill.loss='logits' makes no use of")


def _check_twins(config):
    """Refuse two arms with equal settings: their seeds would be counted twice."""
    seen: dict[Any, Any] = {}
    for member in unrounded(config):
        key = tuple((name, value) for name, value in effective(member).items() if name not in ("arm", "student"))
        settings = ", ".join(f"{field}={value}" for field, value in member.items() if field != "seed")
        name = member.get("arm", member.get("student")) or settings
        if key in seen:
            raise UserError(f"the arms {seen[key]!r} and {name!r} have equal settings, as float32 has them: leave one "
                            "out")
        seen[key] = name
