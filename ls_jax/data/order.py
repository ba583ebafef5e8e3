"""The order of the examples: which example ids belong to (seed, step). It also pads the batches of an evaluation.

The stream of a seed is one permutation of all examples after another; none is dropped. Step s of batch size B reads
positions s*B to (s+1)*B of it. The host computes it from (seed, epoch) alone, so any step can be computed at any time,
and all processes and members of one seed get the same ids.
"""
import functools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int32

STREAM = 0x0DE2  # sets the order of examples apart from any other use of the same seed


def ids(num_examples: int, batch_size: int, seed: int, step: int) -> Int32[np.ndarray, " batch"]:
    """The example ids of one step (from 0). A batch may be larger than the data set; it then spans epochs."""
    return _read(num_examples, seed, int(step) * batch_size, batch_size)


def block(num_examples: int, batch_size: int, seeds: Sequence[int] | Int32[np.ndarray, " members"], step: int,
          steps: int) -> Int32[np.ndarray, "members steps batch"]:
    """The example ids of `steps` steps from `step` on, for each member's seed."""
    rows = [_read(num_examples, int(seed), int(step) * batch_size, steps * batch_size) for seed in seeds]
    return np.stack(rows).reshape(len(seeds), steps, batch_size)


def padded(num_examples: int,
           batch_size: int) -> Iterator[tuple[Int32[np.ndarray, " batch"], Bool[np.ndarray, " batch"]]]:
    """Batches (ids, mask). Where mask is True they hold each id once, in order; the last batch is padded with id 0."""
    for start in range(0, num_examples, batch_size):
        positions = np.arange(start, start + batch_size)
        mask = positions < num_examples
        yield np.where(mask, positions, 0).astype(np.int32), mask


def _read(num_examples: int, seed: int, start: int, count: int) -> Int32[np.ndarray, " count"]:
    """Positions start to start + count of the seed's stream."""
    if num_examples < 1:
        raise ValueError("there are no examples to order: the training split is empty")
    result = np.empty(count, np.int32)
    filled = 0
    while filled < count:
        epoch, offset = divmod(start + filled, num_examples)
        part = _permutation(num_examples, int(seed), epoch)[offset:offset + count - filled]
        result[filled:filled + len(part)] = part
        filled += len(part)
    return result


@functools.lru_cache(maxsize=32)
def _permutation(num_examples: int, seed: int, epoch: int) -> Int32[np.ndarray, " examples"]:
    if seed < 0:
        raise ValueError(f"seed {seed} is negative; seeds are 0, 1, 2, ...")
    result = np.random.default_rng([STREAM, seed, epoch]).permutation(np.arange(num_examples, dtype=np.int32))
    result.flags.writeable = False
    return result
