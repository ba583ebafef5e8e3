"""A sweep over smoothing and a second parameter: every study's tables, figures and claims keep all its arms apart."""
import math

import numpy as np
import pytest

from ls_jax.studies import projection
from ls_jax.studies import registry as paper_claims
from ls_jax.studies.calibration import plots as calibration_plots
from ls_jax.studies.calibration import records as calibration_records
from ls_jax.studies.calibration import tables as calibration_tables
from ls_jax.studies.common import plots, records
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.information import plots as information_plots
from ls_jax.studies.information import section as information_section
from ls_jax.studies.projection import explorer
from ls_jax.studies.projection import section as projection_section
from ls_jax.studies.projection.plots import chosen_members
from ls_jax.studies.representation import plots as representation_plots
from ls_jax.studies.representation import records as representation_records
from ls_jax.studies.representation import section as representation_section
from ls_jax.studies.translation import plots as translation_plots
from ls_jax.studies.translation import records as translation_records
from ls_jax.studies.translation import section as translation_section
from ls_jax.studies.translation.measure import BINS, Curve, Translated
from tests.logits import sample
from tests.shown import shown

ARMS = [(alpha, gamma) for alpha in (0.0, 0.1) for gamma in (0.0, 2.0)]
ROWS = [{"alpha": alpha, "gamma": gamma, "seed": seed} for alpha, gamma in ARMS for seed in (0, 1, 2)]
LABELS = ["α=0, gamma=0", "α=0, gamma=2", "α=0.1, gamma=0", "α=0.1, gamma=2"]
SPACED = [label.replace("=", " = ") for label in LABELS]
VALUES = [0.1 * place + 0.001 * seed for place in range(4) for seed in range(3)]  # 0.2 more with smoothing


def labels(figure):
    return [line.get_label() for line in figure.axes[0].lines if not line.get_label().startswith("_")]


@pytest.fixture(scope="module")
def calibration():
    """Networks whose logits are too large by a factor of their own."""
    factors = dict(zip(ARMS, (2.0, 3.0, 1.0, 1.5)))
    members = [each for row in ROWS for each in calibration_records.measure(
        row, {"test": sample(400, 4, 2.0, factors[row["alpha"], row["gamma"]] + 0.1 * row["seed"])})]
    return calibration_records.run(members, draws=20)


def test_calibration(calibration):
    for table in (calibration_tables.cells, calibration_tables.scores):
        rows = table(calibration, "test")[2:]
        assert [row[0] for row in rows] == LABELS and len({row[1:] for row in rows}) == 4
    third = [row[0] for row in calibration_tables.table_3(calibration, "test", "net")[2:-3]]
    assert [name.partition(";")[0] for name in third] == ["net, gamma=0"] * 3 + ["net, gamma=2"] * 3
    assert len(records.select(calibration, quantity="best alpha")) == 2
    assert "best-calibrated smoothing at gamma=2 is" in calibration_tables.summary(calibration, "test")
    curves = [*calibration_plots.curves(calibration, "test")]
    assert len(
        curves) == 6 and curves[0] == "unsmoothed, T = 1, gamma = 0" and curves[5] == "smoothed, α = 0.1, gamma = 2"
    figure = calibration_plots.error_against_alpha(calibration, "test")
    assert [axis.get_title() for axis in figure.axes] == ["test split, gamma = 0", "test split, gamma = 2"]
    assert all(len(axis.lines[0].get_xdata()) == 2 for axis in figure.axes)


def test_calibration_claims(calibration):
    for name, findings in paper_claims.check(calibration).items():
        assert [finding.where for finding in findings] == [{"gamma": 0.0}, {"gamma": 2.0}], name
        assert len({finding.difference for finding in findings}) == 2


def test_representation_and_projection(tmp_path):
    quantity = lambda study, name, **extra: records.summarize(study, name, "train", ROWS, VALUES, **extra)
    results = [
        *quantity("representation", "class separation"), *quantity("projection", "spread ratio", classes=projection.ALL)
    ]
    page = representation_section.section(shown(results, tmp_path)) + projection_section.table(results)
    for label in SPACED:
        assert page.count(f"<td>{label}</td>") == 2
    figure = representation_plots.against_alpha(results)
    assert labels(figure) == ["train, gamma = 0", "train, gamma = 2"]
    np.testing.assert_allclose([line.get_ydata() for line in figure.axes[0].lines], [[0.001, 0.201], [0.101, 0.301]])
    course = {step: {member: {"nc1": 1 / (1 + step * (1 + value)), "nc3": value} for member, value in enumerate(VALUES)}
              for step in (0, 10, 20)}
    along = representation_records.of_checkpoints(course, ROWS)
    assert labels(representation_plots.collapse(along)) == SPACED
    matched = records.select(along, quantity="nc3 at matched nc1")
    assert [(record.arm, record.baseline["gamma"]) for record in matched] == [("alpha=0.1, gamma=0", 0.0),
                                                                              ("alpha=0.1, gamma=2", 2.0)]


def test_information(tmp_path):
    results = [
        record for step in (0, 10, 20)
        for record in records.summarize("information", "logit information", "train", ROWS,
                                        [step * value
                                         for value in VALUES], draws=5, outer="fresh", estimator="gaussian", step=step,
                                        of_examples=600, classes=["a", "b"], collapsed=math.log(2), bound=math.log(600))
    ]
    assert labels(information_plots.information(results)) == [f"{label}, fresh draw" for label in SPACED]
    assert all(f"<td>{label}</td>" in information_section.section(shown(results, tmp_path)) for label in SPACED)
    found = paper_claims.check(results)
    assert {name: [(finding.alpha, finding.where["gamma"]) for finding in findings]
            for name, findings in found.items()} == {
                "information rises": [(0.0, 0.0), (0.1, 0.0), (0.0, 2.0),
                                      (0.1, 2.0)], "information then falls": [(0.0, 0.0), (0.1, 0.0), (0.0, 2.0),
                                                                              (0.1, 2.0)],
                "smoothing erases information": [(0.1, 0.0), (0.1, 2.0)], "what is left is the class": [(0.0, 0.0),
                                                                                                        (0.1, 0.0),
                                                                                                        (0.0, 2.0),
                                                                                                        (0.1, 2.0)]
            }


def test_translation(tmp_path):
    grid, one = (0.5, 1.0), np.full((2, 1, BINS), 10.0)
    curves = [Curve("test", row, np.array(grid), 100 * (2 + value + np.array(grid))[:, None], one, one / 2, one / 3)
              for row, value in zip(ROWS, VALUES)]
    found = [Translated("test", "test", row, beams, t, 10,
                        {"bleu": Sample(25 + value + t), "length ratio": Sample(1.0)})
             for row, value in zip(ROWS, VALUES) for beams, t in ((4, 0.5), (4, 1.0), (1, 1.0))]
    results = translation_records.run(curves, found, {"bleu": "nrefs:1"})
    page = translation_section.section(shown(results, tmp_path))
    assert all(page.count(f"<td>{label}</td>") == 2 for label in SPACED)
    assert labels(translation_plots.beams(results, "test")) == SPACED
    titles = [axis.get_title() for axis in translation_plots.temperature(results, "test").axes]
    assert {*titles} >= {*SPACED} and len(titles) == 4 + 1 + 4
    for name, findings in paper_claims.check(results).items():
        assert [finding.where for finding in findings] == [{"gamma": 0.0}, {"gamma": 2.0}], name


def test_learning_curves_have_a_line_for_each_arm_however_many():
    rows = [{
        "step": step, "member": member, "alpha": 0.1 * member, "gamma": 2.0, "split": split, "loss": 1.0,
        "accuracy": 0.5, "nll": 1.0
    } for step in (1, 2) for member in range(9) for split in ("train", "test")]
    assert len(labels(plots.learning_curves(rows, "test"))) == 9
    assert labels(plots.learning_curves(rows, "test",
                                        ("alpha", "gamma")))[:2] == ["α = 0, gamma = 2", "α = 0.1, gamma = 2"]


def test_members_of_pictures_are_named_and_chosen_with_all_else_equal(tmp_path):
    assert [explorer._setting(ROWS, member) for member in (0, 3, 6, 9)] == SPACED
    assert explorer._setting([{**row, "arm": "focal"} for row in ROWS], 0) == "focal"
    (tmp_path / "predictions").mkdir()
    for member in range(len(ROWS)):
        (tmp_path / "predictions" / f"test-{member:03d}.npz").touch()
    assert chosen_members(tmp_path, [{**row, "arm": str(member)} for member, row in enumerate(ROWS)], "test") == [0, 6]


def test_claims_say_which_arm_was_compared_with_which():
    found = paper_claims.check(records.summarize("accuracy", "accuracy", "test", ROWS, VALUES))["accuracy is similar"]
    assert [(finding.arm, finding.hyper, finding.baseline, finding.verdict) for finding in found] == [
        (f"alpha=0.1, gamma={gamma:g}", {"alpha": 0.1, "gamma": gamma}, {"alpha": 0.0, "gamma": gamma}, "fails")
        for gamma in (0.0, 2.0)
    ]
    named = [{**row, "arm": ("hard", "focal", "smoothed", "both")[place // 3]} for place, row in enumerate(ROWS)]
    lines = paper_claims.lines(records.summarize("accuracy", "accuracy", "test", named, VALUES))
    assert any(line.startswith("accuracy is similar, test split, smoothed (α = 0.1), gamma 0.0: ") for line in lines)
    unsmoothed = [member % 3 for member in range(len(named))]  # the arm "hard", of the same seed
    differing = records.summarize("accuracy", "accuracy", "test", named, VALUES, unsmoothed)
    assert len(records.select(differing, kind="difference")) == 3
    assert [finding.arm
            for finding in paper_claims.check(differing)["accuracy is similar"]] == ["smoothed"], "by smoothing alone"


def test_arms_of_other_losses_are_neither_smoothed_nor_unsmoothed():
    """A focal arm has α = 0 and is not plain; smoothing on top of it is not the paper's smoothing."""
    arms = {"plain": (0.0, 0.0, []), "smoothed": (0.1, 0.0, ["label_smoothing"]), "focal": (0.0, 2.0, ["focal"]),
            "both": (0.1, 2.0, ["label_smoothing", "focal"])}
    rows = [{"alpha": alpha, "focal": focal, "arm": name, "terms": terms, "seed": seed}
            for name, (alpha, focal, terms) in arms.items() for seed in (0, 1, 2)]
    results = records.summarize("accuracy", "accuracy", "test", rows, [0.5 + 0.1 * each["alpha"] for each in rows])
    assert {record.arm: record.plain for record in results} == {
        "plain": True, "smoothed": False, "focal": False, "both": False}
    assert {record.arm for record in results if record.kind == records.DIFFERENCE} == {"smoothed", "both"}
    assert {record.arm for record in records.of_smoothing(results)} == {"plain", "smoothed"}
    assert all("terms" not in record.hyper for record in results)
    for findings in paper_claims.check(results).values():
        assert [finding.smoothing for finding in findings] == ["smoothed (α = 0.1)"] and findings[0].where == {}
    overconfidence = records.summarize("calibration", "overconfidence", "test", rows, [0.1] * len(rows))
    finding, = paper_claims.check(overconfidence)["unsmoothed networks are over-confident"]
    assert finding.arm == "plain" and "focal" not in "".join(paper_claims.lines(overconfidence))


def test_sentences_on_calibration_name_no_other_losses():
    """A sweep of named arms has the scalars of all their losses; the unsmoothed network has none that varies."""
    rows = [{"alpha": 0.0, "focal": focal, "arm": name, "terms": terms, "seed": seed}
            for name, focal, terms in (("plain", 0.0, []), ("focal", 2.0, ["focal"])) for seed in (0, 1)]
    measured = [each for row in rows
                for each in calibration_records.measure(row, {"test": sample(200, 3, seed=row["seed"])})]
    found = calibration_records.run(measured, draws=10)
    text = calibration_tables.summary(found, "test")
    assert text.count("Without smoothing the network is") == 1 and "focal" not in text
    assert "focal" not in "".join(calibration_tables.table_3(found, "test", "digits")[2])
