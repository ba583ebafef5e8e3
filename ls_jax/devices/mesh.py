"""The device mesh and global arrays. JAX calls that change between versions are here or in `processes`."""
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ls_jax.errors import UserError

MEMBER = P("member")                # [members, ...]: states, hyper-parameters
STEPS = P("member", None, "data")   # [members, steps, batch]: the example ids of several steps
OUTPUTS = P("member", "data")       # [members, batch, ...]: predictions
ROWS = P("data")                    # [batch]: example ids on which all members are evaluated
BLOCKS = P(None, "data")            # [blocks, batch]: several batches of them
SHARED = P()                        # the same on every device: the data set


def is_primary() -> bool:
    """Whether this process writes the logs."""
    return jax.process_index() == 0


def make(member: int | None, data: int | None, members: int, batch_size: int,
         devices: list[jax.Device] | None = None) -> Mesh:
    """The ('member', 'data') mesh.

    Args:
        member, data: the sizes of the axes. None: chosen, first 'member' as large as divides the sweep, then 'data'.
        members: how many the sweep has.
        batch_size: examples per step.
        devices: None: all. They may belong to a topology that this machine does not have.

    Raises:
        UserError: the sizes do not fit the devices, the sweep or the batch.
    """
    devices = jax.devices() if devices is None else devices
    if member is None:
        member = math.gcd(members, len(devices) // data if data else len(devices))
    if data is None:
        data = max(1, len(devices) // member)
        while batch_size % data:
            data -= 1
    wanted = member * data
    if wanted > len(devices):
        raise UserError(f"mesh.member={member} x mesh.data={data} needs {wanted} devices, and there are "
                        f"{len(devices)}: lower either")
    if members % member:
        raise UserError(f"mesh.member={member} does not divide the sweep's {members} members: choose a divisor")
    if batch_size % data:
        raise UserError(f"mesh.data={data} does not divide batch_size={batch_size}: choose a batch size that is a "
                        "multiple of it")
    chosen = devices[:wanted]
    unused = set(range(jax.process_count())) - {device.process_index for device in chosen}
    if unused:
        raise UserError(f"{jax.process_count()} processes, but the mesh member={member} x data={data} uses devices of "
                        f"{jax.process_count() - len(unused)} only: start fewer processes or enlarge the mesh")
    return Mesh(np.asarray(chosen).reshape(member, data), ("member", "data"), axis_types=(AxisType.Auto,) * 2)


def put(mesh: Mesh, spec: P, value: Any) -> Any:
    """The tree of host arrays `value`, equal on every process, as global arrays with the sharding `spec`."""
    sharding = NamedSharding(mesh, spec)

    def place(x):
        if jax.process_count() == 1:
            return jax.device_put(np.asarray(x), sharding)
        x = x if hasattr(x, "shape") else np.asarray(x)  # of a lazy array only this process's part is computed
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(place, value)


def fetch(value: Any) -> Any:
    """The tree of global arrays `value` as whole NumPy arrays, on every process."""
    def gather(x):
        return np.asarray(x if x.is_fully_replicated else multihost_utils.process_allgather(x, tiled=True))

    return jax.device_get(value) if jax.process_count() == 1 else jax.tree.map(gather, value)


def in_parts(f: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """f(values) for an elementwise `f`: each process computes its part, and the results are all-gathered."""
    count = jax.process_count()
    if count == 1:
        return f(values)
    padded = np.concatenate([values, values[:1].repeat(-len(values) % count)])
    own = f(padded[jax.process_index()::count])
    return np.asarray(multihost_utils.process_allgather(own)).T.reshape(-1)[:len(values)]


def anywhere(flags: np.ndarray) -> np.ndarray:
    """Element by element, whether a flag is set on any process."""
    return flags if jax.process_count() == 1 else np.any(multihost_utils.process_allgather(flags), axis=0)


def map_shards(f: Callable, mesh: Mesh, in_specs: Any, out_specs: Any) -> Callable:
    """`jax.shard_map`, which with several data shards checks that results declared equal on all of them are so."""
    several_shards = reduction_axis(mesh) is not None
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=several_shards)


def reduction_axis(mesh: Mesh) -> str | None:
    """The axis to reduce over; None if a batch is one shard.

    XLA:CPU copies the operands of a reduction over one device, which would take a tenth of an MLP's step.
    """
    return "data" if mesh.shape["data"] > 1 else None


def varying(value: Any, axis_name: str | tuple[str, ...] | None) -> Any:
    """Inside `map_shards`, arrays that are equal on all shards, marked as varying over the axis.

    Gradients with respect to them are then each shard's own, and the caller sums them.
    """
    return jax.lax.pcast(value, axis_name, to="varying") if axis_name else value


def zeros(shapes: Any) -> Any:
    """Zeros with the shapes, dtypes and varying mesh axes of `shapes`, as a scan's carry needs them.

    Args:
        shapes: a tree that `jax.eval_shape` returned.
    """
    def zeros_like(x):
        axes = tuple(x.manual_axis_type.varying) if x.manual_axis_type else ()
        return varying(jnp.zeros(x.shape, x.dtype), axes)

    return jax.tree.map(zeros_like, shapes)
