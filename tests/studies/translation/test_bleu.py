"""Scores of translations."""
import numpy as np
import pytest

from ls_jax.studies.common import crossed
from ls_jax.studies.translation import bleu


def test_scores_are_sacrebleus():
    """BLEU from its definition: precisions 5/6, 3/5, 2/4 and 1/3, and a brevity penalty; case matters in one of the
    two."""
    pytest.importorskip("sacrebleu", reason="scores translations: pip install -e '.[translation]'")
    hypothesis, reference = ["A dog runs on the grass"], ["A dog runs over the grass today"]
    precisions, brevity = (5 / 6, 3 / 5, 1 / 4, 1 / 3 / 2), np.exp(1 - 7 / 6)
    found = bleu.scores(hypothesis, reference)
    np.testing.assert_allclose(found["bleu"], 100 * brevity * np.prod(precisions) ** 0.25, rtol=1e-5)
    lower = bleu.scores([hypothesis[0].lower()], reference)
    assert lower["bleu"] < found["bleu"] and lower["uncased bleu"] == pytest.approx(found["uncased bleu"])
    assert bleu.scores(reference, reference) == pytest.approx(dict.fromkeys(("bleu", "uncased bleu", "chrf"), 100))
    with pytest.raises(ValueError, match="1 translations but 0 references"):
        bleu.scores(hypothesis, [])


def test_bleu_without_each_group_is_sacrebleus_of_the_rest():
    pytest.importorskip("sacrebleu", reason="scores translations: pip install -e '.[translation]'")
    rng, words = np.random.default_rng(0), "A dog runs on the green grass , and a Cat sits .".split()
    references = [" ".join(rng.choice(words, rng.integers(1, 12))) for _ in range(45)]
    hypotheses = [" ".join(word for word in line.split() if rng.random() < 0.9) for line in references]
    found, halves = bleu.measured(hypotheses, references)
    assert {name: sample.value for name, sample in found.items()} == pytest.approx(bleu.scores(hypotheses, references))
    group = crossed.groups(np.arange(45))

    def kept(left_out, lines, half=None):
        return [line for place, line in enumerate(lines) if group[place] != left_out and half in (None, place % 2)]

    for left_out in (0, 7, 19):
        due = bleu.scores(kept(left_out, hypotheses), kept(left_out, references))
        assert found["bleu"].deleted[left_out] == pytest.approx(due["bleu"])
        assert found["uncased bleu"].deleted[left_out] == pytest.approx(due["uncased bleu"])
        for half in (0, 1):
            due = bleu.scores(kept(left_out, hypotheses, half), kept(left_out, references, half))["bleu"]
            assert halves[half].deleted[left_out] == pytest.approx(due)
    assert found["chrf"].deleted is None and found["bleu"].examples == 45
    single, none = bleu.measured(hypotheses[:1], references[:1])
    assert none is None and single["bleu"].deleted is None


def test_signatures_tell_what_was_computed():
    sacrebleu = pytest.importorskip("sacrebleu", reason="scores translations: pip install -e '.[translation]'")
    found = bleu.signatures()
    assert "case:mixed" in found["bleu"] and "case:lc" in found["uncased bleu"] and "nc:6" in found["chrf"]
    assert all(sacrebleu.__version__ in signature and "nrefs:1" in signature for signature in found.values())
