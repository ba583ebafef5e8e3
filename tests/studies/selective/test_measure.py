"""Selective classification, against its definitions."""
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ls_jax.studies import selective
from ls_jax.studies.common import streaming
from tests.logits import sample


def area_by_orders(score, correct):
    """The mean over all orders that sort the scores."""
    orders = [order for order in itertools.permutations(range(len(score))) if all(np.diff(np.array(score)[list(order)]) <= 0)]
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
    np.testing.assert_allclose(selective.normalised_logits(1e200 * logits, (8,)), selective.normalised_logits(logits, (8,)))
    masked = np.concatenate([logits, np.full((200, 2), -np.inf)], axis=1)
    np.testing.assert_allclose(selective.normalised_logits(masked, (3,)), selective.normalised_logits(logits, (3,)))
    unbounded, constant = np.array([[0, np.inf, 5.0]]), np.zeros((1, 3))
    np.testing.assert_allclose(selective.normalised_logits(unbounded, (4,)), selective.normalised_logits(np.array([[0, 1e300, 5.0]]), (4,)))
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
