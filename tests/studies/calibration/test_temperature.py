"""Temperature scaling against known factors, a bounded scalar search, and the data on which fits break."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from ls_jax.studies import calibration
from ls_jax.studies.calibration import temperature
from ls_jax.studies.common import streaming
from tests.logits import adversarial, sample, softmax


def nll(logits, labels, t):
    scaled = logits.astype(np.float64) / t
    return np.mean(special.logsumexp(scaled, axis=-1) - scaled[np.arange(len(labels)), labels])


@pytest.mark.parametrize("factor", [0.25, 1.0, 1.9, 8.0])
def test_recovers_the_factor_to_1_percent(factor):
    logits, labels = sample(60_000, 5, 2.0)
    whole = calibration.fit_temperature((factor * logits).astype(np.float32), labels)
    assert whole.temperature == pytest.approx(factor, rel=0.01)
    assert whole.converged is True and whole.status == "converged" and whole.reported is None
    assert whole.fitted.nll_after <= whole.fitted.nll_before + 1e-12 and whole.fitted.ece_after < 0.01


@settings(max_examples=80, deadline=None)
@given(adversarial())
def test_minimum_is_no_worse_than_a_search(case):
    """Whatever the data: an error that names it, or a temperature within the bounds that no other one beats."""
    logits, labels = case
    try:
        fit = calibration.fit_temperature(logits, labels)
    except ValueError as error:
        own = logits[np.arange(len(labels)), labels]
        assert np.any(np.isneginf(own)
                      | (np.isposinf(logits).any(-1) & ~np.isposinf(own))) and "no temperature" in str(error)
        return
    lowest, highest = temperature.BOUNDS
    assert lowest <= fit.temperature <= highest and np.isfinite(fit.temperature)
    assert fit.converged == (fit.status == "converged")
    likelihood = lambda t: streaming.top_label(logits.astype(np.float64), labels, t).nll.mean()
    tried = [
        likelihood(t) for t in (lowest, 0.1, 0.5, 1, 2, 10, highest, 0.99 * fit.temperature, 1.01 * fit.temperature)
        if lowest <= t <= highest
    ]
    assert likelihood(fit.temperature) <= min(tried) * (1 + 1e-9) + 1e-12


def test_equals_a_bounded_scalar_search_and_is_exact():
    logits, labels = sample(2000, factor=2.3)
    found = calibration.fit_temperature(logits, labels)
    search = optimize.minimize_scalar(lambda u: nll(logits, labels, np.exp(u)), bounds=np.log(temperature.BOUNDS),
                                      method="bounded", options={"xatol": 1e-10})
    assert np.log(found.temperature) == pytest.approx(search.x, abs=1e-6)
    # the score E[z] = z_label, to rounding: what a search on values alone cannot reach
    scaled = softmax(logits / found.temperature)
    assert abs(np.mean(np.sum(scaled * logits, -1) - logits[np.arange(2000), labels])) < 1e-9
    assert found.fitted.nll_before == pytest.approx(nll(logits, labels, 1)) and found.fitted.nll_after == pytest.approx(
        search.fun)


def test_takes_few_passes(monkeypatch):
    passes = []
    slope = temperature._slope
    monkeypatch.setattr(temperature, "_slope", lambda *args: passes.append(args[2]) or slope(*args))
    for factor in (0.2, 1.0, 1.9, 5.0):
        logits, labels = sample(1000, factor=factor)
        temperature.minimise_nll(logits, labels)
    assert len(passes) <= 4 * 9, passes


NINE = np.arange(9) % 3


@pytest.mark.parametrize("logits, labels, answer, status", [
    (5.0 * np.eye(3)[NINE] - 1, NINE, 0.01, "at lower bound"),                       # separable
    (2000.0 * np.eye(3)[NINE], NINE, 0.01, "at lower bound"),                        # separable, no slope left at T = 1
    (np.array([[3.0, 1.0, 0.0]]), np.array([0]), 0.01, "at lower bound"),            # one right example
    (np.array([[3.0, 1.0, 0.0]]), np.array([2]), 100.0, "at upper bound"),           # one wrong example
    (-5.0 * np.eye(3)[NINE], NINE, 100.0, "at upper bound"),                         # worse than chance
    (np.full((9, 3), 4.0), NINE, 1.0, "flat"),                                       # constant logits
    (np.arange(9.0)[:, None], np.zeros(9, int), 1.0, "flat"),                        # one class
    (np.array([[0.0, np.inf, 0.0]]), np.array([1]), 1.0, "flat"),                    # certain, at every temperature
    (np.array([[1.0, 1.0, -np.inf]] * 3), np.array([0, 1, 0]), 1.0, "flat"),         # tied, one class masked
    # one example with a best temperature
    (np.array([[3.0, 0.0, 2.0]]), np.array([2]), None, "converged"),
    (1e30 * np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 1]), 100.0, "at upper bound"),
])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_degenerate_data_has_a_defined_answer(logits, labels, answer, status, dtype):
    fit = calibration.fit_temperature(logits.astype(dtype), labels)
    assert fit.status == status and fit.converged is (status == "converged")
    assert answer is None or fit.temperature == pytest.approx(answer)
    assert np.all(np.isfinite(fit.fitted))


@pytest.mark.parametrize("call, message", [
    (lambda: calibration.fit_temperature(np.array([[0.0, -np.inf]]), np.array([1])),
     "no temperature gives a finite NLL"),
    (lambda: calibration.fit_temperature(np.array([[0.0, np.inf]]), np.array([0])),
     "no temperature gives a finite NLL"),
    (lambda: calibration.fit_temperature(softmax(sample(50)[0]), sample(50)[1]), "are probabilities"),
    (lambda: calibration.fit_temperature(*sample(50), criterion="accuracy"), "criterion='accuracy'"),
    (lambda: calibration.fit_temperature(*sample(50), report="test"), "report='test'"),
    (lambda: calibration.fit_temperature(*sample(50), bounds=(0, 10)), "bounds="),
    (lambda: calibration.fit_temperature(np.zeros((0, 3)), np.zeros(0, int)), "at least one example"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_members_mask_and_another_split():
    logits, labels = sample(1500, seed=1)
    other, other_labels = sample(900, seed=2)
    factors = np.array([1.0, 2.0, 0.5])
    members, reported = factors[:, None, None] * logits, factors[:, None, None] * other
    mask = np.arange(1500) < 1200
    fit = calibration.fit_temperature(members, labels, (reported, other_labels), mask=mask)
    alone = calibration.fit_temperature(logits[:1200], labels[:1200])
    np.testing.assert_allclose(fit.temperature, factors * alone.temperature, rtol=1e-7)
    assert fit.converged.tolist() == [True] * 3 and fit.fitted.nll_before.shape == (3,)
    np.testing.assert_allclose(fit.reported.nll_after, nll(other, other_labels, alone.temperature))
    np.testing.assert_allclose(fit.reported.ece_before, calibration.expected_calibration_error(reported, other_labels))
    same = calibration.fit_temperature(members, labels, "same")
    assert same.reported is same.fitted


def test_the_papers_grid_minimises_the_calibration_error():
    logits, labels = sample(4000, factor=1.9)
    fit = calibration.fit_temperature(logits, labels, criterion="ece")
    errors = {t: calibration.expected_calibration_error(logits, labels, temperature=t) for t in temperature.GRID}
    assert fit.fitted.ece_after == min(errors.values()) and errors[fit.temperature] == fit.fitted.ece_after
    assert 1.7 <= fit.temperature <= 2.1 and fit.converged
    flat = calibration.fit_temperature(np.zeros((5, 2)), np.zeros(5, int), criterion="ece")
    assert flat.temperature == 1.0
    narrow = calibration.fit_temperature(logits, labels, criterion="ece", grid=(0.5, 1.0, 1.5))
    assert narrow.temperature == 1.5 and narrow.status == "at upper bound"


def test_equals_torch_on_a_network_like_problem():
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[peers]'")
    torch.set_num_threads(1)
    logits, labels = sample(3000, 20, 4.0, factor=1.7)
    z, y = torch.tensor(logits), torch.tensor(labels).long()
    scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([scale], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14,
                                  line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(z * torch.exp(-scale), y)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert calibration.fit_temperature(logits, labels).temperature == pytest.approx(float(scale.detach().exp()),
                                                                                    rel=1e-6)


@given(st.floats(0.2, 5.0))
@settings(max_examples=20, deadline=None)
def test_scaling_the_logits_scales_the_temperature(factor):
    logits, labels = sample(300)
    first, second = (calibration.fit_temperature(z, labels).temperature for z in (logits, factor * logits))
    assert second == pytest.approx(factor * first, rel=1e-7)
