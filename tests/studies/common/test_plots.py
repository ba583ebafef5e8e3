"""Learning curves show what was logged; figures leave the caller's matplotlib as it is."""
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.text import Text

from ls_jax.studies.common import plots
from ls_jax.studies.projection import plots as projection_plots

ROWS = [{"step": step, "member": 0, "alpha": 0.1, "split": split, "loss": 1.0, "accuracy": 0.5, "nll": 1.0}
        for step in (1, 2) for split in ("train", "test")]


def test_learning_curves_are_the_rows_and_their_mean():
    """Of three members with a skewed spread: each has a thin line, the thick one is their mean and the band their
    range."""
    value = {"train": "loss", "test": "accuracy"}
    rows = [{"step": step, "member": member, "alpha": alpha, "split": split, "nll": 2 * number,
             value[split]: number} for step in (10, 20, 30) for split in value for alpha, first in ((0.0, 0), (0.1, 3))
            for member, number in ((first, step + alpha), (first + 1, 2 * step), (first + 2, 9 * step))]
    figure = plots.learning_curves(rows, "test")
    titles = ("training loss (smoothed targets)", "test accuracy", "test NLL (one-hot labels)")
    for axis, factor, title in zip(figure.axes, (1, 1, 2), titles):
        assert axis.get_title() == title
        lines = [line.get_xydata() for line in axis.get_lines()]
        assert len(lines) == 8 and [text for text in axis.get_legend_handles_labels()[1]] == ["α = 0", "α = 0.1"]
        for alpha, (*members, middle), band in zip((0.0, 0.1), (lines[:4], lines[4:]), axis.collections, strict=True):
            steps = np.array([10, 20, 30])
            expected = factor * np.array([steps + alpha, 2 * steps, 9 * steps])
            np.testing.assert_allclose(sorted(line[:, 1].tolist() for line in members), sorted(expected.tolist()))
            np.testing.assert_allclose(middle, np.stack([steps, expected.mean(axis=0)], axis=1))
            corners = band.get_paths()[0].vertices
            np.testing.assert_allclose(
                [[corners[corners[:, 0] == step, 1].min(), corners[corners[:, 0] == step, 1].max()] for step in steps],
                np.stack([expected.min(axis=0), expected.max(axis=0)], axis=1))


@pytest.mark.parametrize("name", [r"$\foo$", "$x$", "US$ and A$", r"\$"])
def test_names_are_no_mathematics(tmp_path, name):
    """matplotlib reads what stands between dollars as a formula: an unknown command is an error, and others lose their
    dollars."""
    panel = projection_plots.Panel("Training", np.eye(3, 2), np.arange(3), name)
    figure = projection_plots.figure([projection_plots.Row(name, (name,) * 3, [panel], 1)])
    (axis,) = figure.axes
    axis.set_xticks([0.0], [name])
    plots.make_logarithmic(axis)
    axis.set_ylim(0.001, 10)
    files = plots.save(figure, tmp_path / "figure")
    assert all(file.stat().st_size for file in files)
    texts = figure.findobj(Text)
    assert not any(text.get_parse_math()
                   for text in texts if name == text.get_text()) and name in [text.get_text() for text in texts]
    assert {text.get_text() for text in axis.get_yticklabels()} >= {"0.01", "0.1", "1"}


def test_pyplot_does_not_hear_of_figures(tmp_path):
    before = pyplot.get_fignums()
    figure = plots.learning_curves(ROWS, "test")
    assert pyplot.get_fignums() == before
    assert [file.name for file in plots.save(figure, tmp_path / "curves")] == ["curves.png", "curves.pdf"]


def test_the_backend_stays_the_callers():
    program = ("import matplotlib; matplotlib.use('svg'); import ls_jax.studies.common.plots; "
               "print(matplotlib.get_backend())")
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "svg\n"


def test_files_for_papers_hold_truetype_fonts(tmp_path):
    """Conferences refuse Type 3."""
    _, file = plots.save(plots.learning_curves(ROWS, "test"), tmp_path / "curves")
    assert b"/CIDFontType2" in file.read_bytes() and b"/Type3" not in file.read_bytes()


def test_names_in_other_scripts_are_drawn(tmp_path, recwarn):
    if not plots.other_fonts():
        pytest.skip("no font with Chinese letters is installed, such as Debian's fonts-noto-cjk")
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(figsize=(2, 2))
        axes.set_title("猫, 犬, dog")
        plots.save(figure, tmp_path / "names")
    assert not [warning for warning in recwarn if "missing from" in str(warning.message)]
    assert len(axes.title.get_fontfamily()) > 1 == len(axes.get_xticklabels()[0].get_fontfamily())
