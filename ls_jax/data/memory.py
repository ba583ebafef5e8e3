"""Data sets that live on the device: uint8 images or tokens, from which a step gathers its batch by example id."""
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from ls_jax import mesh as meshes
from ls_jax.data import Split, TextSplit
from ls_jax.data.tokens import Tokens
from ls_jax.state import Hyper
from ls_jax.step import Batch


def place(split: Split | TextSplit, mesh: Mesh) -> tuple[Any, Int[Array, " examples *tokens"]]:
    """The split's inputs and labels, whole, on every device of the mesh."""
    return meshes.put(mesh, meshes.SHARED, (split.inputs, split.labels))


def counted(arrays: Any, ids: Int[np.ndarray, " batch"]) -> Bool[np.ndarray, " batch *tokens"]:
    """Which labels of these examples count, on the host: of text those that are no padding."""
    inputs = arrays[0]
    return np.asarray(meshes.fetch(inputs.target_segments))[ids] > 0 if isinstance(inputs, Tokens) else np.ones(len(ids), bool)


def batch(arrays: Any, hyper: Hyper, ids: Int[Array, " batch"], asked: Float[Array, "batch classes"] | None = None) -> Batch:
    """`gather`, with the teacher's logits for a student: those it was asked for, or the kept ones, a third array."""
    inputs, labels, *kept = arrays
    logits = kept[0][hyper.distillation.teacher, ids] if kept else asked
    return gather((inputs, labels), ids)._replace(teacher_logits=logits)


def gather(arrays: Any, ids: Int[Array, " batch"]) -> Batch:
    """The batch of these example ids."""
    return Batch(*jax.tree.map(lambda array: jnp.take(array, ids, axis=0), tuple(arrays)), ids)
