"""Smoothing's term of the loss, α (z_y - mean z), split by whether the prediction is right (Zhou et al. 2025, MaxSup).

With K classes, z_y - mean z = Σ relu(z_y - z_k) / K - Σ relu(z_k - z_y) / K. The first sum, regularisation, lowers the
label's logit towards smaller ones. The second, error amplification, is over the classes above the label: it is 0 where
the prediction is right. Minimising the loss makes it larger.
"""
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Real

from ls_jax import checked
from ls_jax.studies.common import streaming
from ls_jax.studies.common.crossed import Sample


class Terms(NamedTuple):
    """Both parts of z_y - mean z for each example, in logits; classes with the logit -inf do not count."""
    regularisation: Float[np.ndarray, " examples"]  # Σ relu(z_y - z_k) / K
    amplification: Float[np.ndarray, " examples"]   # Σ relu(z_k - z_y) / K
    correct: Bool[np.ndarray, " examples"]


TERMS = {  # quantity: (what is averaged, whether over right or over wrong predictions)
    "label's logit over the mean, right": ("margin", True),
    "label's logit over the mean, wrong": ("margin", False),
    "regularisation, wrong": ("regularisation", False),
    "error amplification": ("amplification", False),
}
RELATIVE = "relative error amplification"  # error amplification over the label's logit over the mean, right


def terms(logits: Real[Any, "examples classes"], labels: Integer[np.ndarray, " examples"]) -> Terms:
    """The terms of one network's logits, which may be on disk: they are read in blocks; float64.

    Raises:
        InvalidArray: the arrays are invalid.
    """
    logits, labels = checked.member(logits, labels)

    def block(rows):
        values = checked.reals(logits[rows]).astype(np.float64)
        top, true = streaming.softmax(values).top, values[np.arange(len(values)), labels[rows]]
        present = ~np.isneginf(values)
        classes = present.sum(axis=1)
        with np.errstate(invalid="ignore"):  # a label's logit of -inf, or two of +inf
            gap = np.where(present, true[:, None] - values, 0.0)
        return Terms(np.maximum(gap, 0).sum(axis=1) / classes, np.maximum(-gap, 0).sum(axis=1) / classes,
                     top == labels[rows])

    return Terms(*map(np.concatenate, zip(*streaming.over_blocks(block, *logits.shape))))


def samples(of: Terms, group: Int[np.ndarray, " examples"], examples: int) -> dict[str, Sample]:
    """{quantity: its value, and how it depends on the examples}; NaN where no prediction is right, or none is wrong.

    Args:
        of: each example's terms.
        group: each example's group, from `crossed.groups`.
        examples: how many examples, or clusters of them, there are.
    """
    values = {"margin": of.regularisation - of.amplification, "regularisation": of.regularisation,
              "amplification": of.amplification}

    def mean(name: str, right: bool) -> np.ndarray:
        """Of all examples, then without each group."""
        chosen = of.correct == right
        total, count = (np.bincount(group, np.where(chosen, each, 0.0)) for each in (values[name], 1.0))
        return (total.sum() - np.concatenate([[0.0], total])) / (count.sum() - np.concatenate([[0.0], count]))

    with np.errstate(invalid="ignore", divide="ignore"):
        found = {name: mean(*each) for name, each in TERMS.items()}
        found[RELATIVE] = found["error amplification"] / found["label's logit over the mean, right"]
    return {name: Sample(float(each[0]), deleted=each[1:] if examples > 1 else None, examples=examples)
            for name, each in found.items()}
