"""Prefetching: the inputs of the training and evaluation programs, on the devices."""
import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Int

from ls_jax.data import memory, order
from ls_jax.devices import mesh as meshes
from ls_jax.devices.layout import Layout

AHEAD = 2  # batches that are prefetched

Seeds = Int[np.ndarray, " members"]


def training(layout: Layout, arrays: memory.Placed, seeds: Seeds, examples: int, batch_size: int, first: int, last: int,
             steps_at: Callable[[int], int]) -> Iterator[tuple[int, list[Any]]]:
    """(number of steps, their input as slots) from step `first` to `last`: a function of the seeds and the step alone.

    Args:
        layout: of the members on the devices.
        arrays: the training split; see `memory.place`.
        seeds: one for each member.
        examples: the number of examples in the split.
        batch_size: examples per step.
        steps_at: how many steps the program takes in one call, from a given step on.
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


def place(layout: Layout, arrays: memory.Placed, ids: Int[np.ndarray, "members steps batch"],
          seeds: Seeds | None = None, step: int = 0) -> list[Any]:
    """The input of the steps from `step` on, on the devices, as slots; `seeds` are those of random crops."""
    slots, of_seeds = [], {}
    for members in layout.member_ids():
        if memory.streamed(arrays):  # slots of equal seeds share their images
            own = tuple(int(seed) for seed in seeds[members])
            if own not in of_seeds:
                batch = memory.given(arrays, ids[members], seeds=seeds[members], step=step)
                of_seeds[own] = meshes.put(layout.mesh, meshes.STEPS, batch)
            slots.append(of_seeds[own])
        else:
            slots.append(meshes.put(layout.mesh, meshes.STEPS, ids[members]))
    return slots


def evaluation(layout: Layout, arrays: memory.Placed, index: Int[np.ndarray, " examples"],
               batch_size: int) -> Iterator[tuple[Any, Any, Any]]:
    """(the program's input, positions in `index`, mask) until each example was given once; see `order.padded`."""
    def one(padded):
        rows, mask = padded
        return meshes.put(layout.mesh, meshes.ROWS, memory.given(arrays, index[rows])), rows, mask

    return ahead(one, order.padded(len(index), batch_size), AHEAD if memory.streamed(arrays) else 0)


def ahead(make: Callable[[Any], Any], items: Iterable[Any], count: int) -> Iterator[Any]:
    """`make(item)` for each item in order. A thread makes `count` of them ahead; 0: no thread."""
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
