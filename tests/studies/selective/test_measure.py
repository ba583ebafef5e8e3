"""Selective classification, against its definitions."""
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ls_jax.studies import selective
from ls_jax.studies.common import streaming
from ls_jax.studies.selective import measure
from tests.logits import sample


def area_by_orders(score, correct):
    """The mean over all orders that sort the scores."""
    orders = [
        order for order in itertools.permutations(range(len(score))) if all(np.diff(np.array(score)[list(order)]) <= 0)
    ]
    risks = [np.mean(np.cumsum(~correct[list(order)]) / np.arange(1, len(score) + 1)) for order in orders]
    return np.mean(risks)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.booleans()), min_size=1, max_size=6))
def test_risk_coverage_area_is_the_mean_over_the_orders_of_ties(pairs):
    score, correct = np.array([s for s, _ in pairs]), np.array([c for _, c in pairs])
    assert selective.risk_coverage_area(score, correct) == pytest.approx(area_by_orders(score, correct))


def test_normalised_logits_are_those_of_the_paper():
    logits, _ = sample(200)
    centred = logits - logits.mean(-1, keepdims=True)
    for norm, found in zip((1, 2, 5), selective.normalised_logits(logits, (1, 2, 5)).T):
        np.testing.assert_allclose(found, centred.max(-1) / np.linalg.norm(centred, norm, axis=-1))
    np.testing.assert_allclose(selective.normalised_logits(1e200 * logits, (8,)),
                               selective.normalised_logits(logits, (8,)))
    masked = np.concatenate([logits, np.full((200, 2), -np.inf)], axis=1)
    np.testing.assert_allclose(selective.normalised_logits(masked, (3,)), selective.normalised_logits(logits, (3,)))
    unbounded, constant = np.array([[0, np.inf, 5.0]]), np.zeros((1, 3))
    np.testing.assert_allclose(selective.normalised_logits(unbounded, (4,)),
                               selective.normalised_logits(np.array([[0, 1e300, 5.0]]), (4,)))
    assert selective.normalised_logits(constant)[0].tolist() == [0.0] * 10
    with pytest.raises(ValueError, match="norms="):
        selective.normalised_logits(logits, (0.5,))


def test_aurc_ranks_and_the_norm_is_selected_on_another_split():
    logits, labels = sample(3000, 10, 1.0)
    members = np.stack([logits, 3 * logits])
    confidence = selective.aurc(members, labels)
    error = np.mean(logits.argmax(-1) != labels)
    assert np.all(confidence < error)  # better than a random order, whose area is the error rate
    norm = selective.select_norm(members, labels)
    assert norm[0] == norm[1]  # which the scale of the logits does not touch
    areas = [selective.aurc(logits, labels, norm=p) for p in selective.NORMS]
    assert areas[norm[0] - 1] == min(areas)


def test_confidences_that_round_to_1_are_still_ranked():
    """Float32 logits whose confidences are all 1 in float32: the more certain prediction is still the first."""
    logits = np.array([[25.0, 0], [30.0, 0], [20.0, 0]], np.float32)
    assert np.unique(streaming.top_label(logits, np.array([0, 0, 0])).confidence).size == 3
    assert selective.aurc(logits, np.array([0, 0, 1])) == pytest.approx((0 + 0 + 1 / 3) / 3)


@pytest.mark.parametrize("decimals", [1, 12])
def test_areas_without_groups_are_those_of_the_remaining_examples(decimals):
    """Also with equal scores."""
    rng = np.random.default_rng(0)
    score = rng.random(300).round(decimals)
    correct, group = rng.random(300) < score, rng.integers(0, 5, 300)
    whole, deleted = selective.risk_coverage_area_without_groups(score, correct, group)
    assert whole == pytest.approx(selective.risk_coverage_area(score, correct))
    assert list(deleted) == pytest.approx([selective.risk_coverage_area(score[group != each], correct[group != each])
                                           for each in range(5)])


def traub(score, correct):
    """AUGRC from its definition in words: the AUROC of the score for correctness, and the error rate e."""
    right, wrong = score[correct], score[~correct]
    e = len(wrong) / len(score)
    if not len(right) or not len(wrong):
        return e**2 / 2
    auroc = np.mean(right[:, None] > wrong) + 0.5 * np.mean(right[:, None] == wrong)
    return e**2 / 2 + (1 - auroc) * e * (1 - e)


def by_thresholds(score, correct):
    """AUGRC by the trapezoidal rule over the thresholds, as in fd-shifts."""
    thresholds = [np.inf, *sorted(set(score), reverse=True)]
    coverage = [np.mean(score >= threshold) for threshold in thresholds]
    return np.trapezoid([np.mean((score >= threshold) & ~correct) for threshold in thresholds], coverage)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.9]), st.booleans()), min_size=1, max_size=30))
def test_generalised_area_is_that_of_its_two_definitions(pairs):
    score, correct = np.array([s for s, _ in pairs]), np.array([c for _, c in pairs])
    area = measure.generalised_area(measure.ranked_errors(score, correct))
    assert area == pytest.approx(traub(score, correct)) and area == pytest.approx(by_thresholds(score, correct))


def test_working_points_are_those_of_every_coverage_tried():
    """As torch-uncertainty has them: the error rate of the first ceil(0.8 N), the largest coverage with at most 5 %
    errors."""
    rng = np.random.default_rng(0)
    for examples in (1, 5, 35, 400):
        score = rng.permutation(examples) / examples
        correct = rng.random(examples) < 0.7 + 0.3 * score
        ordered = ~correct[np.argsort(-score)]
        rates = [np.mean(ordered[:k]) for k in range(1, examples + 1)]
        found = measure.of_errors(measure.ranked_errors(score, correct))
        assert found.risk_at_80_coverage == pytest.approx(rates[-(-4 * examples // 5) - 1])
        assert found.coverage_at_5_risk == max([k / examples for k in range(1, examples + 1) if rates[k - 1] <= 0.05],
                                               default=0)
        assert found.aurc == pytest.approx(np.mean(rates))
    assert measure.coverage_at(np.array([1.0, 0, 0])) == 0  # the most certain one is wrong: no coverage has 5 %
    assert measure.coverage_at(np.zeros(3)) == 1


def test_all_measures_of_members():
    logits, labels = sample(300, 4)
    found = selective.selective(np.stack([logits, -logits]), labels)
    assert found.aurc.shape == (2,) and found.aurc[0] == selective.aurc(logits, labels)
    assert found.augrc[0] < found.augrc[1]
    assert selective.selective(logits, labels, norm=2).aurc == selective.aurc(logits, labels, norm=2)
