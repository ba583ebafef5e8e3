"""What a run carries from step to step (State) and what distinguishes the members of a sweep (Hyper)."""
import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from ls_jax.training.metrics import Sums

# The hyper-parameters that vary between members, by name: data, not code, so that a sweep is one compilation. Scalars inside a step,
# float32 or, for "seed" and "teacher", int32; arrays [M] outside. Members of equal seed see the same examples in the same order with
# the same augmentation and start from the same weights, so that differences between arms are paired.
Hyper = dict[str, Array | np.ndarray]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Everything that training changes, complete by type: what is not here is not needed to resume.

    Attributes:
        step: int32, steps taken.
        params: nested dict of float32 arrays.
        stats: nested dict, batch-norm running statistics ({} without batch norm).
        opt: optimizer state (see `optim.transform`).
        ema: nested dict like params, their exponential moving average ({} when switched off); evaluated when present.
        sums: training metrics since the last logged row, so that a resumed run logs what an uninterrupted one does.
        diverged: int32, the step at which the loss stopped being finite, and the member was frozen; -1 while healthy.
    """
    step: Int[Array, "*members"] | Any
    params: Any
    stats: Any
    opt: Any
    ema: Any
    sums: Sums
    diverged: Int[Array, "*members"] | Any
