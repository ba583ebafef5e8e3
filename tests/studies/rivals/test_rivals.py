"""Rivals: validation chooses for each seed, the test set judges, and a run without a rival has no such records."""
import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax.modes import experiment
from ls_jax.studies.common import records
from ls_jax.studies.rivals import answer, plots, tables
from ls_jax.studies.rivals.records import AGAINST_SMOOTHING, PLAIN, QUANTITIES, SCALED, SMOOTHING, family

ARMS = {"plain": {}, "weak": {"alpha": 0.02}, "strong": {"alpha": 0.5}, "MaxSup": {"max_suppression": 0.1},
        "both": {"alpha": 0.1, "logit_penalty": 0.01}}
FAMILIES = {"plain": PLAIN, "weak": SMOOTHING, "strong": SMOOTHING, "MaxSup": "max suppression",
            "both": "label smoothing + logit penalty"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(its workdir, its records)."""
    config = configs.load("digits_mlp", "smoke")
    config.steps, config.evaluate.every, config.log.writers = 30, 0, ()
    config.data.holdout = 150
    config.sweep.arms, config.sweep.baseline, config.sweep.seed = ARMS, "plain", (0, 1, 2)
    workdir = tmp_path_factory.mktemp("rivals")
    return workdir, experiment.run(config, workdir)


def of(found, **fields):
    record, = records.select(found, study="rivals", kind=records.VALUE, **fields)
    return record


@pytest.mark.parametrize("criterion", ["nll", "accuracy"])
def test_each_seed_has_the_strength_that_validation_chose(run, criterion):
    _, found = run
    by_arm = {(record.arm, record.split, record.quantity): record.by_seed
              for record in records.select(found, study="accuracy", kind=records.VALUE)}
    for name in dict.fromkeys(FAMILIES.values()):
        arms = [arm for arm, of_arm in FAMILIES.items() if of_arm == name]
        sign = -1 if criterion == "accuracy" else 1  # of equal accuracies the better NLL
        chosen = [min(arms, key=lambda arm: (sign * by_arm[arm, "validation", criterion][seed],
                                             by_arm[arm, "validation", "nll"][seed])) for seed in (0, 1, 2)]
        for quantity in ("accuracy", "nll"):
            record = of(found, family=name, chosen_by=criterion, quantity=quantity)
            assert record.extra["chosen"] == chosen
            np.testing.assert_allclose(record.values, [by_arm[arm, "test", quantity][seed]
                                                       for seed, arm in enumerate(chosen)], rtol=1e-5)


def test_what_is_measured_is_what_other_studies_measure(run):
    """Of a family of one arm, for which nothing is chosen."""
    _, found = run
    for quantity, study, name, fields in (
            ("aurc", "selective", "aurc", {}), ("debiased squared error", "calibration", "debiased squared error", {}),
            (SCALED, "calibration", "scaled nll", {"fitted_on": "validation"}),
            ("spread ratio", "projection", "spread ratio", {"classes": "all triples"})):
        for kind in (records.VALUE, records.DIFFERENCE):
            due, = [each for each in records.select(found, study=study, quantity=name, split="test", kind=kind,
                                                    **fields) if each.arm == "MaxSup"]
            is_, = records.select(found, study="rivals", quantity=quantity, kind=kind, family="max suppression",
                                  chosen_by="nll")
            np.testing.assert_allclose(is_.values, due.values, rtol=1e-4, atol=1e-7)
            if kind == records.DIFFERENCE and quantity in QUANTITIES:
                np.testing.assert_allclose(is_.interval, due.interval, rtol=1e-3, atol=1e-6)


def test_rivals_are_compared_with_smoothing(run):
    _, found = run
    smoothed, rival = (of(found, family=name, chosen_by="nll", quantity="nll")
                       for name in (SMOOTHING, "max suppression"))
    against, = records.select(found, study="rivals", quantity="nll" + AGAINST_SMOOTHING, family="max suppression",
                              chosen_by="nll")
    np.testing.assert_allclose(against.values, np.subtract(rival.values, smoothed.values))
    assert against.baseline["family"] == SMOOTHING and against.covers == records.BOTH
    assert not records.select(found, study="rivals", quantity="nll" + AGAINST_SMOOTHING, family=PLAIN)


def test_tables_figure_and_page(run):
    workdir, found = run
    caption, header, *rows = tables.against_plain(found, "nll")
    assert "validation NLL" in caption and [row[0] for row in rows] == [
        "label smoothing", "max suppression", "label smoothing + logit penalty"]
    assert len(header) == len(rows[0]) == 2 + len(QUANTITIES) + 1  # the spread ratio of this run's features
    assert [row[0] for row in tables.against_smoothing(found, "accuracy")[2:]] == [
        "max suppression", "label smoothing + logit penalty"]
    axes = [axis for axis in plots.placed(found, "nll").axes if axis.axison]
    assert len(axes) == 5 and len(axes[0].get_legend_handles_labels()[1]) == 3
    page = (workdir / "report.html").read_text()
    assert "Label smoothing and its rivals" in page and "Rivals of label smoothing: of 2" in page


def test_a_sweep_of_smoothings_alone_has_none(tmp_path):
    config = configs.load("digits_mlp", "smoke")
    config.steps, config.log.writers, config.data.holdout = 3, (), 50
    assert not records.select(experiment.run(config, tmp_path), study="rivals")


def made(quantity, name, interval):
    return records.Record("rivals", quantity + AGAINST_SMOOTHING, "test", 3, float(np.mean(interval)), 0.1, [0.0] * 3,
                          kind=records.DIFFERENCE, hyper={"family": name, "chosen_by": "nll"}, arm=name,
                          baseline={"family": SMOOTHING, "chosen_by": "nll"}, interval=interval)


def test_the_answer_names_who_is_better_and_who_is_worse():
    found = [made("accuracy", "focal", [-0.02, -0.01]), made("accuracy", "acls", [-0.01, 0.01]),
             made(SCALED, "focal", [0.01, 0.02]), made(SCALED, "acls", [-0.02, -0.01]),
             made("aurc", "focal", [-0.01, 0.01]), made("aurc", "acls", [-0.01, 0.01])]
    sentence, = answer.answer(found, "test")
    assert "of 2, each" in sentence.text and "in accuracy, none is better and focal is worse" in sentence.text
    assert "in likelihood at a fitted temperature, acls is better and focal is worse" in sentence.text
    assert "in ranking of errors, none is better and none is worse" in sentence.text
    assert sentence.verdict == "some are better" and answer.answer([], "test") == []


@pytest.mark.parametrize("terms, name", [([], PLAIN), (None, PLAIN), (["label_smoothing"], SMOOTHING),
                                         (["max_suppression", "poly1"], "max suppression + poly1")])
def test_families(terms, name):
    assert family({"terms": terms}) == name


