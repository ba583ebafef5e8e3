"""Smoothing's term of the loss on right and wrong predictions, against its definition and the loss that a run uses."""
import dataclasses
from unittest import mock

import numpy as np
import pytest

from ls_jax import losses
from ls_jax.studies import amplification
from ls_jax.studies.amplification import claims, measure, section
from ls_jax.studies.amplification import records as amplification_records
from ls_jax.studies.common import crossed, records
from ls_jax.studies.common.shown import Shown
from tests.logits import sample

N, SEEDS = 600, (0, 1, 2)


def network(alpha, seed):
    """Logits and labels; with smoothing, the logits of wrong predictions are twice as large as they were."""
    logits, labels = sample(N, 5, 2.0)
    logits = logits + 0.2 * np.random.default_rng(seed).normal(size=logits.shape)
    wrong = logits.argmax(-1) != labels
    return np.where(wrong[:, None] & (alpha > 0), 2 * logits, logits), labels


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    where = tmp_path_factory.mktemp("records")
    records.write(where, amplification_records.run([
        ("test", {"alpha": alpha, "seed": seed}, amplification_records.measure(*network(alpha, seed)))
        for alpha in (0.0, 0.1) for seed in SEEDS]))
    return records.read(where)


def test_the_terms_sum_to_what_smoothing_adds_to_the_loss():
    logits, labels = sample(200, 7, 2.0)
    of = amplification.terms(logits, labels)
    alpha = 0.1
    added = losses.smoothed_cross_entropy(logits, labels, alpha) - losses.smoothed_cross_entropy(logits, labels, 0.0)
    np.testing.assert_allclose(alpha * (of.regularisation - of.amplification), added, atol=1e-5)
    true = logits[np.arange(200), labels]
    for k in range(200):  # by the definition, example by example
        above = [z - true[k] for z in logits[k] if z > true[k]]
        assert of.amplification[k] == pytest.approx(sum(above) / 7)
    assert np.array_equal(of.amplification == 0, of.correct)


def test_masked_classes_do_not_count():
    logits, labels = sample(50, 4)
    masked = np.concatenate([logits, np.full((50, 3), -np.inf)], axis=1)
    for one, other in zip(amplification.terms(masked, labels), amplification.terms(logits, labels)):
        np.testing.assert_array_equal(one, other)


def test_values_and_values_without_groups():
    logits, labels = network(0.0, 0)
    of, group = amplification.terms(logits, labels), crossed.groups(np.arange(N))
    found = measure.samples(of, group, N)
    true = logits[np.arange(N), labels] - logits.mean(-1)
    wrong = logits.argmax(-1) != labels
    assert found["label's logit over the mean, wrong"].value == pytest.approx(true[wrong].mean())
    assert found["label's logit over the mean, right"].value == pytest.approx(true[~wrong].mean())
    assert found[measure.RELATIVE].value == pytest.approx(of.amplification[wrong].mean() / true[~wrong].mean())
    for left_out in range(crossed.GROUPS):
        kept = group != left_out
        due = of.amplification[wrong & kept].mean() / true[~wrong & kept].mean()
        assert found[measure.RELATIVE].deleted[left_out] == pytest.approx(due)


def test_the_ratio_does_not_depend_on_the_scale(results):
    logits, labels = network(0.1, 1)
    one, other = (amplification_records.measure(scale * logits, labels)[measure.RELATIVE].value for scale in (1, 7))
    assert one == pytest.approx(other)
    record, = records.select(results, quantity=measure.RELATIVE, kind="value", alpha=0.1)
    assert record.by_seed[1] == pytest.approx(one) and record.covers == "seeds and examples"


def test_the_claim(results):
    claim = claims.CLAIMS["smoothing amplifies errors"]
    finding, = claim.check(results)
    assert (finding.verdict, finding.range, finding.alpha) == ("holds", (0.0, None), 0.1)
    less = [dataclasses.replace(record, mean=-record.mean, values=[-value for value in record.values],
                                interval=record.interval and [-end for end in record.interval[::-1]])
            for record in results]
    assert claim.check(less)[0].verdict == "fails" and "not the paper" in claim.place


def test_without_errors_there_is_no_ratio():
    logits, labels = network(0.0, 0)
    measured = [("test", {"alpha": 0.0, "seed": 0}, amplification_records.measure(logits, logits.argmax(-1)))]
    assert [record.quantity for record in amplification_records.run(measured)] == ["label's logit over the mean, right"]


def test_analysis_and_section(results):
    logits, labels = network(0.0, 0)
    found = amplification_records.analyze({"logits": logits, "labels": labels}, [])
    assert {record.quantity for record in found} == {*measure.TERMS, measure.RELATIVE}
    assert all(record.hyper == {} and record.covers == "examples" for record in found)
    html = section.section(mock.Mock(spec=Shown, records=results))
    less, = records.select(results, quantity=measure.RELATIVE, kind="difference")
    assert f"{less.mean:+.4f} [{less.interval[0]:+.4f}, {less.interval[1]:+.4f}]" in html and html.count("<h3>") == 1
    assert section.section(mock.Mock(spec=Shown, records=found)).count("<table") == 1
    assert section.section(mock.Mock(spec=Shown, records=[])).strip() == ""
