"""Named random streams: every draw is a function of (seed, stream, counters), never of a device or of history.

Streams in use: "init", "augment", "dropout", "information". Example order has a host-side stream of its own (`data.order`).
"""
import zlib

import jax
from jaxtyping import Array, Int, Key


def key(seed: Int[Array, ""] | int, stream: str, *counters: Int[Array, ""] | int) -> Key[Array, ""]:
    """The key of a named stream: fold_in of the stream's name and then of each counter into the seed's key.

    `seed` and `counters` may be traced, so members of a sweep and steps of a scan share one program.
    """
    result = jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))
    for counter in counters:
        result = jax.random.fold_in(result, counter)
    return result


def per_example(stream_key: Key[Array, ""], ids: Int[Array, " batch"]) -> Key[Array, " batch"]:
    """One key per example id, so that what is drawn for an example does not depend on its neighbours or shard."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(stream_key, ids)
