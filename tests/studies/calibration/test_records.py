"""The calibration study on synthetic members whose over-confidence is known, its tables, claims and figures."""
import dataclasses

import numpy as np
import pytest

from ls_jax import paper
from ls_jax.studies import calibration
from ls_jax.studies.calibration import claims as calibration_claims
from ls_jax.studies.calibration import plots as calibration_plots
from ls_jax.studies.calibration import records as calibration_records
from ls_jax.studies.calibration import tables as calibration_tables
from ls_jax.studies.common import plots
from ls_jax.studies.common import records as results
from tests.logits import sample

ALPHAS, SEEDS, FACTORS = (0.0, 0.1, 0.3), (0, 1), {0.0: 2.0, 0.1: 1.0, 0.3: 0.5}


def networks(splits=("validation", "test"), rates=(0.1,)):
    """Hard logits are twice too large, those of α = 0.1 right and of 0.3 half as large as they should be."""
    for rate in rates:
        for alpha in ALPHAS:
            for seed in SEEDS:
                factor = FACTORS[alpha] * (1 + 0.1 * seed)
                data = {split: sample(600, 6, 2.0, factor, seed=place) for place, split in enumerate(splits)}
                yield {"alpha": alpha, "learning_rate": rate, "seed": seed}, data


@pytest.fixture(scope="module")
def measured():
    return [each for row, data in networks() for each in calibration_records.measure(row, data)]


@pytest.fixture(scope="module")
def records(measured, tmp_path_factory):
    where = tmp_path_factory.mktemp("records")
    results.write(where, calibration_records.run(measured, draws=100))
    return results.read(where)


def one(records, **fields):
    found = results.select(records, kind="value", **fields)
    assert len(found) == 1, found
    return found[0]


def test_values_are_those_of_the_functions(records):
    logits, labels = sample(600, 6, 2.0, 2.0, seed=1)
    for quantity, options in {"ece": {}, "debiased ece": {"debiased": True}, "classwise ece": {"scheme": "classwise"},
                              "equal-mass ece": {"scheme": "equal_mass"}, "rms calibration error": {"norm": "l2"}}.items():
        record = one(records, quantity=quantity, split="test", alpha=0.0)
        assert record.values[0] == pytest.approx(calibration.expected_calibration_error(logits, labels, **options))
        assert record.seeds == [0, 1] and record.extra["examples"] == 600 and record.extra["bins"] == 15


def test_temperature_is_fitted_on_validation_and_reported_on_test(records):
    fit = calibration.fit_temperature(*sample(600, 6, 2.0, 2.0, seed=0), sample(600, 6, 2.0, 2.0, seed=1))
    here = dict(split="test", alpha=0.0, fitted_on="validation")
    assert one(records, quantity="temperature", **here).values[0] == pytest.approx(fit.temperature)
    assert one(records, quantity="temperature", **here).extra["status"] == ["converged"] * 2
    assert one(records, quantity="scaled ece", **here).values[0] == pytest.approx(fit.reported.ece_after)
    assert one(records, quantity="scaled nll", **here).values[0] == pytest.approx(fit.reported.nll_after)


def test_without_another_split_each_half_is_scaled_by_the_others_temperature():
    (row, data), *_ = networks(splits=("test",))
    each, = calibration_records.measure(row, data)
    logits, labels = data["test"]
    halves = [calibration.fit_temperature(logits[half::2], labels[half::2]).temperature for half in (0, 1)]
    assert each.fits[0].fitted_on == "other half" and each.fits[0].temperature == pytest.approx(np.sqrt(np.prod(halves)))
    even = calibration.reliability(logits[::2], labels[::2], temperature=halves[1])
    np.testing.assert_allclose(np.mean(each.fits[0].confidence[::2]), np.nansum(even.confidence * even.count) / 300)


def test_regime_best_smoothing_and_their_intervals(records):
    for split in ("validation", "test"):
        regime = {alpha: one(records, quantity="overconfidence", split=split, alpha=alpha).extra["regime"] for alpha in ALPHAS}
        assert regime == {0.0: "over-confident", 0.1: "neither over- nor under-confident", 0.3: "under-confident"}
        best = one(records, quantity="best alpha", split=split)
        assert best.hyper["alpha"] == 0.1 and best.interval == [0.1, 0.1] and best.extra["share"]["0.1"] == 1.0
        hard = one(records, quantity="debiased ece", split=split, alpha=0.0)
        assert hard.extra["examples_interval"][0] < hard.mean < hard.extra["examples_interval"][1]
        gain, = results.select(records, quantity="debiased ece", kind="difference", split=split, alpha=0.1)
        assert gain.extra["examples_interval"][1] < 0
    assert "over-confident on the test split" in calibration_tables.summary(records, "test")
    assert "α = 0.1" in calibration_tables.summary(records, "test")


def test_other_hyper_parameters_are_kept_apart():
    members = [each for row, data in networks(("test",), rates=(0.1, 0.3)) for each in calibration_records.measure(row, data)]
    found = calibration_records.run(members, draws=20)
    best = results.select(found, quantity="best alpha")
    assert [record.hyper["learning_rate"] for record in best] == [0.1, 0.3]
    assert all("examples_interval" in record.extra for record in found if record.quantity.startswith("debiased ece"))


def test_claims(records):
    verdicts = {name: claim.check(records)[0].verdict for name, claim in calibration_claims.CLAIMS.items()}
    assert set(verdicts.values()) <= {"holds", "undecided"} and verdicts["temperature scaling calibrates"] == "holds", verdicts
    reversed_ = [dataclasses.replace(record, values=[-value for value in record.values]) for record in records]
    assert "holds" not in {claim.check(reversed_)[0].verdict for name, claim in calibration_claims.CLAIMS.items()
                           if "as temperature scaling" not in name}
    assert all(claim.check([]) == [] for claim in calibration_claims.CLAIMS.values())


def test_tables_and_figures(records, tmp_path):
    caption, header, *rows = calibration_tables.table_3(records, "test", "synthetic")
    assert all(len(row) == len(header) for row in rows) and rows[0][0] == "synthetic; T fitted on validation by NLL"
    assert rows[0][3].endswith("/ 0.1") and rows[-3:] == paper.table_3()
    caption, header, *rows = calibration_tables.cells(records, "test")
    assert all(len(row) == len(header) for row in rows) and [row[0] for row in rows] == ["α=0", "α=0.1", "α=0.3"]
    caption, header, *rows = calibration_tables.scores(records, "test")
    assert all(len(row) == len(header) for row in rows) and [row[0] for row in rows] == ["α=0", "α=0.1", "α=0.3"]
    curves = calibration_plots.curves(records, "test")
    logits, labels = sample(600, 6, 2.0, 2.0, seed=1)
    bins = calibration.reliability(logits, labels)
    hard = curves["hard, T = 1"]
    np.testing.assert_array_equal(hard.count[0], bins.count)
    np.testing.assert_allclose(hard.confidence[0] / np.maximum(hard.count[0], 1), np.nan_to_num(bins.confidence))
    np.testing.assert_allclose(hard.correct[0] / np.maximum(hard.count[0], 1), np.nan_to_num(bins.accuracy))
    assert list(curves)[0] == "hard, T = 1" and list(curves)[2] == "smoothed, α = 0.1" and len(curves) == 3
    for name, figure in {"reliability": calibration_plots.reliability_diagram(curves, "test"),
                         "against_alpha": calibration_plots.error_against_alpha(records, "test")}.items():
        assert all(file.stat().st_size > 5000 for file in plots.save(figure, tmp_path / name))


def test_one_network_without_smoothing():
    """What a file of logits and labels gives: one member, one seed."""
    each = list(calibration_records.measure({"alpha": 0.0, "seed": 0}, {"test": sample(200, 3)}))
    found = calibration_records.run(each, draws=20)
    assert not results.select(found, quantity="best alpha")
    assert len(calibration_tables.cells(found, "test")) == 3 and calibration_tables.summary(found, "test")
    assert calibration_tables.table_3(found, "test", "one")[2][3] == ""
    assert calibration_plots.error_against_alpha(found, "test").axes
    assert list(calibration_plots.curves(found, "test"))
