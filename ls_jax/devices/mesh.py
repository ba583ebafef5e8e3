"""The device mesh and global arrays: every JAX call that changes between versions is here or in `processes`."""
import math
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
ROWS = P("data")                    # [batch]: example ids that all members are evaluated on
BLOCKS = P(None, "data")            # [blocks, batch]: the same, several batches of them
SHARED = P()                        # the same on every device: the data set


def is_primary() -> bool:
    """Whether this process writes the logs."""
    return jax.process_index() == 0


def make(member: int | None, data: int | None, members: int, batch_size: int, devices: list[Any] | None = None) -> Mesh:
    """The ('member', 'data') mesh; a size left None is chosen: first as many members apart as divide the sweep.

    Of all devices, or of these, which may be a topology's that is not here.

    Raises:
        UserError: where the sizes fit neither the devices, nor the sweep, nor the batch.
    """
    devices = jax.devices() if devices is None else devices
    if member is None:
        member = math.gcd(members, len(devices) // data if data else len(devices))
    if data is None:
        data = len(devices) // member
        while batch_size % data:
            data -= 1
    wanted = member * data
    if wanted > len(devices):
        raise UserError(f"mesh.member={member} x mesh.data={data} needs {wanted} devices, and there are {len(devices)}: lower either")
    if members % member:
        raise UserError(f"mesh.member={member} does not divide the sweep's {members} members: choose a divisor")
    if batch_size % data:
        raise UserError(f"mesh.data={data} does not divide batch_size={batch_size}: choose a batch size that is a multiple of it")
    chosen = devices[:wanted]
    unused = set(range(jax.process_count())) - {device.process_index for device in chosen}
    if unused:
        raise UserError(f"{jax.process_count()} processes, but the mesh member={member} x data={data} uses devices of "
                        f"{jax.process_count() - len(unused)} only: start fewer processes or enlarge the mesh")
    return Mesh(np.asarray(chosen).reshape(member, data), ("member", "data"), axis_types=(AxisType.Auto,) * 2)


def put(mesh: Mesh, spec: P, value: Any) -> Any:
    """A tree of host arrays, equal on every process, as global arrays laid out by `spec`."""
    sharding = NamedSharding(mesh, spec)

    def place(x):
        if jax.process_count() == 1:
            return jax.device_put(np.asarray(x), sharding)
        x = x if hasattr(x, "shape") else np.asarray(x)  # what is like an array is asked for this process's part alone
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(place, value)


def fetch(value: Any) -> Any:
    """A tree of global arrays as NumPy arrays, whole, on every process."""
    if jax.process_count() == 1:
        return jax.device_get(value)
    return jax.tree.map(lambda x: np.asarray(
        x if x.is_fully_replicated else multihost_utils.process_allgather(x, tiled=True)), value)


def in_parts(f: Any, values: np.ndarray) -> np.ndarray:
    """f(values) of an f that gives each value its own result, whatever the others: every process computes its part, and gets all."""
    count = jax.process_count()
    if count == 1:
        return f(values)
    padded = np.concatenate([values, values[:1].repeat(-len(values) % count)])
    own = f(padded[jax.process_index()::count])
    return np.asarray(multihost_utils.process_allgather(own)).T.reshape(-1)[:len(values)]


def anywhere(flags: np.ndarray) -> np.ndarray:
    """Where a flag is set on any process."""
    return flags if jax.process_count() == 1 else np.any(multihost_utils.process_allgather(flags), axis=0)


def map_shards(f: Any, mesh: Mesh, in_specs: Any, out_specs: Any) -> Any:
    """`jax.shard_map` with the check that what is declared equal on all data shards is so; of one shard it is."""
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=reduction_axis(mesh) is not None)


def reduction_axis(mesh: Mesh) -> str | None:
    """The axis to reduce over, None where a batch is one shard: over one device XLA:CPU copies it all, a tenth of an MLP's step."""
    return "data" if mesh.shape["data"] > 1 else None


def varying(value: Any, axis_name: str | tuple[str, ...] | None) -> Any:
    """Inside `map_shards`, a tree of arrays that are equal on all shards, taken as each shard's own: gradients with respect to them
    are then the shard's too, and are summed when the caller asks."""
    return jax.lax.pcast(value, axis_name, to="varying") if axis_name else value


def zeros(shapes: Any) -> Any:
    """Zeros of a tree of `jax.eval_shape`'s results that vary over the same mesh axes, as a loop's carry must."""
    axes = lambda x: tuple(x.manual_axis_type.varying) if x.manual_axis_type else ()
    return jax.tree.map(lambda x: varying(jnp.zeros(x.shape, x.dtype), axes(x)), shapes)
