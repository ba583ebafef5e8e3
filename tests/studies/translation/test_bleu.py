"""Scores of translations."""
import numpy as np
import pytest

from ls_jax.studies.translation import bleu


def test_scores_are_sacrebleus():
    """BLEU from its definition: precisions 5/6, 3/5, 2/4 and 1/3, and a brevity penalty; case matters in one of the two."""
    pytest.importorskip("sacrebleu", reason="scores translations: pip install -e '.[translation]'")
    hypothesis, reference = ["A dog runs on the grass"], ["A dog runs over the grass today"]
    precisions, brevity = (5 / 6, 3 / 5, 1 / 4, 1 / 3 / 2), np.exp(1 - 7 / 6)
    found = bleu.scores(hypothesis, reference)
    np.testing.assert_allclose(found["bleu"], 100 * brevity * np.prod(precisions) ** 0.25, rtol=1e-5)
    lower = bleu.scores([hypothesis[0].lower()], reference)
    assert lower["bleu"] < found["bleu"] and lower["uncased bleu"] == pytest.approx(found["uncased bleu"])
    assert bleu.scores(reference, reference) == pytest.approx(dict.fromkeys(("bleu", "uncased bleu", "chrf"), 100))
    with pytest.raises(ValueError, match="1 translations and 0 references"):
        bleu.scores(hypothesis, [])


def test_signatures_tell_what_was_computed():
    sacrebleu = pytest.importorskip("sacrebleu", reason="scores translations: pip install -e '.[translation]'")
    found = bleu.signatures()
    assert "case:mixed" in found["bleu"] and "case:lc" in found["uncased bleu"] and "nc:6" in found["chrf"]
    assert all(sacrebleu.__version__ in signature and "nrefs:1" in signature for signature in found.values())
