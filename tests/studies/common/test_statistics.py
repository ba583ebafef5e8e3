"""Moments, intervals and pairs against SciPy and simulation."""
import numpy as np

from ls_jax.studies.common.statistics import moments, paired, t_interval


def test_moments_of_one_value_have_no_spread():
    assert moments([0.5]) == {"n": 1, "mean": 0.5, "std": None, "values": [0.5]} and t_interval([0.5]) is None


def test_interval_covers_at_its_level():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (2000, 5))
    covered = np.mean([low <= 3 <= high for low, high in map(t_interval, draws)])
    assert abs(covered - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 2000)


def test_pairs_are_of_equal_seeds():
    assert paired({2: 5.0, 0: 1.0, 1: 2.0}, {1: 0.5, 2: 1.0, 7: 9.0}) == {2: 4.0, 1: 1.5}
