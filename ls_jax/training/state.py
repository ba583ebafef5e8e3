"""The state of training (State) and the hyper-parameters that differ between the members of a sweep (Hyper)."""
import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from ls_jax.training.metrics import Sums

# The hyper-parameters by name: scalars inside a step, arrays [members] outside; int32 for "seed" and "teacher", else
# float32. They are data rather than code, so that a sweep is compiled once. Members of equal seed start from the same
# weights and see the same examples in the same order with the same augmentation: differences between arms are paired.
Hyper = dict[str, Array | np.ndarray]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Everything that training changes, and so everything that is needed to resume.

    Attributes:
        step: int32, steps taken.
        params: nested dict of float32 arrays.
        stats: nested dict, batch-norm running statistics ({} without batch norm).
        opt: optimizer state (see `optim.transform`).
        ema: nested dict like params, their exponential moving average, which is then evaluated; {} when switched off.
        sums: training metrics since the last logged row, so that a resumed run logs the same as an uninterrupted one.
        diverged: int32, the step at which the loss stopped being finite and the member was frozen; -1 before that.
    """
    step: Int[Array, "*members"] | Any
    params: Any
    stats: Any
    opt: Any
    ema: Any
    sums: Sums
    diverged: Int[Array, "*members"] | Any
