"""NLL, Brier, smooth calibration error and selective classification, against definitions."""
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ls_jax.studies import accuracy
from ls_jax.studies.calibration import scores
from ls_jax.studies.common import streaming
from tests.studies.calibration.test_measure import adversarial, sample, softmax


def test_nll_and_brier_are_their_definitions():
    logits, labels = sample(700, factor=1.6)
    probability, onehot = softmax(logits), np.eye(10)[labels]
    assert scores.negative_log_likelihood(logits, labels) == pytest.approx(accuracy.negative_log_likelihood(logits, labels))
    assert scores.brier_score(logits, labels) == pytest.approx(np.sum(np.square(probability - onehot), -1).mean())
    half = scores.brier_score(logits, labels, temperature=2.0)
    assert half == pytest.approx(np.sum(np.square(softmax(logits / 2) - onehot), -1).mean())


def test_small_losses_of_saturated_predictions_keep_their_digits():
    logits = np.array([[20.0, 0.0, 0.0]], np.float32)
    assert scores.negative_log_likelihood(logits, np.array([0])) == pytest.approx(2 * np.exp(-20.0), rel=1e-6)
    assert scores.negative_log_likelihood(np.array([[0.0, -np.inf]]), np.array([1])) == np.inf


@settings(max_examples=60, deadline=None)
@given(adversarial())
def test_brier_parts_add_up(case):
    parts = scores.brier_split(*case)
    assert parts.calibration + parts.refinement + parts.within == pytest.approx(parts.score, abs=1e-9)
    assert 0 <= parts.score <= 2 + 1e-6 and parts.calibration >= 0 and parts.refinement >= -1e-12


def test_brier_split_of_one_probability_per_bin_is_murphys():
    """Two kinds of example with two probabilities: nothing is hidden within bins."""
    logits = np.log(np.repeat([[0.9, 0.1], [0.3, 0.7]], [10, 20], axis=0))
    labels = np.repeat([0, 1, 0, 1], [6, 4, 8, 12])
    parts = scores.brier_split(logits, labels)
    assert parts.within == pytest.approx(0, abs=1e-12)
    assert parts.calibration == pytest.approx(2 * (10 * (0.9 - 0.6) ** 2 + 20 * (0.3 - 0.4) ** 2) / 30)
    assert parts.refinement == pytest.approx(2 * (10 * 0.6 * 0.4 + 20 * 0.4 * 0.6) / 30)


def by_kernel(confidence, correct, width, points=2001):
    """The definition: residuals under a Gaussian that is reflected at 0 and 1, its size integrated."""
    t = np.linspace(0, 1, points)[:, None]
    images = [confidence + 2 * k for k in range(-3, 4)] + [-confidence + 2 * k for k in range(-3, 4)]
    kernel = sum(np.exp(-np.square((t - image) / width) / 2) for image in images) / (width * np.sqrt(2 * np.pi))
    return np.trapezoid(np.abs(kernel @ (confidence - correct)) / len(confidence), t[:, 0])


@pytest.mark.parametrize("factor, examples", [(1.0, 400), (2.5, 400), (0.3, 150), (100.0, 300)])
def test_smooth_error_is_the_fixed_point_of_its_definition(factor, examples):
    of = streaming.top_label(*sample(examples, 4, 2.0, factor))
    width = scores.smooth_error(of.confidence, of.correct)
    assert by_kernel(of.confidence, of.correct, width) == pytest.approx(width, rel=2e-3)


def test_smooth_error_of_simple_cases():
    assert scores.smooth_error(np.full(10, 0.5), np.arange(10) % 2 == 0) < 1e-5  # residuals cancel
    assert scores.smooth_error(np.ones(5), np.ones(5, bool)) < 1e-5
    assert scores.smooth_error(np.ones(5), np.zeros(5, bool)) == pytest.approx(1.0, abs=1e-5)  # all of it, all one way
    assert scores.smooth_error(np.full(8, 0.7), np.arange(8) < 4) == pytest.approx(0.2, abs=1e-3)


def area_by_orders(score, correct):
    """The mean over all orders that sort the scores."""
    orders = [order for order in itertools.permutations(range(len(score))) if all(np.diff(np.array(score)[list(order)]) <= 0)]
    risks = [np.mean(np.cumsum(~correct[list(order)]) / np.arange(1, len(score) + 1)) for order in orders]
    return np.mean(risks)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.booleans()), min_size=1, max_size=6))
def test_risk_coverage_area_is_the_mean_over_the_orders_of_ties(pairs):
    score, correct = np.array([s for s, _ in pairs]), np.array([c for _, c in pairs])
    assert scores.risk_coverage_area(score, correct) == pytest.approx(area_by_orders(score, correct))


def test_normalised_logits_are_those_of_the_paper():
    logits, _ = sample(200)
    centred = logits - logits.mean(-1, keepdims=True)
    for norm, found in zip((1, 2, 5), scores.normalised_logits(logits, (1, 2, 5)).T):
        np.testing.assert_allclose(found, centred.max(-1) / np.linalg.norm(centred, norm, axis=-1))
    np.testing.assert_allclose(scores.normalised_logits(1e200 * logits, (8,)), scores.normalised_logits(logits, (8,)))
    masked = np.concatenate([logits, np.full((200, 2), -np.inf)], axis=1)
    np.testing.assert_allclose(scores.normalised_logits(masked, (3,)), scores.normalised_logits(logits, (3,)))
    unbounded, constant = np.array([[0, np.inf, 5.0]]), np.zeros((1, 3))
    np.testing.assert_allclose(scores.normalised_logits(unbounded, (4,)), scores.normalised_logits(np.array([[0, 1e300, 5.0]]), (4,)))
    assert scores.normalised_logits(constant)[0].tolist() == [0.0] * 10
    with pytest.raises(ValueError, match="norms="):
        scores.normalised_logits(logits, (0.5,))


def test_aurc_ranks_and_the_norm_is_selected_on_another_split():
    logits, labels = sample(3000, 10, 1.0)
    members = np.stack([logits, 3 * logits])
    confidence = scores.aurc(members, labels)
    error = np.mean(logits.argmax(-1) != labels)
    assert np.all(confidence < error)  # better than a random order, whose area is the error rate
    norm = scores.select_norm(members, labels)
    assert norm[0] == norm[1]  # which the scale of the logits does not touch
    areas = [scores.aurc(logits, labels, norm=p) for p in scores.NORMS]
    assert areas[norm[0] - 1] == min(areas)


def test_confidences_that_round_to_1_are_still_ranked():
    """Float32 logits whose confidences are all 1 in float32: the more certain prediction is still the first."""
    logits = np.array([[25.0, 0], [30.0, 0], [20.0, 0]], np.float32)
    assert np.unique(streaming.top_label(logits, np.array([0, 0, 0])).confidence).size == 3
    assert scores.aurc(logits, np.array([0, 0, 1])) == pytest.approx((0 + 0 + 1 / 3) / 3)
