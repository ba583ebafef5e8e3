"""Translating lists of sentences, and scoring them."""
import jax
import numpy as np
import pytest
from flax import nnx

from ls_jax import models
from ls_jax.data.text.tokens import END
from ls_jax.models import decoding
from ls_jax.studies import translation

VOCABULARY = 9
NEW = lambda key: models.build("transformer", num_classes=VOCABULARY, rngs=nnx.Rngs(key), layers=1, width=16, feed_forward=24, heads=2)
GRAPHDEF = nnx.graphdef(nnx.eval_shape(lambda: NEW(jax.random.key(0))))


def weights(seed):
    """Of a network with strong opinions, but none on END."""
    params = jax.jit(lambda key: nnx.to_pure_dict(nnx.split(NEW(key), nnx.Param)[1]))(jax.random.key(seed))
    return params | {"embedding": 3 * params["embedding"].at[END].set(0)}


def test_translations_come_in_the_order_of_their_sources(monkeypatch):
    """Several batches of several lengths: each sentence as if it were alone, whatever the weights and the temperature."""
    rng = np.random.default_rng(0)
    sources = [[*rng.integers(2, VOCABULARY, length), END] for length in (3, 17, 1, 9, 20, 0, 5)]
    together = translation.Translator(GRAPHDEF, beams=2, extra=4, batch=3)
    alone = translation.Translator(GRAPHDEF, beams=2, extra=4, batch=1)
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


def test_scores_are_sacrebleus():
    """BLEU from its definition: precisions 5/6, 3/5, 2/4 and 1/3, and a brevity penalty; case matters in one of the two."""
    pytest.importorskip("sacrebleu", reason="scores translations: pip install -e '.[translation]'")
    hypothesis, reference = ["A dog runs on the grass"], ["A dog runs over the grass today"]
    precisions, brevity = (5 / 6, 3 / 5, 1 / 4, 1 / 3 / 2), np.exp(1 - 7 / 6)
    found = translation.scores(hypothesis, reference)
    np.testing.assert_allclose(found["bleu"], 100 * brevity * np.prod(precisions) ** 0.25, rtol=1e-5)
    lower = translation.scores([hypothesis[0].lower()], reference)
    assert lower["bleu"] < found["bleu"] and lower["uncased bleu"] == pytest.approx(found["uncased bleu"])
    assert translation.scores(reference, reference) == pytest.approx(dict.fromkeys(("bleu", "uncased bleu", "chrf"), 100))
    with pytest.raises(ValueError, match="1 translations and 0 references"):
        translation.scores(hypothesis, [])


def test_signatures_tell_what_was_computed():
    sacrebleu = pytest.importorskip("sacrebleu", reason="scores translations: pip install -e '.[translation]'")
    found = translation.signatures()
    assert "case:mixed" in found["bleu"] and "case:lc" in found["uncased bleu"] and "nc:6" in found["chrf"]
    assert all(sacrebleu.__version__ in signature and "nrefs:1" in signature for signature in found.values())
