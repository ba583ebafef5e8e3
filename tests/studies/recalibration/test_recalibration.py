"""Vector and isotonic scaling: against their definitions, scikit-learn and netcal, and as records."""
from unittest import mock

import numpy as np
import pytest
from scipy.special import softmax

from ls_jax.errors import InvalidArray
from ls_jax.studies import calibration, recalibration
from ls_jax.studies.calibration import records as calibration_records
from ls_jax.studies.common import records
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.recalibration import measure, section
from ls_jax.studies.recalibration import records as recalibration_records
from tests.logits import sample

REASON = "compares with a library of the extra: pip install -e '.[peers]'"
K, SEEDS = 5, (0, 1)
SCALE, BIAS = np.array([0.5, 1.0, 2.0, 1.0, 0.7]), np.array([0.0, 1.0, -1.0, 0.5, 0.2])


def spoiled(examples=4000, seed=0):
    """Logits that SCALE and BIAS make right: the labels are drawn from softmax(SCALE * logits + BIAS)."""
    right, labels = sample(examples, K, 2.0, seed=seed)
    return (right - BIAS) / SCALE, labels


def nll(log_p, labels):
    return -log_p[np.arange(len(labels)), labels].mean()


def test_vector_scaling_finds_what_the_labels_were_drawn_from():
    logits, labels = spoiled(20000)
    found = recalibration.fit_vector(logits, labels)
    assert found.converged
    np.testing.assert_allclose(found.scale, SCALE, rtol=0.08)
    np.testing.assert_allclose(found.bias - found.bias.mean(), BIAS - BIAS.mean(), atol=0.12)


def test_vector_scaling_is_the_minimum():
    """The NLL is convex, so a point where it is flat is the minimum: central differences in every parameter."""
    logits, labels = spoiled(1000)
    found = recalibration.fit_vector(logits, labels)
    best = nll(found.log_probabilities(logits), labels)
    for name in ("scale", "bias"):
        for place in range(K):
            step = 1e-3 * np.eye(K)[place]
            around = [
                nll(measure.Vector(**{"scale": found.scale, "bias": found.bias,
                                      name: getattr(found, name) + sign * step}
                                   ).log_probabilities(logits), labels) for sign in (1, -1)]
            assert min(around) >= best - 1e-8 and abs(around[0] - around[1]) / 2e-3 < 1e-4
    temperature = calibration.fit_temperature(logits, labels)
    assert best < temperature.fitted.nll_after  # one of its scalings
    warm = recalibration.fit_vector(logits[:-50], labels[:-50], found)
    cold = recalibration.fit_vector(logits[:-50], labels[:-50])
    assert nll(warm.log_probabilities(logits),
               labels) == pytest.approx(nll(cold.log_probabilities(logits), labels), abs=1e-6)


def test_vector_scaling_against_newton_steps_of_torch():
    torch = pytest.importorskip("torch", reason=REASON)
    logits, labels = spoiled(500)
    z, y = torch.tensor(logits), torch.tensor(labels).long()
    parameters = torch.cat([torch.ones(K), torch.zeros(K)]).double().requires_grad_()
    loss = lambda p: torch.nn.functional.cross_entropy(p[:K] * z + p[K:], y)
    for _ in range(30):
        gradient = torch.autograd.functional.jacobian(loss, parameters)
        hessian = torch.autograd.functional.hessian(loss, parameters)
        parameters = (parameters - 0.7 * torch.linalg.lstsq(hessian, gradient, driver="gelsd").solution).detach()
    found = recalibration.fit_vector(logits, labels)
    assert nll(found.log_probabilities(logits), labels) == pytest.approx(float(loss(parameters)), abs=1e-7)


def test_isotonic_regression_of_each_class_is_scikit_learns():
    sklearn = pytest.importorskip("sklearn.isotonic", reason=REASON)
    logits, labels = spoiled(1500)
    logits = np.concatenate([logits, logits[:300]])  # equal probabilities
    labels = np.concatenate([labels, np.roll(labels[:300], 1)])
    new, _ = spoiled(400, seed=1)
    found = recalibration.fit_isotonic(logits, labels)
    theirs = np.stack([sklearn.IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1).fit(
        softmax(logits, -1)[:, k], labels == k).predict(softmax(new, -1)[:, k]) for k in range(K)], axis=-1)
    theirs = np.clip(theirs, 1 / 1802, 1 - 1 / 1802)
    np.testing.assert_allclose(np.exp(found.log_probabilities(new)), theirs / theirs.sum(-1, keepdims=True), atol=1e-7)


def test_isotonic_regression_of_the_confidence_is_netcals():
    """Of two classes, where netcal's function of one probability needs no normalising."""
    netcal = pytest.importorskip("netcal.binning", reason=REASON)
    logits, labels = sample(800, 2, 2.0, 2.0)
    found = recalibration.fit_isotonic(logits, labels)
    probability = softmax(logits, -1)[:, 1]
    theirs = netcal.IsotonicRegression().fit(probability, labels).transform(probability)
    np.testing.assert_allclose(np.interp(probability, *found.steps[1]), theirs, atol=1e-6)


def test_isotonic_regression_by_the_definition():
    """max over starts of the min over ends of the means: the closed form of isotonic regression."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    found = recalibration.fit_isotonic(logits, labels)
    column = softmax(logits, -1)[:, 2]
    hits = (labels == 2)[np.argsort(column)].astype(float)
    due = [max(min(hits[a:b + 1].mean() for b in range(k, 40)) for a in range(k + 1)) for k in range(40)]
    np.testing.assert_allclose(np.interp(np.sort(column), *found.steps[2]), due, atol=1e-12)


def test_a_class_that_was_not_seen_stays_possible():
    logits, labels = sample(100, 3)
    labels = np.minimum(labels, 1)
    log_p = recalibration.fit_isotonic(logits, labels).log_probabilities(logits)
    assert np.isfinite(log_p).all() and np.exp(log_p[:, 2]).max() < 0.02
    np.testing.assert_allclose(np.exp(log_p).sum(-1), 1)


def test_equal_probabilities_predict_the_largest_logit():
    flat = measure.Isotonic(((np.array([0.0, 1.0]), np.array([0.5, 0.5])),) * 2, 0.01)
    predicted = measure.Predicted.of(flat, np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1, 0]))
    assert predicted.correct.all() and predicted.confidence.tolist() == pytest.approx([0.5, 0.5])


def test_separable_examples_do_not_converge_and_logits_must_be_finite():
    logits, _ = sample(200, 3, 3.0)
    assert np.exp(recalibration.fit_vector(logits, logits.argmax(-1)).log_probabilities(logits)).max(-1).mean() > 0.99
    logits[0, 0] = -np.inf
    for fit in measure.FITS.values():
        with pytest.raises(InvalidArray, match="finite"):
            fit(logits, logits.argmax(-1))


def network(seed, split, examples=600):
    logits, labels = spoiled(examples, {"validation": 7, "test": 8}[split])
    return logits + 0.1 * np.random.default_rng(seed).normal(size=logits.shape), labels


def measured(splits=("validation", "test"), of=recalibration_records.measure):
    return [each for alpha in (0.0, 0.1) for seed in SEEDS
            for each in of({"alpha": alpha, "seed": seed},
                           {split: network(seed + int(100 * alpha), split) for split in splits})]


@pytest.fixture(scope="module")
def results():
    return recalibration_records.run(measured())


def test_fitted_on_validation_and_reported_on_test(results):
    fit, (logits, labels) = recalibration.fit_vector(*network(1, "validation")), network(1, "test")
    record, = records.select(results, quantity="vector nll", split="test", kind="value", alpha=0.0)
    assert record.by_seed[1] == pytest.approx(nll(fit.log_probabilities(logits), labels))
    assert record.extra["fitted_on"] == "validation"
    fit = recalibration.fit_isotonic(*network(1, "validation"))
    log_p = fit.log_probabilities(logits)
    for quantity, due in (("nll", nll(log_p, labels)), ("ece", calibration.expected_calibration_error(log_p, labels)),
                          ("accuracy", np.mean(log_p.argmax(-1) == labels))):
        record, = records.select(results, quantity=f"isotonic {quantity}", split="test", kind="value", alpha=0.0)
        assert record.by_seed[1] == pytest.approx(due, abs=1e-3 if quantity != "nll" else 1e-9)  # equal probabilities
    assert {record.covers for record in results if record.kind == "value"} == {"seeds and examples"}


def test_by_halves_without_validation():
    found = recalibration_records.run(measured(("test",)))
    (logits, labels), fits = network(0, "test"), []
    for start in (0, 1):
        fit = recalibration.fit_vector(logits[1 - start::2], labels[1 - start::2])
        fits.append(nll(fit.log_probabilities(logits[start::2]), labels[start::2]))
    record, = records.select(found, quantity="vector nll", split="test", kind="value", alpha=0.0)
    assert record.by_seed[0] == pytest.approx(np.mean(fits)) and record.extra["fitted_on"] == "other half"


def test_without_a_group_the_scaling_is_fitted_again():
    from ls_jax.studies.common import crossed
    splits = {split: network(0, split) for split in ("validation", "test")}
    one = next(each for each in recalibration_records.measure({"alpha": 0.0, "seed": 0}, splits)
               if each.split == "test")
    group = crossed.groups(np.arange(600))
    for name, fit in measure.FITS.items():
        kept = group != 3
        again = fit(*(each[kept] for each in splits["validation"]))
        due = nll(again.log_probabilities(splits["test"][0][kept]), splits["test"][1][kept])
        assert one.samples[f"{name} nll"].deleted[3] == pytest.approx(due, abs=1e-5)


def test_nothing_is_fitted_on_few_examples_or_infinite_logits():
    logits, labels = network(0, "test", 80)
    measure_one = lambda *arrays: list(recalibration_records.measure({"alpha": 0.0, "seed": 0}, {"test": arrays}))
    assert measure_one(logits, labels) == [] and len(measure_one(*network(0, "test", 120))) == 1
    logits, labels = network(0, "test")
    logits[0, (labels[0] + 1) % K] = -np.inf
    assert measure_one(logits, labels) == []


def test_section(results):
    both = [*results, *calibration_records.run(measured(of=calibration_records.measure), draws=20)]
    html = section.section(mock.Mock(spec=Shown, records=both))
    assert html.count("<h3>") == 2
    table = section.table(both, "test")
    assert [row[:2] for row in table.rows] == [(name, f"α={alpha}") for name in section.SCALINGS
                                               for alpha in ("0", "0.1")]
    record, = records.select(results, quantity="isotonic nll", split="test", kind="value", alpha=0.1)
    assert table.rows[-1][2] == f"{record.mean:.4f} [{record.interval[0]:.4f}, {record.interval[1]:.4f}]"
    scaled = records.select(both, study="calibration", quantity="scaled nll", split="test", kind="value",
                            fitted_on="validation")
    assert [row[2][:6] for row in table.rows[2:4]] == [f"{record.mean:.4f}" for record in scaled]
    assert section.section(mock.Mock(spec=Shown, records=[])).strip() == ""
