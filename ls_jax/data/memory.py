"""Data sets that live on the device: uint8 arrays, from which a step gathers its batch by example id."""
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt8

from ls_jax import mesh as meshes
from ls_jax.data import Split
from ls_jax.state import Hyper
from ls_jax.step import Batch


def place(split: Split, mesh: Mesh) -> tuple[UInt8[Array, "examples height width channels"], Int[Array, " examples"]]:
    """The split's images and labels, whole, on every device of the mesh."""
    return meshes.put(mesh, meshes.SHARED, (split.images, split.labels))


def batch(arrays: Any, hyper: Hyper, ids: Int[Array, " batch"], asked: Float[Array, "batch classes"] | None = None) -> Batch:
    """`gather`, with the teacher's logits for a student: those it was asked for, or the kept ones, a third array."""
    images, labels, *kept = arrays
    logits = kept[0][hyper.distillation.teacher, ids] if kept else asked
    return gather((images, labels), ids)._replace(teacher_logits=logits)


def gather(arrays: Any, ids: Int[Array, " batch"]) -> Batch:
    """The batch of these example ids."""
    images, labels = arrays
    return Batch(jnp.take(images, ids, axis=0), jnp.take(labels, ids, axis=0), ids)
