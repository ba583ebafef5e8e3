"""What is drawn in a reliability diagram, read off the figure."""
import numpy as np

from ls_jax.studies.calibration import bootstrap, plots

COUNT = np.array([[4.0, 0, 20, 60], [6.0, 0, 40, 30]])       # [seeds, bins]
CONFIDENCE = COUNT * np.array([0.2, 0.4, 0.6, 0.9])
CORRECT = COUNT * np.array([[0.5, 0, 0.5, 0.7], [0.5, 0, 0.8, 0.9]])


def test_a_reliability_diagram_shows_accuracy_over_confidence_and_the_shares():
    figure = plots.reliability_diagram({"hard": plots.Curve(COUNT, CONFIDENCE, CORRECT)})
    axis, below = figure.axes
    diagonal, *seeds, pooled = axis.get_lines()
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    np.testing.assert_allclose([line.get_ydata() for line in seeds],
                               [[0.5, 0.7], [0.8, 0.9]])  # bins of at least FEW examples
    total, right = COUNT.sum(axis=0)[[0, 2, 3]], CORRECT.sum(axis=0)[[0, 2, 3]]
    np.testing.assert_allclose(pooled.get_xydata(), np.stack([[0.2, 0.6, 0.9], right / total], axis=1))
    band, sure, unsure = axis.collections
    np.testing.assert_allclose(sure.get_offsets(), pooled.get_xydata()[1:])
    np.testing.assert_allclose(unsure.get_offsets(), pooled.get_xydata()[:1])  # 5 examples a seed
    low, high = bootstrap.share_interval(right / 2, total / 2, 0.95)
    corners = band.get_paths()[0].vertices
    for confidence, ends in zip((0.6, 0.9), zip(low[1:], high[1:])):
        there = corners[np.isclose(corners[:, 0], confidence), 1]
        np.testing.assert_allclose((there.min(), there.max()), ends)
    np.testing.assert_allclose([bar.get_height() for bar in below.patches], COUNT.sum(axis=0) / COUNT.sum())
