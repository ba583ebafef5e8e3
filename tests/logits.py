"""Made-up logits and draws with known answers."""

import numpy as np
from hypothesis import strategies as st

CLASSES = np.repeat([0, 1], 300)


def collapsed_draws(views, seed=0, members=()):
    """Two clusters, 300 examples each, that say their class and nothing else; the last view is kept back as a fresh
    draw."""
    draws = np.random.default_rng(seed).normal(size=(*members, 600, views + 1)) + 40.0 * CLASSES[:, None]
    return draws[..., :-1], draws[..., -1]


def softmax(logits):
    exponential = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponential / exponential.sum(axis=-1, keepdims=True)


def sample(examples=3000, classes=10, scale=3.0, factor=1.0, seed=0):
    """Logits whose softmax at temperature `factor` is what the labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(examples, classes))
    cumulative = np.cumsum(softmax(logits), axis=-1)
    labels = np.minimum((cumulative < rng.random((examples, 1))).sum(axis=-1), classes - 1)
    return factor * logits, labels.astype(np.int32)


@st.composite
def adversarial(draw):
    """Logits with ties, saturation, masked classes, infinities and constant rows; few examples or many, float32 or
    float64."""
    examples, classes = draw(st.integers(1, 40)), draw(st.integers(1, 7))
    value = st.sampled_from([0.0, 0.0, 1.0, -2.5, 30.0, 800.0, -1e30, -np.inf, np.inf]) | st.floats(-20, 20, width=32)
    logits = np.array(draw(st.lists(st.lists(value, min_size=classes, max_size=classes), min_size=examples,
                                    max_size=examples)))
    logits[:, 0] = np.where(np.isneginf(logits).all(-1), 0.0, logits[:, 0])
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return logits.astype(dtype), np.array(draw(st.lists(st.integers(0, classes - 1), min_size=examples,
                                                        max_size=examples)))
