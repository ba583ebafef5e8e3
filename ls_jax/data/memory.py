"""What programs see of a data set: uint8 images or tokens that live on the device, from which a step gathers its batch by example
id; or, where pictures are read as they are needed, the batch itself."""
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


def place(split: Split | TextSplit | Pictures, mesh: Mesh) -> tuple[Any, ...]:
    """The split's inputs and labels, whole, on every device of the mesh; of pictures that are read as they are needed, the split."""
    return (split,) if isinstance(split, Pictures) else meshes.put(mesh, meshes.SHARED, (split.inputs, split.labels))


def given(arrays: Any, ids: Int[np.ndarray, "..."], **crops: Any) -> Any:
    """What programs are given of these examples, on the host: their ids, to `gather` with; or a Batch that is read where it is put."""
    if not streamed(arrays):
        return ids
    rows = functools.partial(Rows, arrays[0], ids, **crops)
    return Batch(rows(), rows(labels=True), ids)


def streamed(arrays: Any) -> bool:
    """Whether a split is read as it is needed."""
    return isinstance(arrays[0], Pictures)


def counted(arrays: Any, ids: Int[np.ndarray, " batch"]) -> Bool[np.ndarray, " batch *tokens"]:
    """Which labels of these examples count, on the host: of text those that are no padding."""
    inputs = arrays[0]
    return np.asarray(meshes.fetch(inputs.target_segments))[ids] > 0 if isinstance(inputs, Tokens) else np.ones(len(ids), bool)


def ids(given: Any) -> Int[Array, "..."]:
    """The example ids of what a program is given."""
    return given.ids if isinstance(given, Batch) else given


def gather(arrays: Any, given: Any) -> Batch:
    """The batch of these example ids; a batch as it is."""
    if streamed(arrays):
        return given
    return Batch(*jax.tree.map(lambda array: jnp.take(array, given, axis=0), tuple(arrays)), given)
