"""Named random streams: every draw is a function of (seed, stream, counters), not of devices or earlier draws.

Streams in use: "init", "augment", "flip", "dropout", "information". The examples' order is drawn on the host
(`data.order`).
"""
import zlib

import jax
from jaxtyping import Array, Int, Key, UInt32


def key(seed: Int[Array, ""] | int, stream: str, *counters: Int[Array, ""] | int) -> Key[Array, ""]:
    """The key of a named stream: fold_in of the stream's name and then of each counter into the seed's key.

    `seed` and `counters` may be traced, so that members of a sweep and steps of a scan share one program.
    """
    result = jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))
    for counter in counters:
        result = jax.random.fold_in(result, counter)
    return result


def per_example(stream_key: Key[Array, ""], ids: Int[Array, " batch"]) -> Key[Array, " batch"]:
    """One key per example id, so that an example's draws depend on neither its batch nor its shard."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(stream_key, ids)


def bits(keys: Key[Array, " batch"]) -> UInt32[Array, " batch"]:
    """32 random bits of each key."""
    return jax.vmap(jax.random.bits)(keys)
