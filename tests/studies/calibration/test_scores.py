"""NLL, Brier and smooth calibration error, against definitions."""

import numpy as np
import pytest
from hypothesis import given, settings

from ls_jax.studies import accuracy
from ls_jax.studies.calibration import scores
from ls_jax.studies.common import streaming
from tests.logits import adversarial, sample, softmax


def test_nll_and_brier_are_their_definitions():
    logits, labels = sample(700, factor=1.6)
    probability, onehot = softmax(logits), np.eye(10)[labels]
    assert scores.negative_log_likelihood(logits,
                                          labels) == pytest.approx(accuracy.negative_log_likelihood(logits, labels))
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
