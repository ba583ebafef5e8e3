"""The layout of a sweep's members over devices, and programs of one member that run for all.

A sweep's arrays have a leading member axis [members, ...]. While it runs they are a list of `slots`, each [width, ...]
and sharded over the mesh's 'member' axis. The slots' programs run one after another. The strategy (`config.members`)
decides how many slots there are. It is chosen by measurement, because a vmapped convolution is a grouped convolution:

- "unroll": one member per device and slot; one compiled single-member program, called once per slot;
- "vmap", "map": one slot; each device's members are batched, or looped over inside the program.
"""
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Int

from ls_jax.devices import mesh

STRATEGIES = ("unroll", "vmap", "map")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The members of a sweep on a mesh.

    Slot s holds the s-th of each device's consecutive members, so that `split` and `join` move no data between devices.
    """
    mesh: Mesh
    num_members: int
    strategy: str

    @property
    def width(self) -> int:
        """Members per slot."""
        return self.mesh.shape["member"] if self.strategy == "unroll" else self.num_members

    @property
    def slots(self) -> int:
        """Number of programs that run one after another for each step of the sweep."""
        return self.num_members // self.width

    def member_ids(self) -> Int[np.ndarray, "slots width"]:
        """The index of the member at each place of each slot."""
        return np.arange(self.num_members).reshape(self.width, self.slots).T

    def split(self, tree: Any) -> list[Any]:
        """The slots [width, ...] of a tree of arrays [members, ...]."""
        return list(self._split(tree))

    def join(self, slots: list[Any]) -> Any:
        """The tree of arrays [members, ...] of slots [width, ...]."""
        return self._join(tuple(slots))

    @functools.cached_property
    def _split(self):
        def slot(x, s):
            return x.reshape(self.width, self.slots, *x.shape[1:])[:, s]

        def split(tree):
            return tuple(jax.tree.map(functools.partial(slot, s=s), tree) for s in range(self.slots))

        return self._jit(split)

    @functools.cached_property
    def _join(self):
        def join(*xs):
            return jnp.stack(xs, axis=1).reshape(self.num_members, *xs[0].shape[1:])

        return self._jit(lambda slots: jax.tree.map(join, *slots))

    def _jit(self, f):
        return jax.jit(f, out_shardings=NamedSharding(self.mesh, mesh.MEMBER))


def over_mesh(f: Callable, layout: Layout, in_specs: tuple[P, ...], out_specs: Any,
              donate: tuple[int, ...] = ()) -> "SweepProgram":
    """`f`, which is written for one member on one shard, as a program for a whole sweep.

    No other place adds the member and the data axis.

    Args:
        f: a function of trees of arrays.
        layout: of the sweep.
        in_specs: one per argument. If it names 'member' the argument is a list of slots, else one tree; any may be
        None. out_specs: of the result of one slot.
        donate: the indices of the arguments whose memory the result may take.
    """
    axes = tuple(0 if "member" in tuple(spec) else None for spec in in_specs)
    mapped = mesh.map_shards(_over_members(f, axes, layout.strategy), layout.mesh, in_specs, out_specs)
    in_turn = jax.default_backend() == "cpu" and layout.mesh.size > 1
    return SweepProgram(jax.jit(mapped, donate_argnums=donate), axes, layout.slots, in_turn)


@dataclasses.dataclass(frozen=True)
class SweepProgram:
    """A function of one member on one shard, compiled for a whole sweep; see `over_mesh`.

    Attributes:
        jitted: the compiled function of one slot.
        axes: for each argument 0 if it is a list of slots, None if all slots share it.
        slots: the number of slots.
        in_turn: whether to wait for each slot. On a CPU, programs that run at once take each other's threads, and their
            collectives deadlock.
    """
    jitted: jax.stages.Wrapped
    axes: tuple[int | None, ...]
    slots: int
    in_turn: bool

    def __call__(self, *arguments: Any) -> list[Any]:
        """The results of all slots."""
        return [self.one_slot(*self._of_slot(arguments, slot)) for slot in range(self.slots)]

    def _of_slot(self, arguments, slot):
        return (argument if axis is None or argument is None else argument[slot]
                for argument, axis in zip(arguments, self.axes))

    def one_slot(self, *arguments: Any) -> Any:
        """The result of one slot, from the arguments of this slot."""
        result = self.jitted(*arguments)
        return jax.block_until_ready(result) if self.in_turn else result

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """The lowered program of one slot."""
        return self.jitted.lower(*arguments)


def _over_members(f: Callable, axes: tuple[int | None, ...], strategy: str) -> Callable:
    """`f` with the axis of a device's own members on the arguments whose axis is 0, and on the result."""
    if strategy == "vmap":
        return jax.vmap(f, in_axes=axes)

    def of_member(arguments, member):
        return tuple(argument if axis is None else jax.tree.map(lambda x: x[member], argument)
                     for argument, axis in zip(arguments, axes))

    def single(*arguments):
        return jax.tree.map(lambda x: x[None], f(*of_member(arguments, 0)))

    def looped(*arguments):
        count = next(jax.tree.leaves(argument)[0].shape[0] for argument, axis in zip(arguments, axes) if axis == 0)
        return lax.map(lambda member: f(*of_member(arguments, member)), jnp.arange(count))

    return single if strategy == "unroll" else looped
