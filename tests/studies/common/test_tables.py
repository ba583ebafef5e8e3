"""Tables are keyed by all hyper-parameters, named by what varies, and lose no row."""
import pytest

from ls_jax.studies.accuracy import records as accuracy_records
from ls_jax.studies.accuracy import tables as accuracy_tables
from ls_jax.studies.common import records, tables

GAMMAS = [{"alpha": 0.0, "gamma": gamma, "seed": seed} for gamma in (0.0, 2.0) for seed in (0, 1)]


def accuracies(rows, values):
    return accuracy_records.run([("test", row, {"accuracy": value, "nll": 1 - value, "examples": 100})
                                 for row, value in zip(rows, values)])


def rows_of(results):
    return [(row[0], row[1], row[-1]) for row in accuracy_tables.cells(results, "test")[2:]]


def test_a_swept_fifth_parameter_has_a_row_for_each_value():
    results = accuracies(GAMMAS, (0.5, 0.52, 0.9, 0.91))
    assert rows_of(results) == [("α=0, gamma=0", "51.00 ± 1.41", "2"), ("α=0, gamma=2", "90.50 ± 0.71", "2")]
    assert "α=0, gamma=2" in accuracy_tables.table(results, "test")


def test_named_arms_have_their_names_as_labels():
    rows = [{**row, "arm": ("hard", "focal")[row["gamma"] > 0]} for row in GAMMAS]
    assert [row[0] for row in rows_of(accuracies(rows, (0.5, 0.52, 0.9, 0.91)))] == ["hard", "focal"]


def test_two_rows_of_one_label_are_an_error():
    results = accuracies(GAMMAS, (0.5, 0.52, 0.9, 0.91))
    with pytest.raises(ValueError, match="two rows of a table are 'α=0, gamma=0'"):
        accuracy_tables.cells(results + results, "test")
    rows = [{**row, "arm": "both"} for row in GAMMAS]
    with pytest.raises(ValueError, match="two rows of a table are 'both'"):
        accuracy_tables.cells(accuracies(rows, (0.5, 0.52, 0.9, 0.91)), "test")


def test_numbers_that_differ_in_float32_have_different_labels():
    rows = [{"alpha": alpha, "seed": 0} for alpha in (0.1, 0.1000001)]
    assert [row[0] for row in rows_of(accuracies(rows, (0.5, 0.6)))] == ["α=0.1", "α=0.1000001"]


def test_the_baseline_is_what_others_are_compared_with():
    of = lambda rows: [row[3] for row in accuracy_tables.cells(accuracies(rows, (0.5, 0.6)), "test")[2:]]
    assert of([{"alpha": alpha, "seed": 0} for alpha in (0.0, 0.1)]) == ["baseline", "+10.00"]
    assert of([{"alpha": alpha, "seed": 0} for alpha in (0.05, 0.1)]) == ["", ""]


@pytest.mark.parametrize("hyper, label", [
    ({"alpha": 0.1}, "α=0.1"), ({}, "as given"),
    ({"student": "grid", "alpha": 0.0, "teacher_alpha": 0.1, "temperature": 2.0}, (
        "grid, α=0, teacher's α=0.1, T=2")),
    ({"student": "alone", "alpha": 0.0, "temperature": None, "control": False}, "alone, α=0")])
def test_labels(hyper, label):
    assert tables.label(hyper, list(hyper)) == label


def test_numbers_as_text():
    record = records.Record("accuracy", "accuracy", "test", 2, 0.0168, 0.0014, [0.0, 0.0], kind="difference",
                            baseline={}, interval=[0.013, 0.0206])
    assert tables.mean_std(record, ".2f", 100) == "1.68 ± 0.14" and tables.difference(
        record, scale=100) == "+1.68 [+1.30, +2.06]"
    one = records.Record("accuracy", "accuracy", "test", 1, 0.5, None, [0.5])
    assert tables.mean_std(one) == "0.5000" and tables.difference(one) == "+0.50"


@pytest.mark.parametrize("mean, std, text", [
    (1.0, 1.7e-6, "1.0000 ± 0.0000"), (0.12345678, 0.0123, "0.123 ± 0.012"), (1234.5678, 12.3, "1235 ± 12"),
    (0.0, 0.0, "0.000 ± 0.000"), (1e-5, 2e-6, "0.0000100 ± 0.0000020"), (3.14159, None, "3.14"),
    (-0.5, 3.0, "-0.5 ± 3.0"),
    (float("inf"), None, "inf")])
def test_numbers_are_rounded_to_their_spread(mean, std, text):
    assert tables.rounded(records.Record("information", "bits", "train", 3, mean, std, [0.0] * 3)) == text
