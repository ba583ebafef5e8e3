"""Declared config fields: a default, a meaning and a check, written beside the model or data source that reads them."""
import copy
import dataclasses
import math
import numbers
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_collections
from ml_collections.config_dict import placeholder

from ls_jax.errors import InvalidField, did_you_mean

FLOAT32_MAX = 3.4028234663852886e38


class Check(NamedTuple):
    """A condition on a value."""
    holds: Callable[[Any], bool]
    must: str                           # the condition in words, as in "be at least 1"
    choices: tuple[str, ...] = ()       # the allowed names, for "did you mean"


@dataclasses.dataclass(frozen=True)
class Field:
    """A field: `Field((1200, 1200), "units of each hidden layer", several(whole(1)))`.

    Args:
        default: its value if none is given. A mapping is a section of fields.
        meaning: in one line.
        check: the condition on its values; None: none.
        kind: the type of its values, for a field whose default is None.
    """
    default: Any
    meaning: str
    check: Check | None = None
    kind: type | None = None

    def initial(self) -> Any:
        """The default in the form that `ConfigDict` needs."""
        if self.kind is not None:
            return placeholder(self.kind)
        if isinstance(self.default, Mapping):
            return ml_collections.ConfigDict(dict(self.default))
        return copy.copy(self.default)

    def refuse(self, name: str, value: Any) -> None:
        """Raise InvalidField, which names the field, for a wrong value. None is allowed if `kind` is given."""
        if self.check is None or (value is None and self.kind is not None):
            return
        try:
            good = self.check.holds(value)
        except (TypeError, ValueError):  # a value of another type
            good = False
        if not good:
            raise InvalidField(f"{name}={shown(value)} must {self.check.must}"
                               f"{did_you_mean(str(value), self.check.choices)}")


def shown(value: Any) -> str:
    """A field's value in a message, which is one line; a section of a config has many."""
    return repr(value.to_dict() if hasattr(value, "to_dict") else value)


def whole(low: int) -> Check:
    """A whole number of at least `low` that int32 holds."""
    def holds(value: Any) -> bool:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and low <= int(value) < 2**31

    return Check(holds, f"be a whole number of at least {low}, below 2^31")


def between(low: float, high: float) -> Check:
    """A number from `low`, included, to `high`, excluded, as float32 has it."""
    return Check(lambda value: low <= _float32(value) < high, f"lie in [{low:g}, {high:g})")


def inside(low: float, high: float) -> Check:
    """A number between `low` and `high`, both excluded, as float32 has it."""
    return Check(lambda value: low < _float32(value) < high, f"be above {low:g} and below {high:g}")


def above(low: float) -> Check:
    """A finite number above `low`, as float32 has it."""
    return Check(lambda value: low < _float32(value) < math.inf, f"be above {low:g}")


def at_least(low: float) -> Check:
    """A finite number of at least `low`, as float32 has it."""
    return Check(lambda value: low <= _float32(value) < math.inf, f"be at least {low:g}")


def share() -> Check:
    """A number above 0 and at most 1, as float32 has it."""
    return Check(lambda value: 0 < _float32(value) <= 1, "be above 0 and at most 1")


def _float32(value):
    """A number as a step computes with it; NaN, which is in no range, for what is no number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or math.isnan(value):
        return math.nan
    if abs(value) > FLOAT32_MAX:
        return math.copysign(math.inf, value)
    return struct.unpack("f", struct.pack("f", value))[0]


def boolean() -> Check:
    """True or False."""
    return Check(lambda value: isinstance(value, bool), "be True or False")


def choice(*names: str) -> Check:
    """One of these names."""
    return Check(lambda value: value in names, f"be one of {', '.join(names)}", names)


def several(each: Check, count: int | None = None) -> Check:
    """A tuple or list whose items hold `each`; of `count` items, unless that is None."""
    def holds(value: Any) -> bool:
        return isinstance(value, tuple | list) and count in (None, len(value)) and all(map(each.holds, value))

    return Check(holds, f"be a tuple{'' if count is None else f' of {count}'}, each of which must {each.must}")


def each_of(check: Check) -> Check:
    """A section whose values all hold `check`."""
    return Check(lambda values: all(map(check.holds, values.values())), f"have values that each {check.must}")


def optional(check: Check) -> Check:
    """None, or a value that holds `check`."""
    return check._replace(holds=lambda value: value is None or check.holds(value), must=f"be None, or {check.must}")


def section(**fields: Check) -> Check:
    """A section whose fields hold these checks."""
    return Check(lambda value: all(check.holds(value[name]) for name, check in fields.items()),
                 "have " + "; ".join(f"{name} that must {check.must}" for name, check in fields.items()))
