"""Metrics as sums and a count: they merge over steps, shards and batches without a mean of means."""
import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ls_jax import losses


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums over examples, of text over tokens: `loss` is the (smoothed) training loss, `nll` the hard-label negative log-likelihood."""
    loss: Float[Array, "*members"]
    nll: Float[Array, "*members"]
    correct: Float[Array, "*members"]
    count: Float[Array, "*members"]

    def __add__(self, other: "Sums") -> "Sums":
        return jax.tree.map(jnp.add, self, other)

    def means(self) -> dict[str, Float[Array, "*members"]]:
        """{"loss", "nll", "accuracy"} per example; NaN where nothing was counted."""
        return {"loss": self.loss / self.count, "nll": self.nll / self.count, "accuracy": self.correct / self.count}


def zeros() -> Sums:
    """Nothing counted yet."""
    return Sums(*(jnp.zeros((), jnp.float32) for _ in range(4)))


def sums(loss: Float[Array, "*batch"], logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"],
         mask: Bool[Array, "*batch"] | None = None) -> Sums:
    """Sums over a batch of examples or of rows of tokens, what is masked left out even where it holds NaN."""
    mask = jnp.ones(labels.shape, bool) if mask is None else mask
    keep = lambda values: jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0.0))
    correct = top(logits) == labels
    return Sums(keep(loss), keep(losses.cross_entropy(logits, labels, masked=False)), keep(correct), keep(mask))


def top(logits: Float[Array, "*batch classes"]) -> Int[Array, "*batch"]:
    """The first class of the largest logit, as argmax has it, or K where one is NaN: by two reductions that XLA:CPU vectorizes."""
    best = jnp.max(logits, axis=-1, keepdims=True)
    classes = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    return jnp.min(jnp.where(logits == best, classes, jnp.int32(logits.shape[-1])), axis=-1)
