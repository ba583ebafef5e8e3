"""Metrics as sums and a count, so that they merge over steps, shards and batches without a mean of means."""
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ls_jax import losses

Leaf = Any  # Float[Array, "*members"]; JAX also builds the class of shapes, placements and the like


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums over examples, or for text over tokens.

    Attributes:
        loss: the training loss, against smoothed targets.
        nll: the negative log-likelihood of the labels, in nats.
        correct: how many predictions are right.
        count: how many examples or tokens there are.
        agreed: how many predictions are the teacher's prediction; None in a sweep without teachers.
    """
    loss: Leaf
    nll: Leaf
    correct: Leaf
    count: Leaf
    agreed: Leaf | None = None

    def __add__(self, other: "Sums") -> "Sums":
        return jax.tree.map(jnp.add, self, other)

    def means(self) -> dict[str, Float[Any, "*members"]]:
        """{"loss", "nll", "accuracy"} per example, and "agreement" with a teacher; NaN where nothing was counted."""
        of = {"loss": self.loss, "nll": self.nll, "accuracy": self.correct, "agreement": self.agreed}
        return {name: total / self.count for name, total in of.items() if total is not None}


def zeros(taught: bool = False) -> Sums:
    """Sums of nothing, for one member; `taught`: of a sweep with teachers."""
    zero = jnp.zeros((), jnp.float32)
    return Sums(zero, zero, zero, zero, zero if taught else None)


def sums(loss: Float[Array, "*batch"], logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"],
         mask: Bool[Array, "*batch"] | None = None,
         teacher_logits: Float[Array, "*batch classes"] | None = None) -> Sums:
    """Sums over the entries of a batch where `mask` is set (None: over all); NaN elsewhere does not count."""
    mask = jnp.ones(labels.shape, bool) if mask is None else mask

    def total(values):
        return jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0.0))

    predicted = top(logits)
    nll = losses.cross_entropy(logits, labels, masked=False)
    return Sums(total(loss), total(nll), total(predicted == labels), total(mask),
                None if teacher_logits is None else total(predicted == top(teacher_logits)))


def top(logits: Float[Array, "*batch classes"]) -> Int[Array, "*batch"]:
    """The first class of the largest logit, as argmax, or the number of classes where a logit is NaN.

    It is two reductions, which XLA:CPU vectorizes; it does not vectorize argmax.
    """
    best = jnp.max(logits, axis=-1, keepdims=True)
    classes = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    return jnp.min(jnp.where(logits == best, classes, jnp.int32(logits.shape[-1])), axis=-1)
