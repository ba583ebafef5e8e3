"""What each number of a config may be: one table, which is checked before anything is loaded.

Fields of a model, a data source or a study are declared where they are read (`ls_jax.fields`), those of a sweep in
`ls_jax.training.arms`. Numbers are checked as float32 or int32 has them, since steps compute in these.
"""
from collections.abc import Callable, Mapping
from typing import Any

from ls_jax.errors import UserError
from ls_jax.fields import (
    Check,
    above,
    at_least,
    between,
    boolean,
    choice,
    each_of,
    inside,
    optional,
    several,
    share,
    shown,
    whole,
)

RANGES: Mapping[str, Check] = {
    "steps": whole(1),
    "batch_size": whole(1),
    "micro_batches": whole(1),
    "steps_per_call": optional(whole(1)),
    "mesh.member": optional(whole(1)),
    "mesh.data": optional(whole(1)),
    "data.holdout": whole(0),
    "data.train_examples": optional(whole(1)),
    "data.label_noise": optional(between(0, 1)),
    "data.flip_period": optional(whole(1)),
    "loss.multiplier": above(0),
    "loss.auxiliary": at_least(0),
    "optimizer.boundaries": several(inside(0, 1)),
    "optimizer.factor": at_least(0),
    "optimizer.factor_every": above(0),
    "optimizer.warmup": between(0, 1),
    "optimizer.momentum": between(0, 1),
    "optimizer.second_momentum": between(0, 1),
    "optimizer.epsilon": above(0),
    "optimizer.muon_momentum": between(0, 1),
    "optimizer.muon_iterations": whole(1),
    "optimizer.clip": at_least(0),
    "optimizer.decay_norm": boolean(),
    "optimizer.layer_rates": each_of(at_least(0)),
    "optimizer.layer_shares": each_of(share()),
    "optimizer.ema": between(0, 1),
    "evaluate.split": choice("test", "validation"),
    "evaluate.every": whole(0),
    "evaluate.batch_size": whole(1),
    "evaluate.train_examples": whole(1),
    "evaluate.tokens": whole(1),
    "checkpoint.every": whole(0),
    "checkpoint.keep": whole(1),
    "checkpoint.keep_every": optional(whole(1)),
    "log.every": whole(1),
}


def check(value_of: Callable[[str], Any]) -> None:
    """Refuse a value outside its range.

    Args:
        value_of: gives the value of a field by its dotted name.

    Raises:
        UserError: one line that names the field and what it may be.
    """
    for name, due in RANGES.items():
        value = value_of(name)
        try:
            good = due.holds(value)
        except (TypeError, ValueError, AttributeError):  # a value of another type
            good = False
        if not good:
            raise UserError(f"config.{name}={shown(value)} must {due.must}")
