"""Calibration errors against scikit-learn, torchmetrics, netcal, uncertainty-calibration and relplot.

They agree to 1e-6 wherever they are right. Where they are not, the test says what theirs is.
"""
import numpy as np
import pytest

from ls_jax.studies import calibration
from ls_jax.studies.calibration import binning, scores
from ls_jax.studies.common import streaming
from tests.logits import sample, softmax

REASON = "compares with a library of the extra: pip install -e '.[peers]'"


def saturated():
    """Half of the confidences are 1.0, to the last bit."""
    logits, labels = sample(600, 5)
    logits[::2] *= 1e4
    return logits, labels


def tied():
    """Few distinct confidences, each of many examples, none of them on an edge."""
    rng = np.random.default_rng(3)
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.45, 0.45, 0.1], [0.7, 0.2, 0.1], [0.9, 0.06,
                                                                                    0.04]]))[rng.integers(4, size=900)]
    return logits, rng.integers(3, size=900)


CASES = {
    "random": lambda: sample(1500), "over-confident": lambda: sample(900, 20, factor=3.0),
    "two classes": lambda: sample(300, 2), "saturated": saturated, "tied": tied, "few": lambda: sample(20, 4)
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def torchmetrics_error(logits, labels, norm="l1", bins=15):
    """In float64: torchmetrics takes the softmax only of logits that leave [0, 1], so it is handed probabilities."""
    torch = pytest.importorskip("torch", reason=REASON)
    classification = pytest.importorskip("torchmetrics.functional.classification", reason=REASON)
    return float(classification.multiclass_calibration_error(torch.tensor(softmax(logits)), torch.tensor(labels).long(),
                                                             logits.shape[1], bins, norm))


@each_case
def test_scikit_learn(case):
    """Its bins are (lo, hi] as well; uniform for equal widths, quantile for equal masses where those divide the
    examples."""
    sklearn = pytest.importorskip("sklearn.calibration", reason=REASON)
    logits, labels = case()
    of = streaming.top_label(logits, labels)
    for scheme, strategy in (("equal_width", "uniform"), ("equal_mass", "quantile")):
        if scheme == "equal_mass" and (len(labels) % 15 or case is tied or case is saturated):
            continue  # scikit-learn interpolates between the examples at an edge, so its bins are others
        diagram = calibration.reliability(logits, labels, scheme=scheme)
        accuracy, confidence = sklearn.calibration_curve(of.correct, of.confidence, n_bins=15, strategy=strategy)
        full = diagram.count > 0
        np.testing.assert_allclose(diagram.accuracy[full], accuracy, atol=1e-6)
        np.testing.assert_allclose(diagram.confidence[full], confidence, atol=1e-6)


@each_case
@pytest.mark.parametrize("norm", binning.NORMS)
def test_torchmetrics(case, norm):
    """It works in float32, and keeps confidences that are 1.0 there in a bin of their own, the sixteenth, apart from
    0.999."""
    logits, labels = case()
    of = streaming.top_label(logits, labels)
    alone = of.confidence.astype(np.float32) == 1
    index = np.where(alone, 15, binning.bin_index(of.confidence, binning.equal_width(15)))
    count, gap, correct = (np.bincount(index, each, 16) for each in (None, of.confidence - of.correct, of.correct))
    theirs = torchmetrics_error(logits, labels, norm)
    assert binning.calibration_error(count.astype(float), gap, correct, norm) == pytest.approx(theirs, abs=2e-6)
    if not alone.any():
        assert calibration.expected_calibration_error(logits, labels, norm=norm) == pytest.approx(theirs, abs=2e-6)


@each_case
def test_netcal(case):
    """Its equal-width bins are [lo, hi), which matters on edges alone. Of two classes it bins the second's probability
    instead."""
    netcal = pytest.importorskip("netcal.metrics", reason=REASON)
    logits, labels = case()
    probability = softmax(logits)
    if logits.shape[1] == 2:
        errors = calibration.expected_calibration_error(logits, labels, scheme="classwise")
        assert errors == pytest.approx(
            np.mean([netcal.ECE(15).measure(probability[:, k], np.int64(labels == k)) for k in (0, 1)]))
        return
    for norm, peer in (("l1", netcal.ECE(15)), ("max", netcal.MCE(15))):
        assert calibration.expected_calibration_error(logits, labels, norm=norm) == pytest.approx(
            peer.measure(probability, labels), abs=1e-6)


@each_case
def test_uncertainty_calibration(case):
    """Its bins are (lo, hi] and its equal-mass bins part the examples as ours do, at the middle between two
    neighbours."""
    peer = pytest.importorskip("calibration", reason=REASON)
    logits, labels = case()
    probability = softmax(logits)
    ours = lambda **options: calibration.expected_calibration_error(logits, labels, **options)
    assert ours() == pytest.approx(peer.get_ece(probability, labels), abs=1e-6)
    # its equal-mass edges then stop before 1.0 is counted, and it drops what is beyond the last
    if case is not saturated:
        assert ours(scheme="equal_mass") == pytest.approx(peer.get_ece_em(probability, labels), abs=1e-6)
    by_width = dict(num_bins=15, binning_scheme=peer.get_equal_prob_bins)
    if case is not saturated and case is not tied:
        marginal = peer.lower_bound_scaling_ce(probability, labels, p=1, debias=False, mode="marginal", **by_width)
        assert ours(scheme="classwise") == pytest.approx(marginal, abs=1e-6)
    square = peer.lower_bound_scaling_ce(probability, labels, p=2, debias=False, mode="top-label", **by_width)
    assert ours(norm="l2") == pytest.approx(square, abs=1e-6)
    debiased = peer.lower_bound_scaling_ce(probability, labels, p=2, debias=True, mode="top-label", **by_width)
    # it cuts negative estimates off at 0, which biases their mean over seeds: ours keep the sign
    assert max(ours(norm="l2", debiased=True), 0) == pytest.approx(debiased, abs=1e-6)


def test_uncertainty_calibrations_first_order_debiasing_is_ours_in_expectation():
    """It draws 1000 normals where we take their mean in closed form, and refuses bins of fewer than two examples."""
    peer = pytest.importorskip("calibration", reason=REASON)
    logits, labels = sample(2000, 4, 2.0, factor=1.2)
    np.random.seed(0)
    theirs = np.mean([peer.get_ece_em(softmax(logits), labels, debias=True, num_bins=10) for _ in range(5)])
    ours = calibration.expected_calibration_error(logits, labels, 10, "equal_mass", debiased=True)
    assert ours == pytest.approx(theirs, abs=5e-4)


@each_case
def test_relplot(case):
    """It finds the bandwidth to 1/1024 only, and its reflection halves what is at the ends (and within 1/1000 of them).

    So it is handed confidences that keep away from 1, where the two agree; test_scores checks ours against the
    definition.
    """
    relplot = pytest.importorskip("relplot", reason=REASON)
    of = streaming.top_label(*case())
    inner = 0.95 * of.confidence
    assert scores.smooth_error(inner, of.correct) == pytest.approx(relplot.smECE(inner, of.correct.astype(float)),
                                                                   abs=1.5e-3)
    width = scores.smooth_error(inner, of.correct)
    if width > 0.02:  # narrower ones it does not resolve on its grid of 200 points
        assert width == pytest.approx(relplot.metrics.smECE_sigma(inner, of.correct.astype(float), width), rel=1e-2)
