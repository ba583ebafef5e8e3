"""Accuracy and hard-label negative log-likelihood, hard against smoothed (the paper's Table 2)."""
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Real
from scipy.special import logsumexp

from ls_jax import checked
from ls_jax.errors import InvalidArray
from ls_jax.studies.common.blocks import blocks


def accuracy(logits: Real[np.ndarray, "*batch examples classes"],
             labels: Integer[np.ndarray, " examples"]) -> Float[np.ndarray, "*batch"] | float:
    """The share of examples whose largest logit is the label's; the first of equal logits counts.

    Raises:
        InvalidArray: logits hold NaN or +inf, or an example whose classes are all -inf; a label is none of the classes.
    """
    logits = checked.reals(logits)
    top = np.argmax(logits, axis=-1)  # also finds NaN
    _check_bounded(np.take_along_axis(logits, top[..., None], axis=-1))
    return np.mean(top == checked.class_ids(labels, logits.shape[-1]), axis=-1)


def negative_log_likelihood(logits: Real[np.ndarray, "*batch examples classes"],
                            labels: Integer[np.ndarray, " examples"]) -> Float[np.ndarray, "*batch"] | float:
    """Mean negative log-likelihood of the hard labels, in nats, summed in float64; inf where a label's logit is -inf.

    Raises:
        InvalidArray: as `accuracy`.
    """
    logits = checked.doubles(logits, "logits")
    labels = checked.class_ids(labels, logits.shape[-1])
    true = np.take_along_axis(logits, np.broadcast_to(labels, logits.shape[:-1])[..., None], axis=-1)[..., 0]
    with np.errstate(invalid="ignore"):
        total = logsumexp(logits, axis=-1)
    _check_bounded(total)
    return np.mean(total - true, axis=-1)


def _check_bounded(values):
    if not np.isfinite(values).all():
        raise InvalidArray("logits hold NaN or +inf, or an example whose classes are all -inf: mask such examples out")


MEASURES = {"accuracy": accuracy, "nll": negative_log_likelihood}


def measure_all(logits: Any, labels: Integer[np.ndarray, " examples"]) -> dict[str, Any]:
    """Every measure of one member on one split, and the number of examples; logits [N, K] may be more than fits into memory."""
    logits, labels = checked.member(logits, labels)
    totals = dict.fromkeys(MEASURES, 0.0)
    for rows in blocks(*logits.shape):
        for name, f in MEASURES.items():
            totals[name] += float(f(logits[rows], labels[rows])) * len(labels[rows])
    return {**{name: total / len(labels) for name, total in totals.items()}, "examples": len(labels)}
