"""Accuracy and NLL of a run: their intervals are of the predictions that it leaves."""
import dataclasses
from unittest import mock

import numpy as np
import pytest

from ls_jax.studies import accuracy
from ls_jax.studies.accuracy import records as accuracy_records
from ls_jax.studies.accuracy import tables as accuracy_tables
from ls_jax.studies.common import crossed, records
from ls_jax.studies.common.studied import Studied
from ls_jax.training.loop import Run
from ls_jax.workdir import predictions
from tests.logits import sample

EXAMPLES, CLASSES = 300, 4


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """Three seeds of two smoothings, on a training and a test split, with their predictions."""
    where, measured = tmp_path_factory.mktemp("run"), []
    rows = records.arms([{"alpha": alpha, "seed": seed} for alpha in (0.0, 0.1) for seed in range(3)])
    for split in ("train", "test"):
        for member, row in enumerate(rows):
            logits, labels = sample(EXAMPLES, CLASSES, seed=7)
            logits = logits + (1 + row["alpha"]) * np.random.default_rng(member).normal(size=logits.shape)
            found = predictions.Predictions(logits.astype(np.float32), None, labels.astype(np.int64),
                                            np.arange(EXAMPLES))
            head = {"kernel": np.zeros((2, CLASSES)), "bias": np.zeros(CLASSES)}
            predictions.save(where, split, member, found, head, ("a",) * CLASSES)
            measured.append((split, row, accuracy.measure_all(found.logits, found.labels)))
    return Studied(mock.Mock(spec=Run), [], where, where, rows, measured=measured)


def right(studied, member):
    arrays = predictions.load(studied.outputs, "test", member)
    return (arrays["logits"].argmax(axis=1) == arrays["labels"]).astype(float)


def test_differences_are_by_seed_and_example(studied):
    found, = records.select(accuracy_records.collect(studied), quantity="accuracy", split="test", kind="difference")
    due = crossed.of_mean(np.stack([right(studied, 3 + seed) - right(studied, seed) for seed in range(3)]), step=1.0)
    assert found.covers == "seeds and examples" and found.interval == pytest.approx(due.interval)
    assert found.variance == pytest.approx(due.variance) and found.interval_seeds != found.interval
    assert np.mean(found.interval) == pytest.approx(found.mean)


def test_values_have_intervals_too_and_the_training_split_has_none(studied):
    found = accuracy_records.collect(studied)
    assert {record.covers for record in records.select(found, split="test")} == {"seeds and examples"}
    train = records.select(found, split="train")
    assert {(record.kind, record.covers) for record in train} == {("value", None), ("difference", "seeds")}


def test_a_part_of_the_predictions_gives_no_interval_over_examples(studied):
    """As of text, whose accuracy is over all tokens and whose kept predictions are of some."""
    measured = [(split, row, {**values, "examples": EXAMPLES + 1}) for split, row, values in studied.measured]
    found = accuracy_records.collect(dataclasses.replace(studied, measured=measured))
    assert {record.covers for record in found} == {None, "seeds"}


def test_the_table_says_what_its_intervals_are_for(studied):
    found = accuracy_records.collect(studied)
    captions = {split: accuracy_tables.cells(found, split)[0] for split in ("train", "test")}
    assert captions["test"].endswith("95 % intervals for new seeds and new test examples, with this training set")
    _, header, _, row = accuracy_tables.cells(found, "test")
    assert header[-1] == "its standard error, from" and row[-1].endswith(" examples") and " seeds, " in row[-1]
    assert captions["train"].endswith("95 % intervals for new seeds on the same examples")


def test_one_network_has_an_interval_over_its_examples():
    logits, labels = sample(EXAMPLES, CLASSES)
    found = accuracy_records.analyze({"logits": logits, "labels": labels}, ())
    assert [record.covers for record in found] == ["examples", "examples"]


def test_tokens_of_a_sentence_are_drawn_together(studied, tmp_path):
    """Copies of one example in a sentence make the interval no narrower."""
    of = {member: predictions.load(studied.outputs, "test", member) for member in range(6)}
    widths = {}
    for sentence in (None, np.repeat(np.arange(EXAMPLES), 2)):
        for member, arrays in of.items():
            found = predictions.Predictions(*(np.repeat(arrays[name], 2, axis=0) if name != "features" else None
                                              for name in ("logits", "features", "labels", "index")), sentence)
            predictions.save(tmp_path, "test", member, found, arrays, ("a",) * CLASSES)
        measured = [("test", row, {"accuracy": 0.0, "nll": 0.0, "examples": 2 * EXAMPLES}) for row in studied.rows]
        text = dataclasses.replace(studied, outputs=tmp_path, measured=measured)
        difference, = records.select(accuracy_records.collect(text), quantity="accuracy", kind="difference")
        widths[sentence is None] = np.ptp(difference.interval)
    once, = records.select(accuracy_records.collect(studied), quantity="accuracy", split="test", kind="difference")
    assert widths[False] == pytest.approx(np.ptp(once.interval)) and widths[True] < 0.9 * widths[False]
