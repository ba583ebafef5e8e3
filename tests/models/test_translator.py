"""Translating lists of sentences."""
import jax
import numpy as np
from flax import nnx

from ls_jax import models
from ls_jax.data.text.tokens import END
from ls_jax.models import decoding
from ls_jax.models.translator import Translator

VOCABULARY = 9

NEW = lambda key: models.build("transformer", num_classes=VOCABULARY, rngs=nnx.Rngs(key), layers=1, width=16,
                               feed_forward=24, heads=2)

GRAPHDEF = nnx.graphdef(nnx.eval_shape(lambda: NEW(jax.random.key(0))))


def weights(seed):
    """Of a network with strong opinions, but none on END."""
    params = jax.jit(lambda key: nnx.to_pure_dict(nnx.split(NEW(key), nnx.Param)[1]))(jax.random.key(seed))
    return params | {"embedding": 3 * params["embedding"].at[END].set(0)}


def test_translations_come_in_the_order_of_their_sources(monkeypatch):
    """Several batches of several lengths: each sentence as if it were alone, whatever the weights and the
    temperature."""
    rng = np.random.default_rng(0)
    sources = [[*rng.integers(2, VOCABULARY, length), END] for length in (3, 17, 1, 9, 20, 0, 5)]
    together = Translator(GRAPHDEF, beams=2, extra=4, batch=3)
    alone = Translator(GRAPHDEF, beams=2, extra=4, batch=1)
    for seed, temperature in ((0, 1.0), (1, 0.5)):
        params = weights(seed)
        found = together(params, sources, temperature=temperature)
        assert len({tuple(ids) for ids in found}) > 3
        for source, ids in zip(sources, found):
            np.testing.assert_array_equal(ids, alone(params, [source], temperature=temperature)[0])
            assert len(ids) <= len(source) + 4 and END not in ids[:-1]
    monkeypatch.setattr(decoding, "largest", None)  # it is wanted only where a step is compiled
    together(weights(2), sources[:3], temperature=0.9)
    assert together(params, []) == []
