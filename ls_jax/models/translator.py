"""Sentences through a trained Transformer by beam search."""
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from ls_jax.data.text.tokens import PADDING
from ls_jax.models.decoding import beam_search

BUCKET = 32  # sources are padded to multiples of this many tokens, so that few programs are compiled
SMALL = (1, 8)  # batches of fewer sentences are filled up to one of these sizes, for the same reason


class Translator:
    """Translates lists of ids with any weights of one network; weights, temperature and penalty may change freely.

    Args:
        graphdef: the graph definition of a `Transformer`.
        beams: beam width; 1 is greedy.
        extra: the largest number of tokens by which a translation may exceed its source (Vaswani et al. 2017: 50).
        batch: sentences translated together.
    """

    def __init__(self, graphdef: Any, *, beams: int = 4, extra: int = 50, batch: int = 64):
        self.graphdef, self.beams, self.extra, self.batch = graphdef, beams, extra, batch

    def __call__(self, params: Any, sources: Sequence[Sequence[int | np.integer] | np.ndarray], *,
                 length_penalty: float = 0.6, temperature: float = 1.0) -> list[np.ndarray]:
        """The ids of each source's translation, END included where it ended by itself, in the order of the sources.

        Sources end in END. Those of similar lengths are translated together, which changes no result.
        """
        network = nnx.merge(self.graphdef, jax.device_put(params))
        lengths = np.array([len(source) for source in sources], np.int32)
        order, results = np.argsort(-lengths, kind="stable"), [np.zeros(0, np.int32)] * len(sources)
        batch = next((size for size in SMALL if len(sources) <= size < self.batch), self.batch)
        for start in range(0, len(sources), self.batch):
            rows = order[start:start + batch]
            padded = np.full((batch, -(-lengths[rows[0]] // BUCKET) * BUCKET), PADDING, np.int32)
            for row, which in enumerate(rows):
                padded[row, :lengths[which]] = sources[which]
            limits = np.zeros(batch, np.int32)
            limits[:len(rows)] = lengths[rows] + self.extra
            found = beam_search(network, padded, limits, steps=padded.shape[1] + self.extra, beams=self.beams,
                                length_penalty=length_penalty, temperature=temperature)
            for which, ids in zip(rows, found.ids):
                results[which] = np.trim_zeros(ids, "b")
        return results
