"""A batch, as a step is given it."""
from typing import NamedTuple

from jaxtyping import Array, Bool, Int, UInt8

from ls_jax.data.text.tokens import Tokens


class Batch(NamedTuple):
    """One shard of a batch; `ids` name the examples, and key what is drawn for them."""
    inputs: UInt8[Array, "batch height width channels"] | Tokens
    labels: Int[Array, " batch *tokens"]
    ids: Int[Array, " batch"]

    @property
    def counted(self) -> Bool[Array, "batch tokens"] | None:
        """Which labels count: of text those that are no padding; None, all of them, of images."""
        return self.inputs.target_segments > 0 if isinstance(self.inputs, Tokens) else None
