"""The sweep, which is the unit of work: a grid of hyper-parameters, each combination a member."""
import itertools
from typing import Any

import jax
import ml_collections
import numpy as np

from ls_jax.training import students
from ls_jax.training.state import Hyper

FIELDS = ("alpha", "seed", "learning_rate", "weight_decay")  # of Hyper, and of every run's rows


def grid(config: ml_collections.ConfigDict) -> Hyper:
    """Hyper of NumPy arrays [M]: the product of `config.sweep`'s tuples, the seed varying fastest, or a distillation's students."""
    if config.get("distill"):
        return students.hyper(config)
    names = [name for name in FIELDS if name != "seed"] + ["seed"]
    rows = list(itertools.product(*(tuple(config.sweep[name]) for name in names)))
    columns = dict(zip(names, zip(*rows)))
    return {name: np.asarray(values, np.int32 if name == "seed" else np.float32) for name, values in columns.items()}


def rows(hyper: Hyper) -> list[dict[str, Any]]:
    """One dict of plain numbers per member, for logs and tables: {"alpha": 0.1, "seed": 3, ...}."""
    arrays = {name: np.asarray(hyper[name]) for name in FIELDS}
    return [{name: int(values[m]) if name == "seed" else float(f"{values[m]:.7g}") for name, values in arrays.items()}
            for m in range(len(arrays["seed"]))]


def members(config: ml_collections.ConfigDict) -> list[dict[str, Any]]:
    """`rows` of a config's sweep; a distillation's students also tell their group and how they are taught."""
    return students.rows(config) if config.get("distill") else rows(grid(config))


def take(tree: Any, member: int) -> Any:
    """One member of a tree of arrays [M, ...]."""
    return jax.tree.map(lambda x: x[member], tree)
