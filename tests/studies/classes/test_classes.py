"""Accuracy and calibration of single classes, against their definitions."""
from unittest import mock

import numpy as np
import pytest

from ls_jax.studies import calibration
from ls_jax.studies.calibration import binning
from ls_jax.studies.classes import records as class_records
from ls_jax.studies.classes import section
from ls_jax.studies.common import crossed, records
from ls_jax.studies.common.shown import Shown
from tests.logits import sample

K, N, SEEDS = 4, 800, (0, 1, 2)
NAMES = ["ant", "bee", "cat", "dog"]


def network(alpha, seed):
    """Smoothing makes class 2 worse: its logit is lowered."""
    logits, labels = sample(N, K, 2.0)
    logits = logits + 0.2 * np.random.default_rng((seed, int(10 * alpha))).normal(size=logits.shape)
    logits[:, 2] -= 20 * alpha
    return {"logits": logits, "labels": labels, "index": np.arange(N), "class_names": np.array(NAMES)}


@pytest.fixture(scope="module")
def results():
    return class_records.run([class_records.measure({"alpha": alpha, "seed": seed}, "test", network(alpha, seed))
                              for alpha in (0.0, 0.1) for seed in SEEDS])


def one(results, **fields):
    record, = records.select(results, **fields)
    return record


def test_values_are_those_of_the_definitions(results):
    arrays = network(0.1, 1)
    right = arrays["logits"].argmax(-1) == arrays["labels"]
    accuracy = [right[arrays["labels"] == k].mean() for k in range(K)]
    for k in range(K):
        record = one(results, quantity="class accuracy", label=k, kind="value", alpha=0.1)
        assert record.by_seed[1] == pytest.approx(accuracy[k]) and record.extra["class_name"] == NAMES[k]
        assert record.extra["examples"] == (arrays["labels"] == k).sum()
    assert one(results, quantity=class_records.WORST, kind="value",
               alpha=0.1).by_seed[1] == pytest.approx(min(accuracy))
    errors = [one(results, quantity="class ece", label=k, kind="value", alpha=0.1).by_seed[1] for k in range(K)]
    assert np.mean(errors) == pytest.approx(calibration.expected_calibration_error(arrays["logits"], arrays["labels"],
                                                                                   scheme="classwise"))
    squares = [one(results, quantity="class squared error", label=k, kind="value", alpha=0.1).by_seed[1]
               for k in range(K)]
    due = binning.classwise_error(binning.class_sums(arrays["logits"], arrays["labels"], 15), "l2", debiased=True)
    assert np.mean(squares) == pytest.approx(np.sign(due) * due**2)


def test_without_each_group():
    arrays = network(0.0, 0)
    of, group = class_records.measure({"alpha": 0.0, "seed": 0}, "test", arrays), crossed.groups(np.arange(N))
    right = arrays["logits"].argmax(-1) == arrays["labels"]
    kept = group != 5
    assert of.worst.deleted[5] == pytest.approx(min(right[kept & (arrays["labels"] == k)].mean() for k in range(K)))
    again = class_records.measure({"alpha": 0.0, "seed": 0}, "test",
                                  {name: arrays[name][kept] for name in ("logits", "labels")})
    for k in range(K):
        for name in ("class ece", "class squared error"):
            assert of.of_class[k][name].deleted[5] == pytest.approx(again.of_class[k][name].value, abs=1e-12)


def test_the_class_that_pays_is_found(results):
    """And an accuracy's interval is that of a mean over the class's examples, paired by seed and example."""
    less = one(results, quantity="class accuracy", label=2, kind="difference")
    assert less.interval[1] < 0 and less.covers == "seeds and examples"
    right = {alpha: [(of["logits"].argmax(-1) == of["labels"])[of["labels"] == 2]
                     for of in (network(alpha, seed) for seed in SEEDS)]
             for alpha in (0.0, 0.1)}
    due = crossed.of_mean(np.stack(right[0.1]).astype(float) - np.stack(right[0.0]))
    assert less.interval == pytest.approx(list(due.interval))
    assert one(results, quantity=class_records.WORST, kind="difference").interval[1] < 0


def test_a_class_without_examples_has_no_records():
    arrays = network(0.0, 0)
    arrays = {**arrays, "labels": np.where(arrays["labels"] == 3, 0, arrays["labels"])}
    found = class_records.analyze(arrays, [])
    assert {record.get("label") for record in found} == {None, 0, 1, 2} and all(record.hyper == {} for record in found)
    wide = {"logits": np.zeros((5, 101)), "labels": np.zeros(5, int)}
    assert class_records.analyze(wide, []) == []


def test_the_table_has_a_row_for_each_class(results):
    table, = section.comparisons(results, "test")
    assert [row[0] for row in table.rows] == [*NAMES, "worst class"] and len(table.header) == len(table.rows[0])
    less = one(results, quantity="class accuracy", label=2, kind="difference")
    assert table.rows[2][4] == f"{100 * less.mean:+.2f} [{100 * less.interval[0]:+.2f}, {100 * less.interval[1]:+.2f}]"
    assert table.caption.startswith("α=0 and α=0.1.")
    html = section.section(mock.Mock(spec=Shown, records=results))
    assert html.count("<h3>") == 1 and "bee" in html
    assert section.section(mock.Mock(spec=Shown, records=[])).strip() == ""
