"""Records, moments and intervals against SciPy and hand-made numbers."""
import numpy as np
import pytest
from scipy import stats

from ls_jax.studies.common import records as results

ROWS = [{"alpha": alpha, "learning_rate": 0.1, "seed": seed} for alpha in (0.0, 0.1) for seed in (0, 1, 2)]
VALUES = [0.90, 0.92, 0.94, 0.93, 0.93, 0.96]


def test_groups_over_seeds():
    hard, smoothed, _ = results.summarize("accuracy", "accuracy", "test", ROWS, VALUES)
    assert (hard["alpha"], hard["n"], hard["values"], hard["seeds"]) == (0.0, 3, VALUES[:3], [0, 1, 2])
    assert hard["mean"] == pytest.approx(0.92) and hard["std"] == pytest.approx(0.02)
    assert smoothed["alpha"] == 0.1 and "seed" not in smoothed


def test_difference_is_paired_by_seed():
    difference = results.summarize("accuracy", "accuracy", "test", ROWS, VALUES)[2]
    assert difference["quantity"] == "accuracy difference" and difference["baseline_alpha"] == 0.0
    np.testing.assert_allclose(difference["values"], [0.03, 0.01, 0.02])
    reference = stats.ttest_rel(VALUES[3:], VALUES[:3]).confidence_interval(0.95)
    np.testing.assert_allclose(difference["interval"], reference)


def test_pairs_only_the_seeds_that_both_have():
    """A diverged member has no value; its partner is left out of the difference too."""
    difference = results.summarize("accuracy", "accuracy", "test", ROWS[1:], VALUES[1:])[2]
    assert difference["seeds"] == [1, 2] and difference["n"] == 2


def test_other_hyper_parameters_are_not_mixed():
    rows = [{"alpha": alpha, "learning_rate": rate, "seed": 0} for alpha in (0.0, 0.1) for rate in (0.1, 0.3)]
    records = results.summarize("accuracy", "accuracy", "test", rows, [1.0, 2.0, 3.0, 5.0])
    differences = {record["learning_rate"]: record["mean"] for record in records if "difference" in record["quantity"]}
    assert differences == {0.1: 2.0, 0.3: 3.0}


def test_one_seed_has_no_spread():
    record, = results.summarize("accuracy", "accuracy", "test", ROWS[:1], VALUES[:1])
    assert record["std"] is None and results.t_interval(VALUES[:1]) is None


def test_interval_covers_at_its_level():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (2000, 5))
    covered = np.mean([low <= 3 <= high for low, high in map(results.t_interval, draws)])
    assert abs(covered - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 2000)
