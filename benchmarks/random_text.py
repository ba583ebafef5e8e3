"""Random sentences of the lengths of Multi30k's captions."""
import numpy as np

from ls_jax.data.text.tokens import END


def sentences(rng, count, vocabulary):
    """Random ids one after another, each sentence closed by END, and how many each has: 15 or so, as Multi30k's."""
    lengths = np.clip(rng.normal(15, 5, count).round(), 3, 50).astype(np.int32)
    ids = rng.integers(2, vocabulary, lengths.sum(), dtype=np.int32)
    ids[np.cumsum(lengths) - 1] = END
    return ids, lengths
