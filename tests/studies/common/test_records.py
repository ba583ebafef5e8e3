"""Records, their arms and baselines, and their JSON; against hand-made numbers."""
import json

import numpy as np
import pytest
from scipy import stats

from ls_jax.errors import UserError
from ls_jax.studies.common import crossed, records

ROWS = [{"alpha": alpha, "learning_rate": 0.1, "seed": seed} for alpha in (0.0, 0.1) for seed in (0, 1, 2)]
VALUES = [0.90, 0.92, 0.94, 0.93, 0.93, 0.96]
TWO = [{"alpha": alpha, "gamma": gamma, "seed": seed} for alpha in (0.0, 0.1) for gamma in (0.0, 2.0)
       for seed in (0, 1)]


def summarize(rows, values, partners=None):
    return records.summarize("accuracy", "accuracy", "test", rows, values, partners)


def test_groups_over_seeds():
    hard, smoothed, _ = summarize(ROWS, VALUES)
    assert (hard.hyper["alpha"], hard.n, hard.values, hard.seeds) == (0.0, 3, VALUES[:3], [0, 1, 2])
    assert hard.mean == pytest.approx(0.92) and hard.std == pytest.approx(0.02)
    assert smoothed.hyper == {"alpha": 0.1, "learning_rate": 0.1
                              } and (smoothed.kind, smoothed.arm) == ("value", "alpha=0.1")


def test_difference_is_paired_by_seed():
    difference = summarize(ROWS, VALUES)[2]
    assert (difference.quantity, difference.kind, difference.baseline["alpha"]) == ("accuracy", "difference", 0.0)
    np.testing.assert_allclose(difference.values, [0.03, 0.01, 0.02])
    reference = stats.ttest_rel(VALUES[3:], VALUES[:3]).confidence_interval(0.95)
    np.testing.assert_allclose(difference.interval, reference)


def test_pairs_only_the_seeds_that_both_have():
    """A diverged member has no value; its partner is left out of the difference too."""
    difference = summarize(ROWS[1:], VALUES[1:])[2]
    assert difference.seeds == [1, 2] and difference.n == 2


def test_other_hyper_parameters_are_not_mixed():
    rows = [{"alpha": alpha, "learning_rate": rate, "seed": 0} for alpha in (0.0, 0.1) for rate in (0.1, 0.3)]
    results = summarize(rows, [1.0, 2.0, 3.0, 5.0])
    differences = {record.hyper["learning_rate"]: record.mean for record in results if record.kind == "difference"}
    assert differences == {0.1: 2.0, 0.3: 3.0}


def test_one_seed_has_no_spread():
    record, = summarize(ROWS[:1], VALUES[:1])
    assert record.std is None and record.interval is None


def test_every_swept_scalar_makes_arms_that_are_named_by_what_varies():
    results = records.select(summarize(TWO, range(8)), kind="value")
    assert {record.arm: record.values for record in results} == {
        "alpha=0, gamma=0": [0, 1], "alpha=0, gamma=2": [2, 3], "alpha=0.1, gamma=0": [4, 5],
        "alpha=0.1, gamma=2": [6, 7]
    }
    named = [{**row, "arm": f"arm {row['gamma']:g}"} for row in TWO[:4]]
    assert [record.arm for record in summarize(named, range(4))] == ["arm 0", "arm 2"]


@pytest.mark.parametrize("partners, pairs", [
    (None, {(0.1, 0.0): (0.0, 0.0), (0.1, 2.0): (0.0, 2.0)}),
    ([0, 1, 0, 1, 0, 1, 0, 1], {(0.0, 2.0): (0.0, 0.0), (0.1, 0.0): (0.0, 0.0), (0.1, 2.0): (0.0, 0.0)}),
    ([2, 3, 2, 3, 6, 7, None, None], {(0.0, 0.0): (0.0, 2.0), (0.1, 0.0): (0.1, 2.0)}),
    ([None] * 8, {}),
])
def test_a_baseline_is_the_unsmoothed_arm_with_all_else_equal_or_the_given_one(partners, pairs):
    found = records.select(summarize(TWO, range(8), partners), kind="difference")
    assert {tuple(record.hyper.values()): tuple(record.baseline.values()) for record in found} == pairs


def test_without_an_off_arm_nothing_is_compared():
    assert {record.kind
            for record in summarize(ROWS[3:] + [{**row, "alpha": 0.2} for row in ROWS[3:]], range(6))} == {"value"}


def test_a_part_of_the_members_keeps_the_arms_of_the_run():
    part = records.arms(TWO)[6:]
    record, = summarize(part, [1.0, 2.0])
    assert record.arm == "alpha=0.1, gamma=2" and part[0]["baseline"] == {"alpha": 0.0, "gamma": 2.0}
    assert records.pairs(TWO) == [(4, 0), (5, 1), (6, 2), (7, 3)]


def test_members_are_never_lost():
    with pytest.raises(ValueError, match="two members have seed 0"):
        summarize(ROWS[:1] * 2, [1.0, 2.0])
    with pytest.raises(ValueError):
        summarize(ROWS, VALUES[1:])


def test_select_finds_by_field_extra_or_hyper_parameter():
    results = records.summarize("translation", "ece", "test", ROWS, VALUES, temperature=2.0)
    assert records.select(results, study="translation", kind="value", alpha=0.1, temperature=2.0) == [results[1]]
    assert records.select(results, temperature=1.0) == [] and records.select(results, step=None) == results
    assert records.held_out(results, "translation") == "test" and records.held_out(results, "accuracy") == "test"


def test_a_difference_has_a_baseline_and_a_value_none():
    with pytest.raises(ValueError, match="a difference needs one, a value none"):
        records.Record("accuracy", "accuracy", "test", 1, 0.5, None, [0.5], kind="difference")
    with pytest.raises(ValueError, match="a difference needs one, a value none"):
        records.Record("accuracy", "accuracy", "test", 1, 0.5, None, [0.5], baseline={"alpha": 0.0})


def test_records_come_back_as_they_were_written(tmp_path):
    rows = [{**row, "student": "grid", "teacher": None} for row in ROWS]
    results = records.summarize("accuracy", "accuracy", "test", rows, VALUES, classes=["a", "b"], examples=10)
    records.write(tmp_path, results)
    assert records.read(tmp_path) == results and records.final(tmp_path)
    assert [*json.loads((tmp_path / "results.json").read_text())[0]] == [*records.FIELDS]


def test_the_old_form_is_refused_in_one_line(tmp_path):
    old = {
        "study": "accuracy", "split": "test", "quantity": "accuracy", "alpha": 0.0, "n": 1, "mean": 0.5, "std": None,
        "values": [0.5], "seeds": [0], "examples": 10
    }
    (tmp_path / "results.json").write_text(json.dumps([old]))
    with pytest.raises(UserError,
                       match="results.json has the form of ls_jax 0.1.0: read it with that version") as caught:
        records.read(tmp_path)
    assert "\n" not in str(caught.value)


def samples(values):
    """Of two examples each."""
    return [crossed.Sample(value, values=np.array([value - 0.1, value + 0.1])) for value in values]


def test_samples_make_intervals_over_seeds_and_examples():
    found = records.summarize("accuracy", "accuracy", "test", ROWS, VALUES, samples=samples(VALUES))
    difference, = records.select(found, kind="difference")
    plain = records.summarize("accuracy", "accuracy", "test", ROWS, VALUES)[2]
    assert (difference.covers, plain.covers) == ("seeds and examples", "seeds")
    assert difference.interval_seeds == pytest.approx(plain.interval) and difference.values == plain.values
    assert difference.variance["examples"] == pytest.approx(0) and difference.variance["seeds"] > 0
    assert {record.covers for record in records.select(found, kind="value")} == {"seeds and examples"}


def test_without_the_sample_of_one_seed_the_interval_is_over_seeds():
    some = [None, *samples(VALUES[1:])]
    found = records.summarize("accuracy", "accuracy", "test", ROWS, VALUES, samples=some)
    assert {record.covers for record in records.select(found, kind="difference")} == {"seeds"}
    infinite = [*samples(VALUES[:-1]), *samples([np.inf])]
    found = records.summarize("accuracy", "nll", "test", ROWS, VALUES, samples=infinite)
    assert {record.covers for record in records.select(found, kind="difference")} == {"seeds"}


def test_files_without_the_added_fields_are_read(tmp_path):
    written = summarize(ROWS, VALUES)
    records.write(tmp_path, written)
    old = [{name: value for name, value in each.items() if name not in records.ADDED}
           for each in json.loads((tmp_path / "results.json").read_text())]
    (tmp_path / "results.json").write_text(json.dumps(old))
    assert records.read(tmp_path) == written
