"""Losses, one value per example. The smoothing α may be traced, so a sweep over it is one compilation.

Two conventions of label smoothing are in use, and mixing them up shifts α by K/(K-1):

- "uniform" (the paper §1.1, Szegedy et al. 2016, optax): y (1-α) + α/K, the true class included;
- "off_target" (tensor2tensor, fairseq): 1-α on the true class, α/(K-1) on each of the others. With one class there are no
  others, and its target is 1.

What holds for every loss, inside `jit` too:

- logits are floats or integers of any size and computed in float32; labels are integers of any type. Other dtypes are a TypeError;
- a class whose logit is -inf does not exist for that example: sums, means and K run over the other classes, and its gradient is 0.
  An example whose label does not exist has the loss inf and no gradient. `masked=False` leaves this out: a network in training gives
  -inf only where it diverges, which its loss has to show, and its program is then the plain formula's;
- finite logits whose differences are beyond float32's range give the loss where that is within it, and else inf; with `masked=False`
  it may be NaN instead;
- an example whose label is outside [0, K) has the loss NaN (a whole row of NaN in `smooth_labels`), which a run reports as divergence.
"""
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Real

from ls_jax import checked

CONVENTIONS = ("uniform", "off_target")

Logits = Real[Array | np.ndarray, "*batch classes"]
Labels = Integer[Array | np.ndarray, "*batch"]


def smooth_labels(labels: Labels, num_classes: int, alpha: Float[Array, ""] | float,
                  convention: str = "uniform") -> Float[Array, "*batch classes"]:
    """Smoothed targets for integer labels: the paper's y_k (1-α) + α/K, or tensor2tensor's α/(K-1) off the target.

    Raises:
        ValueError: for a convention other than "uniform" and "off_target".
    """
    labels = _class_ids(labels, num_classes)
    on, off = _target_weights(num_classes, alpha, convention)
    targets = jnp.where(jax.nn.one_hot(labels, num_classes, dtype=bool), on, off).astype(jnp.float32)
    return jnp.where((labels == num_classes)[..., None], jnp.nan, targets)


def smoothed_cross_entropy(logits: Logits, labels: Labels, alpha: Float[Array, ""] | float,
                           convention: str = "uniform", *, masked: bool = True) -> Float[Array, "*batch"]:
    """Cross-entropy against smoothed targets, without building them: one log-sum-exp, one gather and one mean.

    Neither shifted by the target's entropy nor rescaled by 1/(1-α), so its floor is the target's entropy. The K of α/K, and of
    α/(K-1), is the number of the example's classes whose logit is not -inf.
    """
    logits = _float32(logits)
    num_classes = logits.shape[-1]
    on, off = _target_weights(num_classes, alpha, convention)
    # Σ_k y_k (lse - z_k), with y = off + (on - off) onehot and Σ_k y_k = 1. Centring by the true class's logit
    # keeps the two terms small where the logits are large.
    centred, unlabelled = _centred(logits, labels)
    if not masked:
        return jax.nn.logsumexp(centred, axis=-1) - off * jnp.sum(centred, axis=-1)
    centred, present = jnp.where(unlabelled[..., None], 0.0, centred), logits != -jnp.inf
    count = jnp.sum(present, axis=-1, dtype=jnp.float32)
    off = alpha / jnp.maximum(count - 1 if convention == "off_target" else count, 1.0)
    # In small units, a power of two for the same digits: the differences, and their sum, may be beyond float32's range.
    unit = 2.0 ** (num_classes.bit_length() + 1)
    small, _ = _centred(logits / unit, labels)
    smoothing = jnp.where(off == 0, 0.0, off * unit * jnp.sum(jnp.where(present & ~unlabelled[..., None], small, 0.0), axis=-1))
    return jnp.where(unlabelled, jnp.inf, jax.nn.logsumexp(centred, axis=-1) - smoothing)


def cross_entropy(logits: Logits, labels: Labels, *, masked: bool = True) -> Float[Array, "*batch"]:
    """Negative log-likelihood of the hard label in nats: what is reported beside every smoothed loss."""
    centred, unlabelled = _centred(_float32(logits), labels)
    if not masked:
        return jax.nn.logsumexp(centred, axis=-1)
    return jnp.where(unlabelled, jnp.inf, jax.nn.logsumexp(jnp.where(unlabelled[..., None], 0.0, centred), axis=-1))


def distillation_loss(logits: Logits, teacher_logits: Logits, labels: Labels, beta: Float[Array, ""] | float,
                      teacher_temperature: Float[Array, ""] | float,
                      temperature: Float[Array, ""] | float = 1.0) -> Float[Array, "*batch"]:
    """(1-β) H(y, p) + β H(pᵗ(Tᵗ), p(T)) per example (the paper §4; no factor T², as it writes none).

    The paper distils on CIFAR-10 with β = 1 and the student's own `temperature` at 1. A class that the student does not have
    (logit -inf) the teacher does not have either.
    """
    logits, teacher_logits = _float32(logits), _float32(teacher_logits)
    teacher = soft_targets(jnp.where(logits == -jnp.inf, -jnp.inf, teacher_logits), labels, teacher_temperature)
    return (1 - beta) * cross_entropy(logits, labels) + beta * soft_cross_entropy(logits, teacher, temperature)


def soft_targets(teacher_logits: Logits, labels: Labels, temperature: Float[Array, ""] | float,
                 control: Float[Array, ""] | float = 0.0, *, masked: bool = True) -> Float[Array, "*batch classes"]:
    """The teacher's probabilities pᵗ(T). With `control` = 1 the label's class keeps its own and the others share the rest equally.

    The control has the same equivalent smoothing γ and says nothing of which wrong classes are alike ("dark knowledge").
    """
    teacher_logits = _float32(teacher_logits)
    num_classes = teacher_logits.shape[-1]
    labels = _class_ids(labels, num_classes)
    _check_shape(labels, teacher_logits)
    soft = jax.nn.softmax(teacher_logits / temperature, axis=-1)
    true = jnp.take_along_axis(soft, labels[..., None], axis=-1)
    is_true = jax.nn.one_hot(labels, num_classes, dtype=bool)
    if not masked:
        return jnp.where(control > 0, jnp.where(is_true, true, (1 - true) / (num_classes - 1)), soft)
    present = teacher_logits != -jnp.inf
    others = jnp.maximum(jnp.sum(present, axis=-1, keepdims=True, dtype=jnp.float32) - 1, 1.0)
    return jnp.where(control > 0, jnp.where(is_true, true, jnp.where(present, (1 - true) / others, 0.0)), soft)


def soft_cross_entropy(logits: Logits, targets: Float[Array | np.ndarray, "*batch classes"],
                       temperature: Float[Array, ""] | float = 1.0, *, masked: bool = True) -> Float[Array, "*batch"]:
    """H(targets, p(T)) per example: summed over the classes (a mean over them would shrink the term K-fold).

    It is inf where a target is above 0 on a class whose logit is -inf.
    """
    logits, targets = _float32(logits), _float32(targets)
    terms = targets * jax.nn.log_softmax(logits / temperature, axis=-1)
    if not masked:
        return -jnp.sum(terms, axis=-1)
    terms = jnp.where(targets == 0, 0.0, terms)  # also where a probability is too small for float32 to have its logarithm
    return -jnp.sum(jnp.where(logits != -jnp.inf, terms, jnp.where(targets > 0, -jnp.inf, 0.0)), axis=-1)


def logit_matching(logits: Logits, teacher_logits: Logits, *, masked: bool = True) -> Float[Array, "*batch"]:
    """½ ||z - zᵗ||² per example, summed over the classes that both have: the paper's term on MNIST (App. A.5).

    It is the limit of K T² H(pᵗ(T), p(T)) for T → ∞, up to a constant, where both have logits of mean zero (Hinton et al. 2015).
    """
    logits, teacher_logits = _float32(logits), _float32(teacher_logits)
    difference = logits - teacher_logits
    if masked:
        difference = jnp.where((logits != -jnp.inf) & (teacher_logits != -jnp.inf), difference, 0.0)
    return 0.5 * jnp.sum(jnp.square(difference), axis=-1)


def _target_weights(num_classes, alpha, convention):
    """The target's weight on the true class and on each other class."""
    if convention == "uniform":
        return 1 - alpha + alpha / num_classes, alpha / num_classes
    if convention == "off_target":
        return (1 - alpha, alpha / (num_classes - 1)) if num_classes > 1 else (1.0, 0.0)
    raise ValueError(f"smoothing convention {convention!r} is unknown: choose 'uniform' (α/K on every class, the paper) "
                     "or 'off_target' (α/(K-1) on the wrong ones, tensor2tensor)")


def _centred(logits, labels):
    """Logits less the true class's, and in which examples there is no true class: its logit is -inf."""
    labels = _class_ids(labels, logits.shape[-1])
    _check_shape(labels, logits)
    true = jnp.take_along_axis(logits, labels[..., None], axis=-1)
    return logits - true, true[..., 0] == -jnp.inf


def _check_shape(labels, logits):
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"labels have shape {labels.shape}, and {logits.shape[:-1]} goes with logits of shape {logits.shape}")


def _float32(array):
    """Any real array in float32."""
    checked.check_unmasked(array, "logits or targets")
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise TypeError(f"logits and targets must be real numbers, not {array.dtype}")
    return jnp.asarray(array.astype(np.float32))


def _class_ids(labels, num_classes):
    """Labels to gather with: those outside [0, num_classes) become num_classes, for which a gather gives NaN."""
    checked.check_unmasked(labels, "labels")
    labels = labels if isinstance(labels, jax.Array) else np.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels have dtype {labels.dtype}: integers are due")
    if isinstance(labels, np.ndarray):  # before JAX cuts them to 32 bits
        return jnp.asarray(np.where((labels >= 0) & (labels < num_classes), labels, num_classes).astype(np.int32))
    labels = labels.astype(jax.dtypes.canonicalize_dtype(np.int64))  # in a small type num_classes might not be itself
    return jnp.where((labels >= 0) & (labels < num_classes), labels, num_classes).astype(jnp.int32)
