"""Losses, one value per example. The smoothing α may be traced, so a sweep over it is one compilation.

Two conventions of label smoothing are in use, and mixing them up shifts α by K/(K-1):

- "uniform" (the paper §1.1, Szegedy et al. 2016, optax): y (1-α) + α/K, the true class included;
- "off_target" (tensor2tensor, fairseq): 1-α on the true class, α/(K-1) on each of the others.
"""
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

CONVENTIONS = ("uniform", "off_target")


def smooth_labels(labels: Int[Array, "*batch"], num_classes: int, alpha: Float[Array, ""] | float,
                  convention: str = "uniform") -> Float[Array, "*batch classes"]:
    """Smoothed targets for integer labels: the paper's y_k (1-α) + α/K, or tensor2tensor's α/(K-1) off the target.

    Raises:
        ValueError: for a convention other than "uniform" and "off_target".
    """
    on, off = _target_weights(num_classes, alpha, convention)
    return jnp.where(jax.nn.one_hot(labels, num_classes, dtype=bool), on, off).astype(jnp.float32)


def smoothed_cross_entropy(logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"],
                           alpha: Float[Array, ""] | float,
                           convention: str = "uniform") -> Float[Array, "*batch"]:
    """Cross-entropy against smoothed targets, without building them: one log-sum-exp, one gather and one mean.

    Neither shifted by the target's entropy nor rescaled by 1/(1-α), so its floor is the target's entropy.
    """
    num_classes = logits.shape[-1]
    on, off = _target_weights(num_classes, alpha, convention)
    logits = logits.astype(jnp.float32)
    # Σ_k y_k (lse - z_k), with y = off + (on - off) onehot and Σ_k y_k = 1. Centring by the true class's logit
    # keeps the two terms small where the logits are large.
    true = jnp.take_along_axis(logits, labels[..., None], axis=-1)
    centred = logits - true
    return jax.nn.logsumexp(centred, axis=-1) - off * jnp.sum(centred, axis=-1)


def cross_entropy(logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Negative log-likelihood of the hard label in nats: what is reported beside every smoothed loss."""
    logits = logits.astype(jnp.float32)
    true = jnp.take_along_axis(logits, labels[..., None], axis=-1)
    return jax.nn.logsumexp(logits - true, axis=-1)


def distillation_loss(logits: Float[Array, "*batch classes"], teacher_logits: Float[Array, "*batch classes"],
                      labels: Int[Array, "*batch"], beta: Float[Array, ""] | float,
                      teacher_temperature: Float[Array, ""] | float,
                      temperature: Float[Array, ""] | float = 1.0) -> Float[Array, "*batch"]:
    """(1-β) H(y, p) + β H(pᵗ(Tᵗ), p(T)) per example (the paper §4; no factor T², as it writes none).

    The paper distils on CIFAR-10 with β = 1 and the student's own `temperature` at 1.
    """
    teacher = soft_targets(teacher_logits, labels, teacher_temperature)
    return (1 - beta) * cross_entropy(logits, labels) + beta * soft_cross_entropy(logits, teacher, temperature)


def soft_targets(teacher_logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"],
                 temperature: Float[Array, ""] | float, control: Float[Array, ""] | float = 0.0) -> Float[Array, "*batch classes"]:
    """The teacher's probabilities pᵗ(T). With `control` = 1 the label's class keeps its own and the others share the rest equally.

    The control has the same equivalent smoothing γ and says nothing of which wrong classes are alike ("dark knowledge").
    """
    soft = jax.nn.softmax(teacher_logits.astype(jnp.float32) / temperature, axis=-1)
    true = jnp.take_along_axis(soft, labels[..., None], axis=-1)
    is_true = jax.nn.one_hot(labels, soft.shape[-1], dtype=bool)
    return jnp.where(control > 0, jnp.where(is_true, true, (1 - true) / (soft.shape[-1] - 1)), soft)


def soft_cross_entropy(logits: Float[Array, "*batch classes"], targets: Float[Array, "*batch classes"],
                       temperature: Float[Array, ""] | float = 1.0) -> Float[Array, "*batch"]:
    """H(targets, p(T)) per example: summed over the classes (a mean over them would shrink the term K-fold)."""
    return -jnp.sum(targets * jax.nn.log_softmax(logits.astype(jnp.float32) / temperature, axis=-1), axis=-1)


def logit_matching(logits: Float[Array, "*batch classes"], teacher_logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
    """½ ||z - zᵗ||² per example, summed over the classes: the paper's term on MNIST (App. A.5).

    It is the limit of K T² H(pᵗ(T), p(T)) for T → ∞, up to a constant, where both have logits of mean zero (Hinton et al. 2015).
    """
    return 0.5 * jnp.sum(jnp.square(logits.astype(jnp.float32) - teacher_logits.astype(jnp.float32)), axis=-1)


def _target_weights(num_classes, alpha, convention):
    """The target's weight on the true class and on each other class."""
    if convention == "uniform":
        return 1 - alpha + alpha / num_classes, alpha / num_classes
    if convention == "off_target":
        return 1 - alpha, alpha / (num_classes - 1)
    raise ValueError(f"smoothing convention {convention!r} is unknown: choose 'uniform' (α/K on every class, the paper) "
                     "or 'off_target' (α/(K-1) on the wrong ones, tensor2tensor)")
