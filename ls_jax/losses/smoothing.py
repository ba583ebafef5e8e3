"""Label smoothing: the targets, and the term that is the same loss without building them."""
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ls_jax.losses.examples import CONVENTIONS, Examples, Labels, Strength, class_ids


def label_smoothing(examples: Examples, strengths: Mapping[str, Strength]) -> Float[Array, "*batch"]:
    """What smoothed targets add to the loss: -off Σ_k (z_k - z_y), with `off` the weight of each wrong class.

    Σ_k y_k (lse - z_k) with y = off + (on - off) onehot and Σ_k y_k = 1 is cross-entropy and this.
    """
    alpha = strengths["alpha"]
    if not examples.masked:
        off = _target_weights(examples.count, alpha, examples.settings.convention)[1]
        return -(off * examples.sum(examples.centred))
    others = examples.count - 1 if _is_off_target(examples.settings.convention) else examples.count
    off = alpha / jnp.maximum(others, 1.0)
    unit, total = examples.sum_centred_in_units()
    return -jnp.where(off == 0, 0.0, off * unit * total)


def smooth_labels(labels: Labels, num_classes: int, alpha: Strength,
                  convention: str = "uniform") -> Float[Array, "*batch classes"]:
    """Smoothed targets for integer labels: the paper's y_k (1-α) + α/K, or tensor2tensor's α/(K-1) off the target.

    Raises:
        ValueError: for a convention other than "uniform" and "off_target".
    """
    labels = class_ids(labels, num_classes)
    on, off = _target_weights(num_classes, alpha, convention)
    targets = jnp.where(jax.nn.one_hot(labels, num_classes, dtype=bool), on, off).astype(jnp.float32)
    return jnp.where((labels == num_classes)[..., None], jnp.nan, targets)


def _target_weights(num_classes, alpha, convention):
    """The target's weight on the true class and on each other class."""
    if not _is_off_target(convention):
        return 1 - alpha + alpha / num_classes, alpha / num_classes
    return (1 - alpha, alpha / (num_classes - 1)) if num_classes > 1 else (1.0, 0.0)


def _is_off_target(convention):
    if convention not in CONVENTIONS:
        raise ValueError(
            f"smoothing convention {convention!r} is unknown: choose 'uniform' (α/K on every class, the paper) "
                         "or 'off_target' (α/(K-1) on the wrong ones, tensor2tensor)")
    return convention == "off_target"
