"""Calibration errors, their intervals and diagrams, against closed forms, plain loops and the libraries for the
thing."""
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ls_jax.studies import calibration
from ls_jax.studies.calibration import binning, bootstrap
from ls_jax.studies.common import streaming
from tests.logits import adversarial, sample, softmax

PEERS = "compares with {}: pip install -e '.[peers]'"


def by_loop(confidence, correct, edges, norm="l1"):
    """The textbook's sum over bins."""
    gaps, shares = [], []
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gaps.append(abs(confidence[inside].mean() - correct[inside].mean()))
            shares.append(inside.mean())
    return {"l1": np.dot(shares, gaps), "l2": np.sqrt(np.dot(shares, np.square(gaps))), "max": max(gaps)}[norm]


@pytest.mark.parametrize("norm", binning.NORMS)
@pytest.mark.parametrize("bins", [1, 15, 100])
def test_equals_the_textbook(norm, bins):
    logits, labels = sample(factor=1.5)
    confidence, correct = softmax(logits).max(-1), logits.argmax(-1) == labels
    expected = by_loop(confidence, correct, np.linspace(0, 1, bins + 1), norm)
    assert calibration.expected_calibration_error(logits, labels, bins, norm=norm) == pytest.approx(expected, abs=1e-12)


def exact_confidence(logits):
    """In float64 from the definition, with +inf as the limit of a growing logit."""
    logits = logits.astype(np.float64)
    largest = logits.max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        relative = np.where(largest == np.inf, np.where(logits == np.inf, 0, -np.inf), logits - largest)
    return 1 / np.exp(relative).sum(axis=-1)


@settings(max_examples=80, deadline=None)
@given(adversarial(), st.sampled_from(["equal_width", "equal_mass"]), st.sampled_from([1, 2, 5, 15]))
def test_adversarial_logits(case, scheme, bins):
    logits, labels = case
    of = streaming.top_label(logits, labels)
    np.testing.assert_allclose(of.confidence, exact_confidence(logits), rtol=1e-6)
    np.testing.assert_array_equal(of.correct, logits.argmax(-1) == labels)
    expected = by_loop(of.confidence, of.correct, binning.edges_of(of.confidence, bins, scheme))
    assert calibration.expected_calibration_error(logits, labels, bins, scheme) == pytest.approx(expected, abs=1e-12)
    assert 0 <= calibration.expected_calibration_error(logits, labels, bins, "classwise") <= 1
    diagram = calibration.reliability(logits, labels, bins, scheme)
    assert diagram.count.sum() == len(labels)
    whole = calibration.expected_calibration_error(logits, labels, bins, scheme, interval=0.9, draws=20)
    assert 0 <= whole.low <= whole.high <= 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("tied", [1, 3, 5, 15])
def test_ties_sit_exactly_on_edges(tied, dtype):
    """k tied classes have confidence 1/k, the upper edge of a bin of 15: (lo, hi] puts them below it, whatever the
    dtype."""
    logits = np.full((4, 16), -np.inf, dtype)
    logits[:, :tied] = 2.5
    diagram = calibration.reliability(logits, np.zeros(4, int))
    assert diagram.count[15 // tied - 1] == 4 and diagram.confidence[15 // tied - 1] == 1 / tied
    classwise = binning.class_sums(logits, np.zeros(4, int), 15)
    assert np.all(classwise.count[:tied, 15 // tied - 1] == 4) and np.all(classwise.count[tied:, 0] == 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturated_confidence_is_in_the_last_bin(dtype):
    logits = np.array([[1e30, 0, 0], [500, 0, 0], [np.inf, 0, -np.inf], [0, np.inf, 5]], dtype)
    diagram = calibration.reliability(logits, np.array([0, 0, 0, 0]))
    assert diagram.count.tolist() == [0] * 14 + [4] and diagram.accuracy[-1] == 0.75
    assert calibration.expected_calibration_error(logits, np.array([0, 0, 0, 0])) == 0.25


def test_members_masks_blocks_and_jax_arrays(monkeypatch):
    logits, labels = sample(500)
    members = np.stack([logits, 2 * logits, 0.3 * logits]).astype(np.float32)
    mask = np.random.default_rng(1).random(500) < 0.6
    alone = [calibration.expected_calibration_error(member[mask], labels[mask]) for member in members]
    padded = np.where(mask[:, None], members, np.nan)  # what the mask hides may hold anything
    hidden = np.where(mask, labels, -100)
    np.testing.assert_array_equal(calibration.expected_calibration_error(padded, hidden, mask=mask), alone)
    monkeypatch.setattr(streaming, "BLOCK", 70)
    monkeypatch.setattr(streaming, "WORKERS", 3)
    together = calibration.expected_calibration_error(jnp.asarray(padded), jnp.asarray(hidden), mask=jnp.asarray(mask))
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    own = np.stack([labels, labels[::-1], labels])
    errors = calibration.expected_calibration_error(members[None], own[None], scheme="classwise")
    assert errors.shape == (1, 3) and errors[0, 1] != errors[0, 0]
    assert isinstance(calibration.expected_calibration_error(logits, labels), float)


def test_bfloat16_is_read():
    logits, labels = sample(300)
    short = jnp.asarray(logits, jnp.bfloat16)
    expected = calibration.expected_calibration_error(np.asarray(short, np.float32), labels)
    assert calibration.expected_calibration_error(short, labels) == expected


def test_equal_mass_shares_the_examples_out_but_keeps_equal_confidences_together():
    confidence = np.linspace(0.2, 1, 100)
    cells = binning.cells(confidence, np.ones(100, bool), binning.equal_mass(confidence, 15))
    assert sorted(cells.count.sum(-1)) == [6] * 5 + [7] * 10
    tied = np.repeat([0.3, 0.6, 0.9], [10, 80, 10])
    cells = binning.cells(tied, np.ones(100, bool), binning.equal_mass(tied, 15))
    assert sorted(cells.count.sum(-1))[-3:] == [10, 10, 80]
    few = np.array([0.5, 0.7])
    assert binning.cells(few, np.ones(2, bool), binning.equal_mass(few, 15)).count.sum() == 2


@pytest.mark.parametrize("norm", binning.NORMS)
def test_classwise_is_the_classes_own_errors(norm):
    logits, labels = sample(800, 6, factor=1.4)
    probability = softmax(logits)
    errors = [by_loop(probability[:, k], labels == k, np.linspace(0, 1, 16), norm) for k in range(6)]
    combined = {"l1": np.mean(errors), "l2": np.sqrt(np.mean(np.square(errors))), "max": max(errors)}[norm]
    measured = calibration.expected_calibration_error(logits, labels, scheme="classwise", norm=norm)
    assert measured == pytest.approx(combined, abs=1e-12)
    single = calibration.expected_calibration_error(logits.astype(np.float32), labels, scheme="classwise", norm=norm)
    assert single == pytest.approx(combined, abs=2e-5)


def test_debiased_square_is_unbiased_and_plain_is_not():
    rng = np.random.default_rng(0)
    count, share, confidence = np.array([40.0, 25, 8]), np.array([0.3, 0.7, 0.9]), np.array([0.4, 0.65, 0.9])
    right = rng.binomial(count.astype(int), share, (40_000, 3)).astype(float)
    gap = count * confidence - right
    truth = np.sum(count * np.square(confidence - share)) / count.sum()
    squares = [
        np.sign(x) * np.square(x)
        for x in (binning.calibration_error(np.broadcast_to(count, gap.shape), gap, right, "l2", flag)
                  for flag in (True, False))
    ]
    standard_error = squares[0].std() / np.sqrt(len(squares[0]))
    assert abs(squares[0].mean() - truth) < 4 * standard_error < abs(squares[1].mean() - truth) / 5
    plain, debiased = (binning.calibration_error(np.broadcast_to(count, gap.shape), gap, right, "l1", flag)
                       for flag in (False, True))
    truth = np.sum(count * np.abs(confidence - share)) / count.sum()
    assert abs(debiased.mean() - truth) < 0.6 * abs(plain.mean() - truth)


def test_interval_of_a_calibrated_model_covers_0():
    """Labels drawn from the softmax: 0 is the end of the range, so the interval misses it from one side, (1 -
    level)/2."""
    draws, missed = 500, {"l1": 0, "l2": 0}
    for seed in range(draws):
        of = streaming.top_label(*sample(1000, 4, 2.0, seed=seed))
        cells = binning.cells(of.confidence, of.correct, binning.equal_width(15))
        for norm in missed:
            missed[norm] += bootstrap.interval(cells, 0.90, norm, 100, seed)[0] > 0
    for norm in missed:
        assert 0.005 < missed[norm] / draws < 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / draws), missed


def test_interval_of_a_known_error_covers_it():
    """Confidence 0.05 above the accuracy in every bin: the true error is 0.05.

    That is the size of a bin's noise here, the hardest case: the observed gaps are more uneven than the true ones, and
    the interval of the "l1" error covers a little less than it says (0.84 of 0.90 in 1000 draws).
    """
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(200):
        confidence = rng.uniform(0.1, 0.99, 1500)
        correct = rng.random(1500) < confidence - 0.05
        low, high = bootstrap.interval(binning.cells(confidence, correct, binning.equal_width(15)), 0.9, draws=150,
                                       seed=seed)
        covered.append(low <= 0.05 <= high)
    assert 0.80 < np.mean(covered) < 0.96


def test_interval_does_not_leave_what_is_possible():
    """All right, at a confidence of 0.87: no accuracy is higher, so the error is at most 0.13."""
    rng = np.random.default_rng(0)
    confidence, correct = rng.uniform(0.8, 0.94, 500), rng.random(500) < 0.995
    low, high = bootstrap.interval(binning.cells(confidence, correct, binning.equal_width(15)), 0.95)
    assert 0.11 < low < 0.125 < high < 0.14


def test_differences_are_paired():
    logits, labels = sample(2000)
    other = 1.5 * logits
    paired = calibration.calibration_error_difference(other, logits, labels)
    errors = calibration.expected_calibration_error(np.stack([other, logits]), labels, debiased=True)
    assert paired.value == pytest.approx(errors[0] - errors[1], abs=1e-9) and paired.low < paired.value < paired.high
    same = calibration.calibration_error_difference(other, other, labels)
    assert max(-same.low, same.high) < 0.15 * (paired.high - paired.low)  # nothing is left but the intervals' asymmetry
    shuffled = np.random.default_rng(0).permutation(2000)
    confidence, correct = ([
        of.confidence for of in (streaming.top_label(other, labels), streaming.top_label(logits, labels))
    ], np.stack([logits.argmax(-1) == labels] * 2))
    apart = bootstrap.contrast(bootstrap.joint(np.stack([confidence[0], confidence[1][shuffled]]),
                                               np.stack([correct[0], correct[1][shuffled]])), (1, -1))
    assert paired.high - paired.low < apart.high - apart.low


# a calibrated network beside an over-confident one; two of these
@pytest.mark.parametrize("gaps", [(0.0, 0.1), (0.2, 0.05)])
def test_interval_of_a_difference_covers_it(gaps):
    def draw(rng, examples):
        share = rng.uniform(0.3, 0.95, examples)
        confidence = np.stack([share + 2 * gap * (1 - share) for gap in gaps]) + rng.normal(0, 0.02, (2, examples))
        return np.clip(confidence, 0.01, 1.0), np.stack([rng.random(examples) < share] * 2)

    confidence, correct = draw(np.random.default_rng(0), 1_000_000)
    errors = [
        binning.of_cells(binning.cells(*network, binning.equal_width(15))) for network in zip(confidence, correct)
    ]
    found = [
        bootstrap.contrast(bootstrap.joint(*draw(np.random.default_rng(seed), 2000), level=0.9, draws=100), (1, -1))
        for seed in range(1, 61)
    ]
    assert np.mean([each.low <= errors[0] - errors[1] <= each.high for each in found]) > 0.85


def test_resampling_by_groups_is_resampling_the_examples():
    rng = np.random.default_rng(0)
    confidence = rng.choice([0.3, 0.55, 0.8, 0.95], (2, 200))  # one confidence a bin, so that groups lose nothing
    correct = rng.random((2, 200)) < confidence
    correct[1] = np.where(rng.random(200) < 0.7, correct[0], correct[1])
    cells = [binning.cells(c, r, binning.equal_width(15)) for c, r in zip(confidence, correct)]
    groups = [binning.of_cells(each) for each in bootstrap.resample(cells, confidence, correct, 4000, 0)]
    picks = rng.integers(200, size=(4000, 200))
    direct = np.array(
        [[binning.of_cells(binning.cells(confidence[m][pick], correct[m][pick], cells[m].edges)) for pick in picks]
         for m in (0, 1)])
    np.testing.assert_allclose(np.mean(groups, axis=1), direct.mean(1), rtol=0.03)
    np.testing.assert_allclose(np.cov(groups), np.cov(direct), rtol=0.1, atol=2e-5)


def test_reliability_holds_what_the_error_needs_and_wilson_covers():
    logits, labels = sample()
    diagram = calibration.reliability(logits, labels, interval=0.95)
    gaps = np.nan_to_num(np.abs(diagram.confidence - diagram.accuracy))
    assert np.sum(diagram.count * gaps) / len(labels) == pytest.approx(
        calibration.expected_calibration_error(logits, labels))
    low, high = bootstrap.share_interval(np.array([0.0, 7, 10]), np.array([10.0, 10, 10]), 0.95)
    np.testing.assert_allclose(low, [0.0, 0.3968, 0.7225], atol=1e-4)   # as in statsmodels' proportion_confint
    np.testing.assert_allclose(high, [0.2775, 0.8922, 1.0], atol=1e-4)


@pytest.mark.parametrize("call, message", [
    (lambda z, y: calibration.expected_calibration_error(z, y, scheme="even"), "scheme='even'"),
    (lambda z, y: calibration.expected_calibration_error(z, y, norm="l3"), "norm='l3'"),
    (lambda z, y: calibration.expected_calibration_error(z, y, bins=0), "bins=0"),
    (lambda z, y: calibration.expected_calibration_error(z, y, scheme="classwise", bins=1.5), "bins=1.5"),
    (lambda z, y: calibration.expected_calibration_error(z, y, interval=95), "interval level 95"),
    (lambda z, y: calibration.expected_calibration_error(z, y, norm="max", debiased=True), "no debiased estimate"),
    (lambda z, y: calibration.expected_calibration_error(z, y, scheme="classwise", interval=0.9), "has no interval"),
    (lambda z, y: calibration.expected_calibration_error(z, y - 100), "labels must be in 0..9, found -"),
    (lambda z, y: calibration.expected_calibration_error(z, y + 5), "labels must be in 0..9, found 14"),
    (lambda z, y: calibration.expected_calibration_error(softmax(z), y), "are probabilities"),
    (lambda z, y: calibration.expected_calibration_error(z * np.nan, y), "NaN"),
    (lambda z, y: calibration.expected_calibration_error(z - np.inf, y), "all -inf"),
    (lambda z, y: calibration.expected_calibration_error(z, y, mask=np.zeros(len(y), bool)), "at least one example"),
    (lambda z, y: calibration.expected_calibration_error(z, y[:-1]), "labels"),
    (lambda z, y: calibration.expected_calibration_error(z[0], y), "logits"),
])
def test_bad_input_is_named(call, message, unchecked):
    with pytest.raises(ValueError) as error:
        call(*sample(100))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("examples", [40, 400, 4000])
def test_the_floor_is_the_error_of_calibrated_networks(examples):
    """Whose answers are right as often as they say; simulated, with the confidences of each bin equal."""
    rng = np.random.default_rng(0)
    confidence = (rng.integers(4, 15, examples) + 0.5) / 15
    edges = binning.equal_width(15)
    errors = [binning.of_cells(binning.cells(confidence, rng.random(examples) < confidence, edges))
              for _ in range(2000)]
    floor = binning.floor(binning.cells(confidence, confidence > 2, edges))
    assert floor == pytest.approx(np.mean(errors), abs=4 * np.std(errors) / np.sqrt(2000))
    assert binning.floor(binning.cells(np.ones(5), np.ones(5, bool), edges)) == 0


def test_what_debiasing_does_to_the_plain_error_of_a_calibrated_network():
    """The docstring's numbers: some 40 % of the bias, 3 to 4 % of values below 0."""
    rng = np.random.default_rng(0)
    confidence = rng.beta(6, 2, 5000)
    cells = [binning.cells(confidence, rng.random(5000) < confidence, binning.equal_width(15)) for _ in range(2000)]
    plain, debiased = (np.array([binning.of_cells(each, debiased=of) for each in cells]) for of in (False, True))
    assert 0.35 < 1 - debiased.mean() / plain.mean() < 0.45 and 0.02 < np.mean(debiased < 0) < 0.05
