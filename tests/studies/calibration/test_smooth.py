"""The smooth reliability curve: against its definition, relplot, and how often its band covers the truth."""
import numpy as np
import pytest

from ls_jax.studies.calibration import plots, records, scores, smooth
from ls_jax.studies.common import crossed, streaming
from ls_jax.studies.common import records as common_records
from tests.logits import sample

T = np.linspace(0, 1, smooth.POINTS + 1)


def kernel(confidence, width):
    """A Gaussian that is reflected at 0 and 1, at each point and example, relative to its peak."""
    images = [confidence + 2 * k for k in range(-3, 4)] + [-confidence + 2 * k for k in range(-3, 4)]
    return sum(np.exp(-np.square((T[:, None] - image) / width) / 2) for image in images)


@pytest.mark.parametrize("width", [0.01, 0.05, 0.3])
def test_the_sums_are_those_of_a_reflected_gaussian(width):
    rng = np.random.default_rng(0)
    place = np.concatenate([rng.random(200), [0.0, 1.0]])
    weight, group = rng.random(202), rng.integers(0, 2, 202)
    due = [kernel(place, width) @ np.where(group == k, weight, 0) for k in (0, 1)]
    np.testing.assert_allclose(smooth.smoothed(place, weight, group, width), due, rtol=1e-2, atol=2e-3 / width)


def network(seed, examples=3000):
    """One test set, the same for all seeds, and a network that differs a little between them."""
    logits, labels = sample(examples, 6, 1.5, 2.0)
    return logits + 0.3 * np.random.default_rng(seed).normal(size=logits.shape), labels


def test_the_curve_by_its_definition_and_without_its_groups():
    of = [streaming.top_label(*network(seed)) for seed in range(3)]
    confidence, correct = (np.stack([getattr(each, name) for each in of]) for name in ("confidence", "correct"))
    group = crossed.groups(np.arange(3000))
    found = smooth.curve(confidence, correct, group, 3000)
    widths = [scores.smooth_error(*each) for each in zip(confidence, correct)]
    assert found.bandwidth == pytest.approx(np.mean(widths), abs=1e-4) and min(widths) > smooth.NARROWEST
    shares = lambda kept: np.array([kernel(p[kept], width) @ y[kept] / kernel(p[kept], width).sum(1)
                                    for p, y, width in zip(confidence, correct, widths)])
    near = np.array([kernel(p, width).sum(1) for p, width in zip(confidence, widths)])
    enough = near.min(0) >= smooth.FEW
    assert [value is not None for value in found.accuracy] == enough.tolist()
    with np.errstate(invalid="ignore", divide="ignore"):
        whole, deleted = shares(group >= 0), np.stack([shares(group != k) for k in range(crossed.GROUPS)], axis=1)
    for k in np.flatnonzero(enough)[::7]:
        due = crossed.of_statistic(whole[:, k], deleted[:, :, k], 3000)
        assert found.accuracy[k] == pytest.approx(due.estimate, abs=3e-3)
        assert (found.low[k], found.high[k]) == pytest.approx(due.interval, abs=1e-2)
    assert np.trapezoid(found.density, T) == pytest.approx(1, abs=0.05)


def test_where_few_examples_are_near_there_is_no_curve():
    rng = np.random.default_rng(0)
    p = 0.8 + 0.1 * rng.random((1, 500))
    of = smooth.curve(p, rng.random((1, 500)) < p, crossed.groups(np.arange(500)), 500)
    there = np.array([value is not None for value in of.accuracy])
    assert there[80:91].all() and not there[:60].any() and of.low[50] is None and of.high[50] is None


def test_relplot():
    """Its curve has the same kernel, on a coarser grid; confidences keep away from 1, where its reflection halves."""
    relplot = pytest.importorskip("relplot", reason="compares with a library of the extra: pip install -e '.[peers]'")
    of = streaming.top_label(*network(0))
    inner = 0.95 * of.confidence
    theirs = relplot.prepare_rel_diagram(inner, of.correct.astype(float), plot_confidence_band=False,
                                         report_CE_std=False)
    found = smooth.curve(inner[None], of.correct[None], crossed.groups(np.arange(3000)), 3000)
    assert found.bandwidth == pytest.approx(theirs["sigma"], abs=2e-3)
    at = np.interp(T, theirs["mesh"], theirs["mu"])
    compared = [k for k, near in enumerate(kernel(inner, found.bandwidth).sum(1)) if near > 100]
    assert len(compared) > 30
    np.testing.assert_allclose([found.accuracy[k] for k in compared], at[compared], atol=0.02)


def test_the_band_covers_a_known_curve():
    """Confidence p is right with probability p²; the smoothed truth is inside the band at most points, in most tests
    sets."""
    covered = []
    for trial in range(20):
        rng = np.random.default_rng(trial)
        p = rng.random((1, 4000))
        of = smooth.curve(p, rng.random((1, 4000)) < p**2, crossed.groups(np.arange(4000)), 4000)
        shape = kernel(p[0], of.bandwidth)
        truth = shape @ p[0]**2 / shape.sum(1)
        covered += [low <= true <= high for low, true, high in zip(of.low, truth, of.high) if low is not None]
    assert 0.9 < np.mean(covered) < 0.99


def test_the_figure_shows_the_curve():
    measured = [each for seed in (0, 1)
                for each in records.measure({"alpha": 0.0, "seed": seed}, {"test": network(seed)})]
    drawn = plots.chosen(records.run(measured, draws=20), "test")
    figure = plots.smooth_diagram(drawn, "test split")
    axis, below = figure.axes
    (label, record), *_ = drawn.items()
    assert label == "unsmoothed, T = 1" and len(drawn) == 2
    of = record.extra["smooth"]
    line = axis.lines[1]
    assert line.get_label() == f"unsmoothed, T = 1 (bandwidth {of['bandwidth']:.3f})"
    np.testing.assert_array_equal(line.get_ydata(), [np.nan if value is None else value for value in of["accuracy"]])
    assert len(below.lines) == 2 and axis.collections
    one, = common_records.select(records.run(measured[:1], draws=20), quantity="reliability", temperature=1.0)
    assert one.extra["smooth"]["low"][95] < one.extra["smooth"]["accuracy"][95] < one.extra["smooth"]["high"][95]
