"""How the members of a sweep are laid over devices, and programs of one member run for all.

A sweep's arrays have a leading member axis [M, ...]. While it runs they are held as a list of `slots`, each [W, ...] with
W sharded over the mesh's 'member' axis; the programs of the slots run one after another. How many slots there are is the
strategy (`config.members`), chosen by measurement because a vmapped convolution is a grouped convolution:

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

from ls_jax.devices import mesh as meshes

STRATEGIES = ("unroll", "vmap", "map")


@dataclasses.dataclass(frozen=True)
class Layout:
    """M members on a mesh: slot s holds the s-th of each device's consecutive members, so no data moves to split or join."""
    mesh: Mesh
    members: int
    strategy: str

    @property
    def width(self) -> int:
        """Members per slot."""
        return self.mesh.shape["member"] if self.strategy == "unroll" else self.members

    @property
    def slots(self) -> int:
        """Programs run one after another for each step of the sweep."""
        return self.members // self.width

    def member_ids(self) -> np.ndarray:
        """[slots, width]: which member lies where."""
        return np.arange(self.members).reshape(self.width, self.slots).T

    def split(self, tree: Any) -> list[Any]:
        """[M, ...] to a list of slots [W, ...]."""
        return list(self._split(tree))

    def join(self, slots: list[Any]) -> Any:
        """A list of slots [W, ...] to [M, ...]."""
        return self._join(tuple(slots))

    @functools.cached_property
    def _split(self):
        slot = lambda x, s: x.reshape(self.width, self.slots, *x.shape[1:])[:, s]
        return self._jit(lambda tree: tuple(jax.tree.map(lambda x: slot(x, s), tree) for s in range(self.slots)))

    @functools.cached_property
    def _join(self):
        whole = lambda *xs: jnp.stack(xs, axis=1).reshape(self.members, *xs[0].shape[1:])
        return self._jit(lambda slots: jax.tree.map(whole, *slots))

    def _jit(self, f):
        return jax.jit(f, out_shardings=NamedSharding(self.mesh, meshes.MEMBER))


def over_mesh(f: Callable, layout: Layout, in_specs: tuple[P, ...], out_specs: Any, donate: tuple[int, ...] = ()) -> "SweepProgram":
    """Run `f`, written for one member on one shard, for a whole sweep: the only place that adds the two axes.

    Arguments whose spec names 'member' are lists of slots, the others are plain; any may be None. `donate`d ones are consumed.
    """
    axes = tuple(0 if "member" in tuple(spec) else None for spec in in_specs)
    jitted = jax.jit(meshes.map_shards(_members(f, axes, layout.strategy), layout.mesh, in_specs, out_specs), donate_argnums=donate)
    return SweepProgram(jitted, axes, layout.slots, in_turn=jax.default_backend() == "cpu" and layout.mesh.size > 1)


@dataclasses.dataclass(frozen=True)
class SweepProgram:
    """A function of one member on one shard, compiled for a whole sweep; see `over_mesh`.

    Attributes:
        jitted: what runs for one slot.
        axes: of each argument 0 where it is a list of slots, None where it is the same for all.
        slots: how many there are.
        in_turn: whether to wait for each: on a CPU, programs in flight together take each other's threads, and their collectives wait
            for ever.
    """
    jitted: Any
    axes: tuple[int | None, ...]
    slots: int
    in_turn: bool

    def __call__(self, *arguments: Any) -> list[Any]:
        """The results of all slots."""
        of = lambda slot: (argument if axis is None or argument is None else argument[slot] for argument, axis in zip(arguments, self.axes))
        return [self.one_slot(*of(slot)) for slot in range(self.slots)]

    def one_slot(self, *arguments: Any) -> Any:
        """The result of one slot, of whose arguments none is a list."""
        result = self.jitted(*arguments)
        return jax.block_until_ready(result) if self.in_turn else result

    def lower(self, *arguments: Any) -> Any:
        """`jax.jit`'s lowering of what runs for one slot."""
        return self.jitted.lower(*arguments)


def _members(f: Callable, axes: tuple[int | None, ...], strategy: str) -> Callable:
    """Add the local member axis to `f`."""
    if strategy == "vmap":
        return jax.vmap(f, in_axes=axes)
    pick = lambda arguments, m: tuple(a if axis is None else jax.tree.map(lambda x: x[m], a)
                                      for a, axis in zip(arguments, axes))

    def one(*arguments):
        return jax.tree.map(lambda x: x[None], f(*pick(arguments, 0)))

    def looped(*arguments):
        count = next(jax.tree.leaves(a)[0].shape[0] for a, axis in zip(arguments, axes) if axis == 0)
        return lax.map(lambda m: f(*pick(arguments, m)), jnp.arange(count))

    return one if strategy == "unroll" else looped
