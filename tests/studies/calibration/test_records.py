"""The calibration study on synthetic members whose over-confidence is known, its tables, claims and figures."""
import dataclasses

import numpy as np
import pytest
from scipy import special, stats

from ls_jax import paper
from ls_jax.studies import calibration
from ls_jax.studies.calibration import claims as calibration_claims
from ls_jax.studies.calibration import plots as calibration_plots
from ls_jax.studies.calibration import records as calibration_records
from ls_jax.studies.calibration import tables as calibration_tables
from ls_jax.studies.common import crossed, plots, records
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
def results(measured, tmp_path_factory):
    where = tmp_path_factory.mktemp("records")
    records.write(where, calibration_records.run(measured, draws=100))
    return records.read(where)


def one(results, **fields):
    found = records.select(results, kind="value", **fields)
    assert len(found) == 1, found
    return found[0]


def test_values_are_those_of_the_functions(results):
    logits, labels = sample(600, 6, 2.0, 2.0, seed=1)
    for quantity, options in {
            "ece": {}, "debiased ece": {"debiased": True}, "classwise ece": {"scheme": "classwise"},
            "equal-mass ece": {"scheme": "equal_mass"}, "rms calibration error": {"norm": "l2"}
    }.items():
        record = one(results, quantity=quantity, split="test", alpha=0.0)
        assert record.values[0] == pytest.approx(calibration.expected_calibration_error(logits, labels, **options))
        assert record.seeds == [0, 1] and record.extra["examples"] == 600 and record.extra["bins"] == 15


def test_temperature_is_fitted_on_validation_and_reported_on_test(results):
    fit = calibration.fit_temperature(*sample(600, 6, 2.0, 2.0, seed=0), sample(600, 6, 2.0, 2.0, seed=1))
    here = dict(split="test", alpha=0.0, fitted_on="validation")
    assert one(results, quantity="temperature", **here).values[0] == pytest.approx(fit.temperature)
    assert one(results, quantity="temperature", **here).extra["status"] == ["converged"] * 2
    assert one(results, quantity="scaled ece", **here).values[0] == pytest.approx(fit.reported.ece_after)
    assert one(results, quantity="scaled nll", **here).values[0] == pytest.approx(fit.reported.nll_after)


def test_without_another_split_each_half_is_scaled_by_the_others_temperature():
    (row, data), *_ = networks(splits=("test",))
    each, = calibration_records.measure(row, data)
    logits, labels = data["test"]
    halves = [calibration.fit_temperature(logits[half::2], labels[half::2]).temperature for half in (0, 1)]
    assert each.fits[0].fitted_on == "other half" and each.fits[0].temperature == pytest.approx(np.sqrt(
        np.prod(halves)))
    even = calibration.reliability(logits[::2], labels[::2], temperature=halves[1])
    np.testing.assert_allclose(np.mean(each.fits[0].confidence[::2]), np.nansum(even.confidence * even.count) / 300)


def test_regime_best_smoothing_and_their_intervals(results):
    for split in ("validation", "test"):
        regime = {
            alpha: one(results, quantity="overconfidence", split=split, alpha=alpha).extra["regime"] for alpha in ALPHAS
        }
        assert regime == {0.0: "over-confident", 0.1: "neither over- nor under-confident", 0.3: "under-confident"}
        best = one(results, quantity="best alpha", split=split)
        assert set(best.values) == {0.1} and "alpha" not in best.hyper
        assert best.extra["chosen_on"] == ("validation" if split == "test" else "other half")
        hard = one(results, quantity="debiased ece", split=split, alpha=0.0)
        assert hard.extra["examples_interval"][0] < hard.mean < hard.extra["examples_interval"][1]
        gain, = records.select(results, quantity="debiased ece", kind="difference", split=split, alpha=0.1)
        assert gain.extra["examples_interval"][1] < 0
    assert "over-confident on the test split" in calibration_tables.summary(results, "test")
    assert "α = 0.1" in calibration_tables.summary(results, "test")


def test_other_hyper_parameters_are_kept_apart():
    members = [
        each for row, data in networks(("test",), rates=(0.1, 0.3)) for each in calibration_records.measure(row, data)
    ]
    found = calibration_records.run(members, draws=20)
    best = records.select(found, quantity="best alpha")
    assert all(record.extra["chosen_on"] == "other half" and record.n == 2 for record in best)
    assert [record.hyper["learning_rate"] for record in best] == [0.1, 0.3]
    assert all("examples_interval" in record.extra for record in found if record.quantity.startswith("debiased ece"))


def test_claims(results):
    verdicts = {name: claim.check(results)[0].verdict for name, claim in calibration_claims.CLAIMS.items()}
    assert set(verdicts.values()) <= {"holds", "undecided"
                                      } and verdicts["temperature scaling calibrates"] == "holds", verdicts
    reversed_ = [
        dataclasses.replace(record, values=[-value for value in record.values],
                            interval=record.interval and [-end for end in record.interval[::-1]]) for record in results
    ]
    assert "holds" not in {claim.check(reversed_)[0].verdict for name, claim in calibration_claims.CLAIMS.items()
                           if "as temperature scaling" not in name}
    assert all(claim.check([]) == [] for claim in calibration_claims.CLAIMS.values())


def test_calibration_is_judged_by_the_debiased_squared_error_with_the_others_beside(results):
    check = lambda name, results=results: calibration_claims.CLAIMS[name].check(results)[0]
    found = check("smoothing calibrates")
    record, = records.select(results, quantity="debiased squared error", kind="difference",
                             split="validation", alpha=0.1)
    assert (found.difference, found.interval, found.covers) == (record.mean, record.interval, "seeds and examples")
    assert [fact.partition(" ")[0] for fact in found.facts] == ["ECE", "NLL"]
    assert all("[" in fact for fact in found.facts)
    scaled = check("temperature scaling calibrates")
    gain = [after - before for before, after in zip(*(one(
        results, quantity=f"{kind}debiased squared error", split="validation", alpha=0.0,
        **({"fitted_on": "other half"} if kind else {})).values for kind in ("", "scaled ")))]
    assert scaled.difference == pytest.approx(np.mean(gain)) and scaled.verdict == "holds"
    assert scaled.covers == "seeds and examples" and len(scaled.facts) == 2
    against = check("smoothing calibrates as temperature scaling does")
    error = one(results, quantity="debiased squared error", split="test", alpha=0.0).mean
    assert against.range == (None, pytest.approx(error / 10)) and against.split == "test"
    assert against.difference == pytest.approx(records.select(
        results, quantity="debiased squared error against temperature scaling", split="test", alpha=0.1,
        fitted_on="validation")[0].mean)


def test_records_without_the_debiased_squared_error_have_no_finding(results):
    """Those of earlier versions: the plain ECE, which is there, decides nothing."""
    old = [record for record in results if "squared" not in record.quantity and "change by" not in record.quantity]
    found = {name: len(claim.check(old)) for name, claim in calibration_claims.CLAIMS.items()}
    assert found.pop("unsmoothed networks are over-confident") == 1 and set(found.values()) == {0}


@pytest.mark.parametrize("excess, margin, verdict, words", [
    (7e-4, 2.25e-2, "holds", "scaling is better by 7.00 points², less than the margin"),
    (-7e-4, 2.25e-2, "holds", "smoothing is better by 7.00 points², less than the margin"),
    (7e-4, 1e-3, "fails", "scaling is better by 7.00 points²"), (0.0, 2.25e-2, "holds", "similar"),
    (7e-4, -1e-4, "fails", "scaling is better by 7.00 points²")])  # the unsmoothed network is calibrated already
def test_a_difference_inside_the_margin_says_which_is_better(excess, margin, verdict, words):
    """Three seeds; `margin` is the unsmoothed network's error, a tenth of which is the margin."""
    rows = [{"alpha": alpha, "seed": seed} for alpha in (0.0, 0.1) for seed in (0, 1, 2)]
    made = records.summarize("calibration", "debiased squared error", "test", rows, [margin] * 6)
    made += records.difference("calibration", "debiased squared error against temperature scaling", "test",
                               {"alpha": 0.1},
                               {"alpha": 0.0}, {seed: excess + 1e-5 * (seed - 1) for seed in range(3)},
                               fitted_on="validation")
    finding, = calibration_claims.CLAIMS["smoothing calibrates as temperature scaling does"].check(made)
    assert (finding.verdict, finding.grade) == (verdict, words)


def test_a_networks_change_by_scaling_depends_on_its_examples_as_the_measures_do():
    """The NLL's sample without each group, by deleting the group and fitting the temperature again."""
    logits, labels = sample(400, 5, 2.0, 2.0, seed=3)
    each, = calibration_records.measure({"alpha": 0.0, "seed": 0}, {"test": (logits, labels)})
    group = crossed.groups(np.arange(400))
    nll = lambda kept: float(np.mean(special.logsumexp(logits[kept], axis=1) - logits[kept, labels[kept]]))
    np.testing.assert_allclose(each.samples["nll, in groups"].deleted, crossed.leave_out(nll, group), rtol=1e-6)
    assert each.samples["nll, in groups"].value == pytest.approx(each.values["nll"])


def test_tables_and_figures(results, tmp_path):
    caption, header, *rows = calibration_tables.table_3(results, "test", "synthetic")
    assert all(len(row) == len(header) for row in rows) and rows[0][0] == "synthetic; T fitted on validation by NLL"
    assert rows[0][3].endswith("/ 0.3") and rows[-3:] == paper.table_3()
    caption, header, *rows = calibration_tables.cells(results, "test")
    assert all(len(row) == len(header) for row in rows) and [row[0] for row in rows] == ["α=0", "α=0.1", "α=0.3"]
    caption, header, *rows = calibration_tables.scores(results, "test")
    assert all(len(row) == len(header) for row in rows) and [row[0] for row in rows] == ["α=0", "α=0.1", "α=0.3"]
    curves = calibration_plots.curves(results, "test")
    logits, labels = sample(600, 6, 2.0, 2.0, seed=1)
    bins = calibration.reliability(logits, labels)
    unsmoothed = curves["unsmoothed, T = 1"]
    np.testing.assert_array_equal(unsmoothed.count[0], bins.count)
    np.testing.assert_allclose(unsmoothed.confidence[0] / np.maximum(unsmoothed.count[0], 1),
                               np.nan_to_num(bins.confidence))
    np.testing.assert_allclose(unsmoothed.correct[0] / np.maximum(unsmoothed.count[0], 1), np.nan_to_num(bins.accuracy))
    assert list(curves)[0] == "unsmoothed, T = 1" and list(curves)[2] == "smoothed, α = 0.1" and len(curves) == 3
    for name, figure in {"reliability": calibration_plots.reliability_diagram(curves, "test"),
                         "against_alpha": calibration_plots.error_against_alpha(results, "test")}.items():
        assert all(file.stat().st_size > 5000 for file in plots.save(figure, tmp_path / name))


def test_one_network_without_smoothing():
    """What a file of logits and labels gives: one member, one seed."""
    each = list(calibration_records.measure({"alpha": 0.0, "seed": 0}, {"test": sample(200, 3)}))
    found = calibration_records.run(each, draws=20)
    assert not records.select(found, quantity="best alpha")
    assert len(calibration_tables.cells(found, "test")) == 3 and calibration_tables.summary(found, "test")
    assert calibration_tables.table_3(found, "test", "one")[2][3] == ""
    assert calibration_plots.error_against_alpha(found, "test").axes
    assert list(calibration_plots.curves(found, "test"))


def test_intervals_are_for_new_seeds_and_new_examples(results):
    """Of every measure whose dependence on the examples is known, and of their differences."""
    both = [record for record in results if record.covers == records.BOTH]
    found = {(record.quantity, record.kind) for record in both}
    quantities = ("ece", "debiased ece", "debiased squared error", "nll", "brier", "scaled ece", "scaled nll",
                  "scaled debiased squared error")
    assert {(quantity, kind) for quantity in quantities for kind in ("value", "difference")} <= found
    against = {f"{quantity} against temperature scaling" for quantity in ("ece", "debiased squared error")}
    assert {(quantity, "difference") for quantity in against} <= found
    for record in both:
        assert np.mean(record.interval) == pytest.approx(record.mean, abs=1e-6)
        seeds, examples, residual = (record.variance[name] for name in ("seeds", "examples", "residual"))
        half = stats.t.ppf(0.975,
                           record.degrees_of_freedom) * np.sqrt(max(seeds, examples, seeds + examples - residual))
        assert np.ptp(record.interval) == pytest.approx(2 * half) and record.degrees_of_freedom >= record.n - 1


def test_one_network_has_an_interval_over_its_examples():
    logits, labels = sample(400, 4)
    found = calibration_records.analyze({"logits": logits, "labels": labels, "index": np.arange(400)}, ())
    assert one(found, quantity="nll").covers == "examples" and one(found, quantity="nll").interval_seeds is None


def test_the_table_of_differences_says_what_its_intervals_are_for(results):
    caption, header, *rows = calibration_tables.differences(results, "test")
    assert "95 % intervals for new seeds and new test examples, with this training set" in caption
    assert header[1] == "debiased squared error" and [row[0] for row in rows] == ["α=0.1", "α=0.3"]
    record, = records.select(results, quantity="debiased squared error", split="test", kind="difference", alpha=0.1)
    low, high = record.interval
    assert rows[0][1].startswith(f"{record.mean:+.4f} [{low:+.4f}, {high:+.4f}]; ") and "examples" in rows[0][1]


def with_confidence(split, alpha, wrong):
    """A network that says 0.75, of 400 examples, and is wrong on these shares of the even and of the odd ones."""
    confidence, correct = np.full(400, 0.75), np.ones(400, bool)
    for half, share in enumerate(wrong):
        correct[half::2][:round(200 * share)] = False
    row = {"alpha": alpha, "seed": 0, "arm": f"alpha={alpha:g}", "baseline": None}
    units = crossed.Units.of(None, 400)
    return calibration_records.Measured(row, split, {}, [], confidence, correct, {}, units)


def test_the_best_smoothing_is_chosen_on_other_examples_than_those_that_tell_its_error():
    """By halves, each arm is calibrated on one half alone, and the one that is chosen there errs on the other."""
    halves = [with_confidence("test", 0.0, (0.25, 0.65)), with_confidence("test", 0.1, (0.65, 0.25))]
    record, = calibration_records._best(halves, [])
    wrong = 0.4**2 - 0.65 * 0.35 / 199
    assert record.values == [0.0, 0.1] and record.extra["error"] == pytest.approx(wrong)
    assert record.extra["chosen_on"] == "other half" and record.extra["networks"] == 1
    validation = [with_confidence("validation", 0.0, (0.6, 0.6)), with_confidence("validation", 0.1, (0.25, 0.25))]
    record, = calibration_records._best(halves, validation)
    assert record.values == [0.1] and record.extra["chosen_on"] == "validation"
    assert record.extra["error"] == pytest.approx(0.2**2 - 0.45 * 0.55 / 399)
    told = calibration_tables.summary([record], "test")
    assert told.startswith("Chosen on validation, the best-calibrated smoothing is α = 0.1")
    assert told.endswith("(1 seed).")
    earlier = dataclasses.replace(record, extra={"share": {"0.1": 1.0}})
    assert calibration_tables.summary([earlier], "test") == ""


def test_every_smoothing_stands_in_table_3(results):
    rows = calibration_tables.table_3(results, "test", "mine")[2:]
    assert all(" / 0.1; " in row[3] and row[3].endswith(" / 0.3") for row in rows if row[0].startswith("mine"))


def test_the_floor_stands_beside_the_plain_error(results):
    header, *rows = calibration_tables.cells(results, "test")[1:]
    floor = one(results, quantity="ece of a calibrated network", split="test", alpha=0.1)
    assert header[2] == "of a calibrated network" and f"{floor.mean:.4f}" in [row[2] for row in rows]
