"""Sentence pairs as the networks read them: integer arrays of packed rows."""
from typing import NamedTuple

from jaxtyping import Array, Int

PADDING, END = 0, 1  # ids in every vocabulary, as in tensor2tensor; PADDING also starts each sentence of the decoder


class Tokens(NamedTuple):
    """Rows of packed sentence pairs; a row is an example.

    Each sentence in a row has a segment number, from 1; segment 0 is padding. Positions count from 0 in each sentence.
    `target` is the decoder's input, shifted right: each sentence begins with PADDING and lacks its END.
    """
    source: Int[Array, "rows source"]
    source_segments: Int[Array, "rows source"]
    source_positions: Int[Array, "rows source"]
    target: Int[Array, "rows target"]
    target_segments: Int[Array, "rows target"]
    target_positions: Int[Array, "rows target"]
