"""What a sweep may vary: a number with a name, a range, and a value at which it does nothing."""
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Scalar:
    """A named number that a sweep may vary.

    Attributes:
        off: its value where an arm does not name it. A term is exactly 0 while all of its scalars have theirs. None:
            that of the scalar `of`.
        low, high: its range.
        ends: whether they belong to it: "[" and "]" that they do, "(" and ")" that they do not.
        what: its name in words.
        whole: whether it is a whole number, int32, rather than a float32.
        of: the scalar without which it means nothing, as a margin without its weight. None: it stands alone.
    """
    off: float | int | None
    low: float | int
    high: float | int
    ends: str = "[)"
    what: str = "it"
    whole: bool = False
    of: str | None = None

    def holds(self, value: float | int | np.number) -> bool:
        """Whether a value lies in the range; NaN does not."""
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        return bool(above and (value <= self.high if self.ends[1] == "]" else value < self.high))

    @property
    def range(self) -> str:
        """The range as it is written: "[0, 1)"."""
        return f"{self.ends[0]}{self.low:.10g}, {self.high:.10g}{self.ends[1]}"
