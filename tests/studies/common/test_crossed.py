"""Intervals for new seeds and new examples: parts and ends against closed forms, and coverage where the truth is
known."""
import dataclasses

import numpy as np
import pytest
from scipy import stats

from benchmarks import coverage
from ls_jax.errors import InvalidArray
from ls_jax.studies.common import crossed


def drawn(n, N, seed_std=0.5, example_std=2.0, std=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return seed_std * rng.normal(size=(n, 1)) + example_std * rng.normal(size=N) + std * rng.normal(size=(n, N))


def test_parts_are_those_of_a_two_way_analysis_of_variance():
    """Their expectations: seeds/n, examples/N and the residual/(nN), each with the residual in it."""
    found = [crossed.of_mean(drawn(4, 50, seed=seed)) for seed in range(400)]
    parts = [np.mean([of.variance[name] for of in found]) for name in ("seeds", "examples", "residual")]
    assert parts == pytest.approx([0.25 / 4 + 1 / 200, 4 / 50 + 1 / 200, 1 / 200], rel=0.06)


def test_variance_of_the_mean_is_that_of_repetitions():
    found = [crossed.of_mean(drawn(10, 100, seed=seed)) for seed in range(400)]
    total = np.mean([of.seeds + of.examples - of.residual for of in found])
    assert total == pytest.approx(np.var([of.estimate for of in found]), rel=0.2)


def test_one_seed_has_students_interval_over_its_examples():
    values = drawn(1, 30)
    found = crossed.of_mean(values)
    assert found.interval == pytest.approx(stats.t.interval(0.95, 29, values.mean(), stats.sem(values[0])))
    assert found.seeds is None and found.residual is None and found.degrees_of_freedom == pytest.approx(29)


def test_equal_seeds_have_the_interval_of_one():
    values = np.random.default_rng(0).integers(-1, 2, 400).astype(float)
    one, three = crossed.of_mean(values[None]), crossed.of_mean(np.tile(values, (3, 1)))
    assert three.interval == pytest.approx(one.interval) and three.interval[0] < three.interval[1] and three.seeds == 0


def test_equal_values_have_wilsons_width_where_the_step_is_known():
    found = crossed.of_mean(np.zeros((3, 100)), step=1.0)
    assert found.interval[1] == pytest.approx(stats.binomtest(0, 100).proportion_ci(0.95, "wilson").high)
    assert crossed.of_mean(np.zeros((3, 100))).interval is None


def test_seeds_alone_have_students_interval():
    values = [0.1, 0.4, 0.2]
    found = crossed.over_seeds(np.array(values), 100)
    assert found.interval == pytest.approx(stats.t.interval(0.95, 2, np.mean(values), stats.sem(values)))
    assert found.examples is None and found.N == 100 and crossed.over_seeds(np.array([0.1]), 100).interval is None


def test_seeds_that_differ_a_lot_leave_few_degrees_of_freedom():
    found = crossed.of_mean(drawn(3, 200, seed_std=50))
    assert found.degrees_of_freedom == pytest.approx(2, abs=0.01)
    assert crossed.of_mean(drawn(3, 200, seed_std=0, std=0.01)).degrees_of_freedom > 100


def test_clusters_of_one_example_change_nothing():
    values = drawn(3, 40)
    assert crossed.of_mean(values, np.arange(40)[::-1]).interval == pytest.approx(crossed.of_mean(values).interval)


def test_clusters_of_equal_size_are_their_means():
    values, sentences = drawn(3, 60), np.repeat(np.arange(20), 3)
    found, means = crossed.of_mean(values, sentences), crossed.of_mean(values.reshape(3, 20, 3).mean(axis=2))
    assert found.interval == pytest.approx(means.interval) and found.N == 20


def test_clusters_whose_examples_are_copies_count_once():
    values, sizes = drawn(1, 60), np.random.default_rng(1).integers(1, 9, 60)
    wrong, right = (crossed.of_mean(np.repeat(values, sizes, axis=1), clusters)
                    for clusters in (None, np.repeat(np.arange(60), sizes)))
    assert right.estimate == pytest.approx(wrong.estimate) and np.ptp(right.interval) > 1.8 * np.ptp(wrong.interval)


def test_jackknife_of_a_mean_has_the_parts_of_its_groups_means():
    values, group = drawn(4, 200), crossed.groups(np.arange(200))
    deleted = crossed.leave_out(lambda kept: values[:, kept].mean(axis=1), group).T
    found = crossed.of_statistic(values.mean(axis=1), deleted, 200)
    of_groups = crossed.of_mean(np.stack([values[:, group == each].mean(axis=1) for each in range(20)], axis=1))
    assert found.interval == pytest.approx(of_groups.interval) and found.variance == pytest.approx(of_groups.variance)
    assert found.N == 200


def test_samples_add_and_scale_with_their_parts():
    values = drawn(2, 200)
    one, other = (crossed.Sample(float(each.mean()), values=each) for each in values)
    found = one * 0.25 + other * 0.75 - other
    assert found.value == pytest.approx(0.25 * (one.value - other.value))
    np.testing.assert_allclose(found.values, 0.25 * (values[0] - values[1]), atol=1e-12)
    assert (one - crossed.Sample(1.0)).values is None, "where one does not tell, the difference does not"
    assert crossed.of_samples([one, crossed.Sample(1.0)]) is None


def test_a_mean_by_groups_is_its_jackknife():
    values, sentence = drawn(1, 200)[0], np.arange(200) // 4
    for clusters, units in ((None, np.arange(200)), (sentence, sentence)):
        found = crossed.Sample(float(values.mean()), values=values, clusters=clusters).by_group()
        due = crossed.leave_out(lambda kept: values[kept].mean(), crossed.groups(units))
        np.testing.assert_allclose(found.deleted, due)
        assert found.value == values.mean() and found.values is None and found.examples == len(set(units))
    assert crossed.Sample(1.0, values=np.ones(1)).by_group().deleted is None, "one example has no groups"


def test_groups_are_of_the_ids_whatever_their_order():
    ids = np.random.default_rng(0).permutation(1000)[:503]
    group = crossed.groups(ids)
    shuffled = np.random.default_rng(1).permutation(503)
    assert (crossed.groups(ids[shuffled]) == group[shuffled]).all()
    assert set(np.bincount(group)) == {25, 26} and len(np.bincount(group)) == 20


def test_groups_are_as_if_at_random():
    """Ids that are sorted by class: no group has many of one, and neighbours are in equal groups as often as by
    chance."""
    group = crossed.groups(np.arange(10_000))
    table = np.array([np.bincount(group[start:start + 1000], minlength=20) for start in range(0, 10_000, 1000)])
    assert stats.chi2_contingency(table).pvalue > 0.01
    assert np.mean(group[1:] == group[:-1]) == pytest.approx(0.05, abs=0.01)


def test_equal_ids_stay_together_and_few_ids_are_few_groups():
    group = crossed.groups(np.repeat([7, 3, 9], 5))
    assert sorted(set(group)) == [0, 1, 2] and (group.reshape(3, 5) == group[::5, None]).all()


@pytest.mark.parametrize("call, words", [
    (lambda: crossed.of_mean([0.1, 0.2]), r"values have shape \(2,\): give finite numbers of 2 dimensions"),
    (lambda: crossed.of_mean([[0.1, np.nan]]), "values have shape"),
    (lambda: crossed.of_mean(np.zeros((2, 3)), np.zeros(2, int)), "give one cluster an example"),
    (lambda: crossed.of_statistic([0.1], np.zeros((2, 20)), 5), "give both for the same seeds"),
    (lambda: crossed.groups(np.zeros(3)), "give one integer an example"),
])
def test_bad_input_is_an_error_of_one_line(call, words, unchecked):
    with pytest.raises(InvalidArray, match=words):
        call()


def test_a_result_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        crossed.of_mean(np.eye(3)).n = 4


def test_truth_of_the_simulation_is_the_mean_of_its_draws():
    mix, rng = coverage.MIXES["seeds differ"], np.random.default_rng(0)
    group = crossed.groups(np.arange(2000))
    estimates = np.array(
        [[of.estimate for of, _ in coverage.differences(*coverage.draw(mix, 3, 2000, rng), group).values()]
         for _ in range(40)])
    errors = estimates.mean(axis=0) - coverage.truth(mix)
    assert (np.abs(errors) < 3 * estimates.std(axis=0) / np.sqrt(40)).all()


def test_covers_where_an_interval_over_seeds_does_not():
    """Ten seeds that share a small test set: what the whole table says, in one cell."""
    found = coverage.coverage(coverage.MIXES["test set's luck only"], 10, 500, trials=60)
    assert found["accuracy"]["crossed"] >= 0.9 and found["aurc"]["crossed"] >= 0.9
    assert found["accuracy"]["seeds only"] <= 0.85


@pytest.mark.slow
def test_coverage():
    """The table of docs/statistics.md: 500 trials for each of 27 cells, whose standard error is one point or less."""
    cells = [coverage.coverage(mix, n, N, trials=500)
             for mix in coverage.MIXES.values() for n in (3, 5, 10) for N in (500, 2000, 10000)]
    found = {measure: np.array([cell[measure]["crossed"] for cell in cells]) for measure in coverage.MEASURES}
    assert 0.91 <= found["accuracy"].min() and found["accuracy"].max() <= 0.99
    assert 0.93 <= found["accuracy"].mean() <= 0.97
    assert 0.91 <= found["aurc"].min() and 0.93 <= found["aurc"].mean() <= 0.98  # three seeds: up to 99.6 %
    assert 0.93 <= found["debiased squared error"].min()  # wide on small test sets: see docs/statistics.md
    assert min(cell["accuracy"]["seeds only"] for cell in cells) < 0.8  # what an interval over seeds alone does
