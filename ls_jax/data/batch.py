"""A batch of examples, the input of a step."""
from typing import NamedTuple

from jaxtyping import Array, Bool, Int, UInt8

from ls_jax.data.text.tokens import Tokens


class Batch(NamedTuple):
    """One shard of a batch. The random numbers of an example are keyed by its id."""
    inputs: UInt8[Array, "batch height width channels"] | Tokens
    labels: Int[Array, " batch *tokens"]
    ids: Int[Array, " batch"]

    @property
    def counted(self) -> Bool[Array, "batch tokens"] | None:
        """Which labels count: those of text that are no padding. None, for images: all."""
        return self.inputs.target_segments > 0 if isinstance(self.inputs, Tokens) else None
