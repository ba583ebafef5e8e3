"""What a run carries from step to step (State) and what distinguishes the members of a sweep (Hyper)."""
import dataclasses
from typing import Any

import jax
from jaxtyping import Array, Float, Int

from ls_jax.training.metrics import Sums


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Distillation:
    """How a student of a distillation is taught; as `Hyper`, scalars inside a step and arrays [M] outside.

    Attributes:
        teacher: int32, index into `students.roster`; -1: none, with β = 0.
        beta: β, the weight of the teacher's term; 1 - β is that of the labels.
        temperature: the teacher's T.
        control: 1.0 for a teacher whose wrong classes are made equally likely, 0.0 for the teacher as it is.
    """
    teacher: Int[Array, "*members"] | Any
    beta: Float[Array, "*members"] | Any
    temperature: Float[Array, "*members"] | Any
    control: Float[Array, "*members"] | Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hyper:
    """Hyper-parameters that vary between members: data, not code, so that a sweep is one compilation.

    Scalars inside a step; arrays [M] outside. Members of equal seed see the same examples in the same order with the
    same augmentation and start from the same weights, so differences between smoothings are paired.
    """
    alpha: Float[Array, "*members"] | Any
    seed: Int[Array, "*members"] | Any
    learning_rate: Float[Array, "*members"] | Any
    weight_decay: Float[Array, "*members"] | Any
    distillation: Distillation | None = None


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
