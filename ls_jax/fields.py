"""Fields of a config, as the model or the data source that reads them declares them: a default, the meaning, and what a value must be."""
import copy
import dataclasses
import numbers
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_collections
from ml_collections.config_dict import placeholder

from ls_jax.errors import InvalidField, did_you_mean


class Check(NamedTuple):
    """What a value must be."""
    holds: Callable[[Any], bool]
    must: str                           # as in "be at least 1"
    choices: tuple[str, ...] = ()       # to guess from what was meant


@dataclasses.dataclass(frozen=True)
class Field:
    """A field: `Field((1200, 1200), "units of each hidden layer", several(whole(1)))`.

    Args:
        default: its value where none is given; a mapping is a section of fields.
        meaning: in one line.
        check: what a value must be; None: anything.
        kind: the type of its values, of a field that is None unless it is set.
    """
    default: Any
    meaning: str
    check: Check | None = None
    kind: type | None = None

    def initial(self) -> Any:
        """The default as a `ConfigDict` takes it."""
        if self.kind is not None:
            return placeholder(self.kind)
        return ml_collections.ConfigDict(dict(self.default)) if isinstance(self.default, Mapping) else copy.copy(self.default)

    def refuse(self, name: str, value: Any) -> None:
        """Raise InvalidField, which names the field, for a value that it may not have; None is as good as unset where `kind` is given."""
        if self.check is None or (value is None and self.kind is not None):
            return
        try:
            good = self.check.holds(value)
        except (TypeError, ValueError):  # of another type altogether
            good = False
        if not good:
            raise InvalidField(f"{name}={value!r} must {self.check.must}{did_you_mean(str(value), self.check.choices)}")


def whole(low: int) -> Check:
    """A whole number of at least `low`."""
    return Check(lambda value: isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= low,
                 f"be a whole number of at least {low}")


def between(low: float, high: float) -> Check:
    """A number from `low`, included, to `high`, excluded."""
    return Check(lambda value: not isinstance(value, bool) and low <= value < high, f"lie in [{low:g}, {high:g})")


def above(low: float) -> Check:
    """A number above `low`."""
    return Check(lambda value: not isinstance(value, bool) and low < value < float("inf"), f"be above {low:g}")


def share() -> Check:
    """A number above 0 and at most 1."""
    return Check(lambda value: not isinstance(value, bool) and 0 < value <= 1, "be above 0 and at most 1")


def boolean() -> Check:
    """True or False."""
    return Check(lambda value: isinstance(value, bool), "be True or False")


def choice(*names: str) -> Check:
    """One of these names."""
    return Check(lambda value: value in names, f"be one of {', '.join(names)}", names)


def several(each: Check, count: int | None = None) -> Check:
    """A tuple or a list, perhaps of so many, each of which must be so."""
    return Check(lambda value: isinstance(value, tuple | list) and count in (None, len(value)) and all(map(each.holds, value)),
                 f"be a tuple{'' if count is None else f' of {count}'}, each of which must {each.must}")


def optional(check: Check) -> Check:
    """None, or what the check says."""
    return check._replace(holds=lambda value: value is None or check.holds(value), must=f"be None, or {check.must}")


def section(**fields: Check) -> Check:
    """A section with these fields."""
    return Check(lambda value: all(check.holds(value[name]) for name, check in fields.items()),
                 "have " + "; ".join(f"{name} that must {check.must}" for name, check in fields.items()))
