"""Distillation: a teacher's softened predictions, or its logits, as targets."""
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ls_jax.losses.examples import Examples, Labels, Logits, Strength, check_shape, class_ids, float32


def distillation(examples: Examples, strengths: Mapping[str, Strength]) -> Float[Array, "*batch"]:
    """The teacher's term, with weight β (the paper §4): H(pᵗ(Tᵗ), p(T)), or ½||z - zᵗ||² if `match` is "logits".

    A class that the student does not have (logit -inf) the teacher does not have either.
    """
    settings, masked, teacher_logits = examples.settings, examples.masked, examples.teacher_logits
    if settings.match == "logits":
        return logit_matching(examples.logits, teacher_logits, masked=masked)
    if masked:
        teacher_logits = jnp.where(examples.logits == -jnp.inf, -jnp.inf, float32(teacher_logits))
    temperature = strengths["temperature"]
    targets = soft_targets(teacher_logits, examples.labels, temperature, strengths["control"], masked=masked)
    own = temperature if settings.student_temperature is None else settings.student_temperature
    term = soft_cross_entropy(examples.logits, targets, own, masked=masked)
    return jnp.square(temperature) * term if settings.temperature_squared else term


def soft_targets(teacher_logits: Logits, labels: Labels, temperature: Strength,
                 control: Strength = 0.0, *, masked: bool = True) -> Float[Array, "*batch classes"]:
    """The teacher's probabilities pᵗ(T); with `control` = 1 the wrong classes share theirs equally.

    The control has the same equivalent smoothing γ, but not the similarities of classes ("dark knowledge").
    """
    teacher_logits = float32(teacher_logits)
    num_classes = teacher_logits.shape[-1]
    labels = class_ids(labels, num_classes)
    check_shape(labels, teacher_logits)
    soft = jax.nn.softmax(teacher_logits / temperature, axis=-1)
    true = jnp.take_along_axis(soft, labels[..., None], axis=-1)
    is_true = jax.nn.one_hot(labels, num_classes, dtype=bool)
    if not masked:
        return jnp.where(control > 0, jnp.where(is_true, true, (1 - true) / (num_classes - 1)), soft)
    present = teacher_logits != -jnp.inf
    others = jnp.maximum(jnp.sum(present, axis=-1, keepdims=True, dtype=jnp.float32) - 1, 1.0)
    return jnp.where(control > 0, jnp.where(is_true, true, jnp.where(present, (1 - true) / others, 0.0)), soft)


def soft_cross_entropy(logits: Logits, targets: Float[Array | np.ndarray, "*batch classes"],
                       temperature: Strength = 1.0, *, masked: bool = True) -> Float[Array, "*batch"]:
    """H(targets, p(T)) per example: summed over the classes (a mean over them would shrink the term K-fold).

    It is inf where a target is above 0 on a class whose logit is -inf.
    """
    logits, targets = float32(logits), float32(targets)
    terms = targets * jax.nn.log_softmax(logits / temperature, axis=-1)
    if not masked:
        return -jnp.sum(terms, axis=-1)
    # Also where a probability is so small that its logarithm is not finite in float32.
    terms = jnp.where(targets == 0, 0.0, terms)
    return -jnp.sum(jnp.where(logits != -jnp.inf, terms, jnp.where(targets > 0, -jnp.inf, 0.0)), axis=-1)


def logit_matching(logits: Logits, teacher_logits: Logits, *, masked: bool = True) -> Float[Array, "*batch"]:
    """½ ||z - zᵗ||² per example, summed over the classes that both have: the paper's term on MNIST (App. A.5).

    For logits of mean zero it is, up to a constant, the limit of K T² H(pᵗ(T), p(T)) for T → ∞ (Hinton et al. 2015).
    """
    logits, teacher_logits = float32(logits), float32(teacher_logits)
    difference = logits - teacher_logits
    if masked:
        difference = jnp.where((logits != -jnp.inf) & (teacher_logits != -jnp.inf), difference, 0.0)
    return 0.5 * jnp.sum(jnp.square(difference), axis=-1)
