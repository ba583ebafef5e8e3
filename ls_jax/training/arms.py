"""The arms of a sweep: what `config.sweep` and a distillation's students say, resolved to one dict of named scalars per member.

A sweep is the product of `config.sweep`'s tuples, or its named `arms`, or the groups of students of `config.distill.students`, whose
settings are tuples too. Arms and groups follow one another in the order of their names, and the seed varies fastest.
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
# Of an arm that names its teacher: what it is where the arm does not say. `teacher_alpha` is the smoothing of the teacher's training.
TAUGHT = {"teacher_alpha": 0.0, "temperature": 1.0, "beta": 1.0, "control": False}
UNTAUGHT = {"teacher_alpha": None, "temperature": None, "beta": 0.0, "control": False}
UNMATCHED = ("temperature", "control")  # what a student that matches logits has no use of
BESIDE = ("arms", "baseline")  # fields of `config.sweep` that are no scalars
ALWAYS = ("alpha", *optim.SCALARS, *SEED)  # what every member has: tables and figures name networks by it


def scalars() -> dict[str, Scalar]:
    """Every scalar that a sweep may vary."""
    return losses.scalars() | optim.SCALARS | SEED


def members(config: ml_collections.ConfigDict) -> list[dict[str, Any]]:
    """One dict of plain values per member, for logs and tables: {"alpha": 0.1, "seed": 3, "learning_rate": 0.1, ...}.

    Of named arms also "arm"; of a distillation's students also "student" (the group or arm), "teacher" and "teacher_alpha". What a
    student without a teacher does not have is None. Numbers are those of float32, to 7 digits.
    """
    short = lambda value: float(f"{value:.7g}") if isinstance(value, float) else value
    return [{name: value if isinstance(value, bool) else short(number(name, value)) for name, value in row.items()} for row in rows(config)]


def rows(config: ml_collections.ConfigDict) -> list[dict[str, Any]]:
    """`members`, with the numbers as the config has them."""
    return [row for name, own in groups(config).items() for row in _product(config, name, own)]


def teaching(config: ml_collections.ConfigDict, own: Mapping[str, Any]) -> dict[str, Any]:
    """How an arm is taught where it does not say."""
    defaults = TAUGHT if own.get("teacher") else UNTAUGHT
    return defaults | {"temperature": None} if config.distill.loss == "logits" else defaults


def same(row: Mapping[str, Any], other: Mapping[str, Any], but: tuple[str, ...] = ()) -> bool:
    """Whether two members have equal settings, apart from these and their names."""
    compared = set(row) - {"arm", "student", *but}
    return all(number(name, row[name]) == number(name, other[name]) for name in compared)


def number(name: str, value: Any) -> Any:
    """A setting as a step computes with it: of a scalar a float32 or int32 number; names, and None, as they are."""
    if not isinstance(value, (int, float, np.number)):
        return value
    with np.errstate(over="ignore"):
        return int(value) if name in SEED else float(np.float32(value))


def groups(config: ml_collections.ConfigDict) -> dict[str, dict[str, Any]]:
    """{name: its settings as tuples, but for its teacher and baseline} of arms or groups of students; a plain product is one, named ""."""
    tuples = lambda own: {name: value if name in ("teacher", "baseline") else tuple(value) for name, value in own.items()}
    single = lambda own: {name: value if name in ("teacher", "baseline") else (value,) for name, value in own.items()}
    if config.get("distill") and config.distill.students:
        return {name: tuples(config.distill.students[name]) for name in sorted(config.distill.students)}
    named = config.sweep.get("arms")
    return {name: single(named[name]) for name in sorted(named)} if named else {"": {}}


def _product(config, name, own) -> Iterator[dict[str, Any]]:
    """The members of a group, in the order in which its settings' last varies fastest."""
    arms, distilled = config.sweep.get("arms"), config.get("distill")
    columns, labels = {}, {"arm": name} if arms else {}
    if distilled:
        labels |= {"student": name, "teacher": own.get("teacher")}
        columns = {field: own.get(field, _swept(config, field, own) or (value,)) for field, value in teaching(config, own).items()}
    named = {field for settings in groups(config).values() for field in settings}
    for field, scalar in losses.scalars().items():
        if field not in columns and (_swept(config, field, own) is not None or field in named):
            columns[field] = own.get(field, (scalar.off,) if arms else config.sweep.get(field) or (scalar.off,))
    columns |= {field: own.get(field, config.sweep[field]) for field in (*optim.SCALARS, "seed")}
    order = list(columns)
    if not distilled:  # as rows of metrics.jsonl have it
        order = [field for field in order if field not in optim.SCALARS and field != "seed"] + ["seed", *optim.SCALARS]
    for values in itertools.product(*columns.values()):
        row = dict(zip(columns, values))
        yield labels | {field: row[field] for field in order}


def _swept(config, field, own):
    """The sweep's own tuple of a scalar, if there is one; of a teacher's term for arms that have a teacher."""
    return None if field in TAUGHT and not own.get("teacher") else config.sweep.get(field)


# What is refused.


def check(config: ml_collections.ConfigDict) -> None:
    """What can be wrong with the sweep: unknown names, values that are out of range, members that are equal.

    Raises:
        UserError: one line that names the field and what it may be.
    """
    sweep, distilled = config.sweep, config.get("distill")
    for name in sweep:
        if name not in BESIDE and name not in scalars():
            raise UserError(f"config.sweep has no field {name!r}{did_you_mean(name, scalars())}; it may have {', '.join(scalars())}")
        if name not in BESIDE and (sweep[name] is not None or name in ALWAYS):
            check_values("config.sweep", name, sweep[name])
            if name in TAUGHT and not distilled:
                raise UserError(f"config.sweep.{name} is of students with a teacher: set config.distill, or leave it out")
            if name in UNMATCHED and distilled and distilled.loss == "logits":
                raise UserError(f"config.sweep.{name}: config.distill.loss='logits' makes no use of it")
    if sweep.get("arms") is not None:
        _check_arms(config)
    if distilled:
        if not distilled.students and sweep.get("arms") is None:
            raise UserError("config.distill.students is empty: name at least one group of students, or config.sweep.arms")
        for name, own in distilled.students.items():
            _check_group(f"config.distill.students.{name}", own, distilled)
    _check_twins(config)


def check_values(where: str, name: str, values: Any) -> None:
    """Refuse what is no tuple of different values of a scalar."""
    scalar, field = scalars().get(name, losses.scalars()["alpha"]), f"{where}.{name}"  # a teacher's alpha is one too
    if not isinstance(values, (tuple, list)):
        raise UserError(f"{field}={values!r} must be a tuple of different values, such as (1.0, 2.0)")
    if not values:
        raise UserError(f"{field} is empty: name at least one value")
    for value in values:
        check_value(field, scalar, value)
    if len({number(name, value) for value in values}) < len(values):
        raise UserError(f"{field}={tuple(values)} holds a value twice, as float32 has it: members would be copies of each other")


def check_value(field: str, scalar: Scalar, value: Any) -> None:
    """Refuse what is no value of a scalar, after rounding to float32."""
    if not isinstance(value, (int, float, np.number)) or not math.isfinite(value) or (scalar.whole and isinstance(value, bool)):
        raise UserError(f"{field} holds {value!r}: {scalar.what} must be a number in {scalar.range}")
    if scalar.whole and value != int(value):
        raise UserError(f"{field} holds {value}: {scalar.what} must be a whole number")
    with np.errstate(over="ignore"):
        if not scalar.holds(value if scalar.whole else np.float32(value)):
            raise UserError(f"{field} holds {value}: {scalar.what} must lie in {scalar.range}")


def _check_arms(config):
    arms = config.sweep.arms
    if not isinstance(arms, (Mapping, ml_collections.ConfigDict)) or not arms:
        raise UserError(f"config.sweep.arms={arms!r} must name settings, such as "
                        "{'plain': {'alpha': 0.0}, 'smoothed': {'alpha': 0.1}}")
    if config.get("distill") and config.distill.students:
        raise UserError("config.sweep.arms and config.distill.students are both given: students are arms, name them in either")
    for name in losses.scalars():
        if name != "alpha" and config.sweep.get(name) is not None:
            raise UserError(f"config.sweep.{name} and config.sweep.arms are both given: set {name} in the arms")
    for name, own in arms.items():
        where = f"config.sweep.arms.{name}"
        if not isinstance(own, (Mapping, ml_collections.ConfigDict)):
            raise UserError(f"{where}={own!r} must be settings, such as {{'alpha': 0.1}}")
        if "seed" in own:
            raise UserError(f"{where}.seed: every arm is trained with all of config.sweep.seed; set the seeds there")
        for field, value in own.items():
            if isinstance(value, (tuple, list)):
                raise UserError(f"{where}.{field}={value!r}: an arm has one value of each scalar; name an arm for each")
        _check_group(where, {field: value if field in ("teacher", "baseline") else (value,) for field, value in own.items()},
                     config.get("distill"))


def _check_group(where, own, distilled):
    known = (*(("teacher", "teacher_alpha") if distilled else ()), "baseline",
             *(name for name in scalars() if distilled or name not in TAUGHT))
    for name, values in own.items():
        if name not in known:
            raise UserError(f"{where} has no field {name!r}{did_you_mean(name, known)}; it may have {', '.join(known)}")
        if name not in ("teacher", "baseline"):
            check_values(where, name, values)
    if not distilled:
        return
    if own.get("teacher") is None:
        if extra := [name for name in TAUGHT if name in own]:
            raise UserError(f"{where} has {', '.join(extra)} but no teacher: name one of {', '.join(distilled.teachers)}")
    elif own.get("teacher") not in distilled.teachers:
        raise UserError(f"{where}.teacher={own.get('teacher')!r} is not among config.distill.teachers: {', '.join(distilled.teachers)}")
    if distilled.loss == "logits" and any(name in own for name in UNMATCHED):
        raise UserError(f"{where} has a temperature or a control, which config.distill.loss='logits' makes no use of")


def _check_twins(config):
    """Two arms that are one: their seeds would be counted twice."""
    seen: dict[Any, Any] = {}
    for row in rows(config):
        key = tuple((name, number(name, value)) for name, value in row.items() if name not in ("arm", "student"))
        name = row.get("arm", row.get("student"))
        if key in seen:
            raise UserError(f"the arms {seen[key]!r} and {name!r} have equal settings, as float32 has them: leave one out")
        seen[key] = name
