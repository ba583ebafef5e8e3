"""Accuracy and negative log-likelihood of the one-hot labels (the paper's Table 2)."""
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Real
from scipy.special import logsumexp

from ls_jax import checked
from ls_jax.errors import InvalidArray
from ls_jax.studies.common.blocks import blocks
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.common.streaming import top_label


def accuracy(logits: Real[np.ndarray, "*batch examples classes"],
             labels: Integer[np.ndarray, " examples"]) -> Float[np.ndarray, "*batch"] | float:
    """The fraction of examples whose largest logit is the label's; of equal logits the first counts.

    Raises:
        InvalidArray: a logit is NaN or +inf, all logits of an example are -inf, or a label is not a class.
    """
    logits = checked.reals(logits)
    top = np.argmax(logits, axis=-1)  # also finds NaN
    _check_bounded(np.take_along_axis(logits, top[..., None], axis=-1))
    return np.mean(top == checked.class_ids(labels, logits.shape[-1]), axis=-1)


def negative_log_likelihood(logits: Real[np.ndarray, "*batch examples classes"],
                            labels: Integer[np.ndarray, " examples"]) -> Float[np.ndarray, "*batch"] | float:
    """Mean negative log-likelihood of the labels in nats, summed in float64; inf where a label's logit is -inf.

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
    """{measure: value, "examples": count} of one member on one split; logits [N, K] may be larger than memory."""
    logits, labels = checked.member(logits, labels)
    totals = dict.fromkeys(MEASURES, 0.0)
    for rows in blocks(*logits.shape):
        for name, f in MEASURES.items():
            totals[name] += float(f(logits[rows], labels[rows])) * len(labels[rows])
    return {**{name: total / len(labels) for name, total in totals.items()}, "examples": len(labels)}


def of_examples(logits: Any, labels: Integer[np.ndarray, " examples"],
                units: Integer[np.ndarray, " examples"] | None = None) -> dict[str, Sample]:
    """Every measure's value of each example of one member, for intervals; logits [N, K] may be more than fits into
    memory.

    `units` are what is drawn anew, such as the sentences that tokens are in; None: the examples.
    """
    of = top_label(logits, labels)
    return {"accuracy": Sample(float(of.correct.mean()), values=of.correct.astype(np.float64),
                               clusters=units, step=1.0),
            "nll": Sample(float(of.nll.mean()), values=of.nll, clusters=units)}
