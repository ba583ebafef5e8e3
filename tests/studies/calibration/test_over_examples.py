"""Calibration measures without groups of examples, against computing them anew on the examples that remain."""
import numpy as np
import pytest

from ls_jax.studies import calibration
from ls_jax.studies.calibration import over_examples, scores, temperature
from ls_jax.studies.common import crossed, streaming
from tests.logits import sample

EXAMPLES = 1500


@pytest.fixture(scope="module")
def network():
    logits, labels = sample(EXAMPLES, 6, 2.0, 2.0, seed=0)
    logits[5, (labels[5] + 1) % 6] = -np.inf  # a class that does not exist for an example
    return logits, labels


@pytest.fixture(scope="module")
def units():
    return crossed.Units.of(None, EXAMPLES)


@pytest.mark.parametrize("at", [1.0, 2.5])
def test_details_are_those_of_the_functions(network, at):
    found, of = over_examples.details(*network, at), streaming.top_label(*network, at)
    for name in of._fields:
        np.testing.assert_allclose(getattr(found, name), getattr(of, name), rtol=1e-5, atol=1e-6)
    assert found.brier.mean() == pytest.approx(scores.brier_score(*network, at), rel=1e-5)


def test_slopes_are_those_of_a_small_step(network):
    at, step = 1.7, 1e-3
    found, above, below = (over_examples.details(network[0].astype(np.float64), network[1], at * np.exp(each))
                           for each in (0, step, -step))
    np.testing.assert_allclose((np.log(above.confidence) - np.log(below.confidence)) / (2 * step),
                               found.confidence_slope, atol=1e-5)
    np.testing.assert_allclose((above.nll - below.nll) / (2 * step), found.nll_slope, atol=1e-5)
    curvature = (above.nll + below.nll - 2 * found.nll) / step**2
    np.testing.assert_allclose(curvature, found.nll_curvature - found.nll_slope, atol=1e-3)


def test_values_at_one_are_of_the_remaining_examples(network, units):
    logits, labels = network
    found = over_examples.at_one(over_examples.details(logits, labels), units)
    of = {"ece": {}, "debiased ece": {"debiased": True}, "rms calibration error": {"norm": "l2"}}
    for left_out in (None, 0, 7):
        kept = slice(None) if left_out is None else units.group != left_out
        value = lambda sample, left_out=left_out: sample.value if left_out is None else sample.deleted[left_out]
        for name, options in of.items():
            assert value(found[name]) == pytest.approx(
                calibration.expected_calibration_error(logits[kept], labels[kept], **options), rel=1e-5)
        root = calibration.expected_calibration_error(logits[kept], labels[kept], norm="l2", debiased=True)
        assert value(found["debiased squared error"]) == pytest.approx(np.sign(root) * root**2, rel=1e-4)
        mass = calibration.expected_calibration_error(logits[kept], labels[kept], scheme="equal_mass")
        assert value(found["equal-mass ece"]) == pytest.approx(mass, abs=0.02)  # its bins are those of all examples


def test_means_have_a_value_of_each_example(network, units):
    logits, labels = network
    found = over_examples.at_one(over_examples.details(logits, labels), units)
    assert found["nll"].values[3] == pytest.approx(scores.negative_log_likelihood(logits[3:4], labels[3:4]), rel=1e-5)
    assert found["brier"].values[3] == pytest.approx(scores.brier_score(logits[3:4], labels[3:4]), rel=1e-5)
    assert (found["nll"].clusters == np.arange(EXAMPLES)).all() and found["nll"].deleted is None


def test_scaled_values_are_with_a_temperature_that_is_fitted_again(network, units):
    """Fitted on another split, whose groups are deleted with those of the same number here."""
    other = sample(800, 6, 2.0, 2.0, seed=1)
    other_units, fit = crossed.Units.of(None, 800), temperature.minimise_nll(*other)[0]
    found = over_examples.scaled(
        [over_examples.Part(over_examples.details(*network, fit), over_examples.details(*other, fit), units,
                            other_units, True)])
    whole = temperature.scores_at(*network, fit)
    assert (found["scaled nll"].value,
            found["scaled ece"].value) == pytest.approx((whole.nll_after, whole.ece_after), rel=1e-5)
    for left_out in (0, 13):
        kept, fitted = units.group != left_out, other_units.group != left_out
        anew = temperature.minimise_nll(other[0][fitted], other[1][fitted])[0]
        due, held = (temperature.scores_at(network[0][kept], network[1][kept], each) for each in (anew, fit))
        assert abs(np.log(anew / fit)) > 5e-4  # it does move
        assert found["scaled nll"].deleted[left_out] - held.nll_after == pytest.approx(due.nll_after - held.nll_after,
                                                                                       rel=0.03)
        assert found["scaled ece"].deleted[left_out] == pytest.approx(due.ece_after, abs=5e-5)


def test_a_temperature_at_its_bound_stays():
    logits, labels = sample(200, 4, 2.0, 1.0, seed=0)
    units, of = crossed.Units.of(None, 200), over_examples.details(logits, labels, 100.0)
    found = over_examples.scaled([over_examples.Part(of, of, units, units, False)])
    kept = units.group != 4
    assert found["scaled nll"].deleted[4] == pytest.approx(of.nll[kept].mean())


def test_units_of_equal_ids_are_in_one_group():
    units = crossed.Units.of(np.repeat(np.arange(100), 3), 300)
    assert units.count == 100 and (units.group.reshape(100, 3) == units.group[::3, None]).all()
    assert crossed.GROUPS == len(set(units.group)) and (units.take(slice(0, None, 2)).group == units.group[::2]).all()
