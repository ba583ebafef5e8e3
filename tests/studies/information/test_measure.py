"""Mutual information against known answers, the table of estimator biases, quadrature by SciPy and scikit-learn."""
import math

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import digamma

from ls_jax.studies import information
from tests.logits import CLASSES, collapsed_draws

REASON = "compares with a library of the extra: pip install -e '.[peers]'"


def separated_draws(views, seed=0, gap=60.0):
    draws = np.random.default_rng(seed).normal(size=(600, views + 1)) + gap * np.arange(600)[:, None]
    return draws[:, :-1], draws[:, -1]


@pytest.mark.parametrize("views, fresh_value, reused_value", [(2, 0.592, 1.032), (5, 0.628, 0.801), (10, 0.654, 0.748),
                                                              (50, 0.683, 0.703), (500, 0.692, 0.694)])
def test_two_collapsed_clusters_give_the_simulated_table(views, fresh_value, reused_value):
    """Known beforehand to three digits, with a standard deviation over repetitions of at most 0.03."""
    repeats = 20 if views <= 50 else 4
    draws, fresh = collapsed_draws(views, seed=views, members=(repeats,))
    error = 3 * 0.03 / math.sqrt(repeats) + 5e-4
    assert np.mean(information.logit_information(draws, fresh)) == pytest.approx(fresh_value, abs=error)
    assert np.mean(information.logit_information(draws)) == pytest.approx(reused_value, abs=error)


def test_known_answers_at_many_views():
    collapsed = collapsed_draws(500)
    assert information.logit_information(*collapsed) == pytest.approx(math.log(2), abs=0.02)
    assert information.logit_information(*separated_draws(50)) == pytest.approx(math.log(600), abs=1e-6)
    one = collapsed[0] - 40.0 * CLASSES[:, None], collapsed[1] - 40.0 * CLASSES
    assert information.logit_information(*one) == pytest.approx(0.0, abs=0.02)


def test_members_are_a_leading_axis():
    draws, fresh = collapsed_draws(5, members=(2, 3))
    found = information.logit_information(draws, fresh)
    assert found.shape == (2, 3)
    assert found[1, 2] == information.logit_information(draws[1, 2], fresh[1, 2])


@pytest.mark.parametrize("make", [collapsed_draws, separated_draws])
def test_the_printed_formula_says_nothing(make):
    """It is -(1 - log 2)/2 for collapsed clusters and separated points alike: x' in the inner sum must not be
    'corrected' to x."""
    draws, fresh = make(20)
    assert information.printed_information(draws, fresh) == pytest.approx(-(1 - math.log(2)) / 2, abs=0.03)
    assert information.printed_information(draws) == pytest.approx(-0.153, abs=0.03)


def test_shift_and_scale_of_the_logits_do_not_matter():
    draws, fresh = collapsed_draws(5)
    draws, fresh = draws + np.linspace(0, 3, 600)[:, None], fresh + np.linspace(0, 3, 600)
    for f in (lambda scale, shift: information.logit_information(scale * draws + shift, scale * fresh + shift),
              lambda scale, shift: information.logit_information(scale * draws + shift),
              lambda scale, shift: information.neighbour_information(scale * draws + shift),
              lambda scale, shift: information.mixture_information(*information.fitted_mixture(scale * draws + shift))):
        for scale, shift in ((1e-3, 0.0), (-50.0, 0.0), (1.0, 1e3), (7.0, -20.0)):
            assert f(scale, shift) == pytest.approx(f(1.0, 0.0), abs=1e-6)


def test_without_spread_it_is_the_entropy_of_the_means():
    values = np.repeat([1.0, 2.0, 2.0, 5.0], 1)
    draws = np.repeat(values[:, None], 5, axis=1)
    assert information.logit_information(draws) == pytest.approx(1.5 * math.log(2))
    assert information.logit_information(1e-3 + 0.1 * np.repeat(CLASSES[:, None], 5, axis=1)) == pytest.approx(
        math.log(2))


def test_far_outliers_do_not_underflow():
    draws, fresh = collapsed_draws(5)
    fresh[0] = 1e5
    assert math.isfinite(information.logit_information(draws, fresh))


def entropy_by_scipy(means, deviation):
    density = lambda y: np.mean(stats.norm.pdf(y, means, deviation))
    edges = np.concatenate([[means.min() - 12 * deviation], np.sort(means), [means.max() + 12 * deviation]])
    parts = [integrate.quad(lambda y: -density(y) * math.log(density(y) or 1.0), low, high, epsabs=1e-12)[0]
             for low, high in zip(edges, edges[1:]) if high > low]
    return sum(parts)


@pytest.mark.parametrize("means",
                         [[0.0, 1.0], [0.0, 0.1, 5.0], [-3.0, 0.0, 0.5, 8.0, 30.0], list(np.linspace(0, 20, 15))])
@pytest.mark.parametrize("deviation", [0.3, 1.0, 2.5])
def test_quadrature_is_exact(means, deviation):
    means = np.array(means)
    expected = entropy_by_scipy(means, deviation) - 0.5 * math.log(2 * math.pi * math.e * deviation**2)
    assert information.mixture_information(means, deviation) == pytest.approx(expected, abs=1e-9)


def test_quadrature_in_blocks_and_at_the_extremes(monkeypatch):
    rng = np.random.default_rng(0)
    means = np.concatenate([rng.normal(size=40), 500 + 30 * rng.normal(size=40)])
    whole = information.mixture_information(means, 0.7)
    monkeypatch.setattr("ls_jax.studies.common.blocks.BLOCK", 1 << 14)
    assert information.mixture_information(means, 0.7) == pytest.approx(whole, abs=1e-12)
    assert information.mixture_information(1e4 * np.arange(600), 1.0) == pytest.approx(math.log(600), abs=1e-12)
    assert information.mixture_information(40.0 * CLASSES, 1.0) == pytest.approx(math.log(2), abs=1e-12)
    assert information.mixture_information(np.zeros(600), 1.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("views", [5, 50])
def test_noisy_means_raise_the_mixtures_information_as_documented(views):
    draws, _ = collapsed_draws(views)
    found = information.mixture_information(*information.fitted_mixture(draws))
    assert found == pytest.approx(math.log(2) + math.log1p(1 / views) / 2, abs=0.01)


def test_nearest_neighbours_of_known_answers():
    assert information.neighbour_information(collapsed_draws(50)[0]) == pytest.approx(math.log(2), abs=0.02)
    assert information.neighbour_information(separated_draws(50)[0]) == pytest.approx(math.log(600), abs=0.02)
    means = np.linspace(0, 12, 60)
    draws = np.random.default_rng(0).normal(means[:, None], 1.0, (60, 200))
    assert information.neighbour_information(draws) == pytest.approx(information.mixture_information(means, 1.0),
                                                                     abs=0.03)


@pytest.mark.parametrize("views, neighbours", [(5, 3), (5, 1), (20, 7)])
def test_nearest_neighbours_are_rosss_formula(views, neighbours):
    draws = np.random.default_rng(views).normal(np.linspace(0, 8, 40)[:, None], 1.0, (40, views))
    nearer = [np.sum(np.abs(draws - y) < np.sort(np.abs(of - y))[neighbours]) for of in draws for y in of]
    expected = digamma(40 * views) + digamma(neighbours) - digamma(views) - np.mean(digamma(nearer))
    assert information.neighbour_information(draws, neighbours) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("neighbours", [3, 7])
def test_nearest_neighbours_are_scikit_learns(neighbours):
    """With few views scikit-learn finds neighbours by |a|² - 2ab + |b|², whose rounding lets some of the k-th ones
    in."""
    selection = pytest.importorskip("sklearn.feature_selection", reason=REASON)
    draws = np.random.default_rng(0).normal(np.linspace(0, 8, 40)[:, None], 1.0, (40, 20))
    expected = selection.mutual_info_classif(draws.reshape(-1, 1), np.repeat(np.arange(40), 20),
                                             n_neighbors=neighbours)[0]
    assert information.neighbour_information(draws, neighbours) == pytest.approx(expected, abs=1e-3)


def test_views_that_repeat_are_counted():
    draws = np.array([[1.0, 2.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    assert information.repeated(draws) == pytest.approx(2 / 8)


def test_collapsed_value_is_the_classes_entropy():
    assert information.collapsed(CLASSES) == pytest.approx(math.log(2))
    assert information.collapsed([3, 3, 3, 7]) == pytest.approx(stats.entropy([0.75, 0.25]))


def test_half_samples_scatter_as_other_examples_would():
    """Against the standard deviation over fresh choices of the examples, where class means vary within their
    classes."""
    rng = np.random.default_rng(0)

    def sample():
        means = 8.0 * CLASSES + rng.normal(size=600) * (1 + CLASSES)
        draws = means[:, None] + rng.normal(size=(600, 6))
        return draws[:, :-1], draws[:, -1]

    truth = np.std([information.logit_information(*sample()) for _ in range(200)])
    spreads = [np.std(information.half_samples(*sample(), CLASSES, count=60, seed=i)) for i in range(6)]
    assert np.mean(spreads) == pytest.approx(truth, rel=0.2)
    separated = information.half_samples(*separated_draws(5), CLASSES, count=5)
    assert np.abs(separated).max() < 1e-4  # copies would have made this half a nat


def test_half_samples_of_members_are_the_same_halves():
    draws, fresh = collapsed_draws(5)
    found = information.half_samples(np.stack([draws, 2 * draws]), np.stack([fresh, 2 * fresh]), CLASSES, count=4)
    np.testing.assert_allclose(found[0], found[1], atol=1e-12)
    np.testing.assert_allclose(found.mean(axis=-1), 0, atol=1e-12)


@pytest.mark.parametrize("draws, fresh, message", [
    (np.zeros(5), None, r"draws has shape \(5,\)"),
    (np.zeros((5, 2)), np.zeros(4), r"fresh has shape \(4,\), but draws \(5, 2\)"),
    (np.full((5, 2), np.nan), None, "must be finite")])
def test_bad_draws(draws, fresh, message, unchecked):
    with pytest.raises(ValueError, match=message):
        information.logit_information(draws, fresh)
    with pytest.raises(ValueError, match="3 neighbours need more than 3 views"):
        information.neighbour_information(np.zeros((5, 3)))
