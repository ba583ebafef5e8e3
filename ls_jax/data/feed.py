"""Batches ahead of their use: what the training loop and the evaluation hand to their programs, on the devices."""
import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Int

from ls_jax.data import memory, order
from ls_jax.devices import mesh as meshes
from ls_jax.devices.layout import Layout

AHEAD = 2  # batches that are read, or on the devices, before they are asked for


def training(layout: Layout, arrays: Any, seeds: Any, examples: int, batch_size: int, first: int, last: int,
       steps_at: Callable[[int], int]) -> Iterator[tuple[int, list[Any]]]:
    """(steps, what they are given, as slots) from step `first` to `last`: a function of the seeds and the step alone.

    Args:
        layout: where the members are.
        arrays: the training split, see `memory.place`.
        seeds: int32 [members].
        examples, batch_size: of the split, and of a step.
        steps_at: how many steps are taken at once from a step on.
    """
    def one(step):
        ids = order.block(examples, batch_size, seeds, step, steps_at(step))
        return ids.shape[1], place(layout, arrays, ids, seeds, step)

    def starts():
        step = first
        while step < last:
            yield step
            step += steps_at(step)

    return ahead(one, starts(), AHEAD if memory.streamed(arrays) else 0)


def place(layout: Layout, arrays: Any, ids: Int[np.ndarray, "members steps batch"], seeds: Any = None, step: int = 0) -> list[Any]:
    """What the steps from `step` on are given for these example ids, on the devices, as slots; `seeds` are of random crops."""
    slots, of_seeds = [], {}
    for members in layout.member_ids():
        if memory.streamed(arrays):  # slots of equal seeds share their pictures
            own = tuple(int(seed) for seed in seeds[members])
            if own not in of_seeds:
                of_seeds[own] = meshes.put(layout.mesh, meshes.STEPS, memory.given(arrays, ids[members], seeds=seeds[members], step=step))
            slots.append(of_seeds[own])
        else:
            slots.append(meshes.put(layout.mesh, meshes.STEPS, ids[members]))
    return slots


def evaluation(layout: Layout, arrays: Any, index: Any, batch_size: int) -> Iterator[tuple[Any, Any, Any]]:
    """(what a program is given, rows of `index`, mask) until every example was given once; see `order.padded`."""
    def one(padded):
        rows, mask = padded
        return meshes.put(layout.mesh, meshes.ROWS, memory.given(arrays, index[rows])), rows, mask

    return ahead(one, order.padded(len(index), batch_size), AHEAD if memory.streamed(arrays) else 0)


def ahead(make: Callable[[Any], Any], items: Iterable[Any], count: int) -> Iterator[Any]:
    """`make` of every item in turn, `count` of them begun by another thread before they are asked for."""
    if not count:
        yield from map(make, items)
        return
    begun: collections.deque[Any] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(1, "feed") as thread:
        try:
            for item in items:
                begun.append(thread.submit(make, item))
                if len(begun) > count:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
