"""The inputs of the compiled programs.

A split in memory lives on the devices, as uint8 images or tokens, and a step gathers its batch from it by example id.
Of a streamed split the step's input is the batch itself.
"""
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int

from ls_jax.data import Split, TextSplit
from ls_jax.data.batch import Batch
from ls_jax.data.pictures.stream import Pictures, Rows
from ls_jax.data.text.tokens import Tokens
from ls_jax.devices import mesh as meshes

Placed = tuple[Any, ...]  # (inputs, labels) on the devices, or (Pictures,): see `place`


def place(split: Split | TextSplit | Pictures, mesh: Mesh) -> Placed:
    """(inputs, labels) of the whole split on every device of the mesh; (split,) if it is streamed."""
    return (split,) if isinstance(split, Pictures) else meshes.put(mesh, meshes.SHARED, (split.inputs, split.labels))


def given(arrays: Placed, ids: Int[np.ndarray, "..."], **crops: Any) -> Int[np.ndarray, "..."] | Batch:
    """The step's input: example ids (data in memory, gathered on the device) or a Batch (streamed data).

    Args:
        arrays: the split; see `place`.
        ids: [..., batch].
        crops: seeds and step of random crops; see `Rows`.
    """
    if not streamed(arrays):
        return ids
    rows = functools.partial(Rows, arrays[0], ids, **crops)
    return Batch(rows(), rows(labels=True), ids)


def streamed(arrays: Placed) -> bool:
    """Whether the split is streamed: read as its examples are needed."""
    return isinstance(arrays[0], Pictures)


def counted(arrays: Placed, ids: Int[np.ndarray, " batch"]) -> Bool[np.ndarray, " batch *tokens"]:
    """Which labels of these examples count, on the host: all labels of images; those of text that are no padding."""
    inputs = arrays[0]
    if not isinstance(inputs, Tokens):
        return np.ones(len(ids), bool)
    return np.asarray(meshes.fetch(inputs.target_segments))[ids] > 0


def ids(given: Int[Array, "..."] | Batch) -> Int[Array, "..."]:
    """The example ids in a step's input."""
    return given.ids if isinstance(given, Batch) else given


def gather(arrays: Placed, given: Any) -> Batch:
    """The batch of a step's input: gathered by the example ids, or the Batch itself."""
    if streamed(arrays):
        return given
    return Batch(*jax.tree.map(lambda array: jnp.take(array, given, axis=0), tuple(arrays)), given)
