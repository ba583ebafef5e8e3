"""Sentence pairs as the networks take them: integer arrays of packed rows."""
from typing import NamedTuple

from jaxtyping import Array, Int

PADDING, END = 0, 1  # ids of every vocabulary, as tensor2tensor's; padding also starts each sentence of the decoder


class Tokens(NamedTuple):
    """Rows of one or more sentence pairs, packed one after another; a row is an example.

    Within a row, sentences are told apart by their segment, counted from 1; segment 0 is padding. Positions count from 0 within a
    sentence. `target` is what the decoder reads, shifted right: each sentence begins with PADDING and lacks its END.
    """
    source: Int[Array, "rows source"]
    source_segments: Int[Array, "rows source"]
    source_positions: Int[Array, "rows source"]
    target: Int[Array, "rows target"]
    target_segments: Int[Array, "rows target"]
    target_positions: Int[Array, "rows target"]
