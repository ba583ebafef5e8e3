"""What is drawn in Figure 5 and in the grid, read off the figures."""
import numpy as np
import pytest

from ls_jax.studies.distillation import plots

CURVES = {  # (γ, accuracies over seeds), far from symmetric
    "teacher": [(0.0, [0.90, 0.91, 0.97]), (0.6, [0.5, 0.93, 0.94])],
    "baseline student": [(0.0, [0.80, 0.805, 0.86])],
    "student of the unsmoothed teacher, T rising": [(0.1, [0.82, 0.83, 0.89]), (0.3, [0.81, 0.88, 0.885])],
    "student of smoothed teachers, T = 1": [(0.2, [0.7, 0.79, 0.8])],
    "unsmoothed teacher, no dark knowledge": [(0.3, [0.6, 0.61, 0.71])],
}


def test_figure_5_shows_means_and_bars_from_the_smallest_to_the_largest_seed(monkeypatch):
    monkeypatch.setattr(plots, "curves", lambda records, split: CURVES)
    axis, = plots.figure_5([], "validation").axes
    drawn = {container.get_label(): container for container in axis.containers}
    assert list(drawn) == list(CURVES) and axis.get_ylabel() == "validation accuracy, %"
    for name, points in CURVES.items():
        line, _, (bars,) = drawn[name]
        np.testing.assert_allclose(line.get_xydata(), [(gamma, 100 * np.mean(values)) for gamma, values in points])
        ends = [[(gamma, 100 * min(values)), (gamma, 100 * max(values))] for gamma, values in points]
        np.testing.assert_allclose(bars.get_segments(), ends)


def test_figure_5_tells_its_curves_apart_as_the_paper_does(monkeypatch):
    """Teachers and the baseline solid, distilled students dashed; the control is ours."""
    monkeypatch.setattr(plots, "curves", lambda records, split: CURVES)
    axis, = plots.figure_5([], "test").axes
    styles = {container.get_label(): container[0].get_linestyle() for container in axis.containers}
    assert list(styles.values()) == ["-", "-", "--", "--", ":"]
    assert len({(container[0].get_color(), container[0].get_linestyle())
                for container in axis.containers}) == len(CURVES)


@pytest.mark.parametrize("interval, bold",
                         [([0.001, 0.02], True), ([-0.02, -0.001], True), ([-0.001, 0.02], False), (None, False)])
def test_a_difference_is_bold_where_its_interval_leaves_out_zero(interval, bold):
    assert plots._excludes_zero(interval) is bold
