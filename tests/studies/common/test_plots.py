"""Figures leave the caller's matplotlib as it is."""
import subprocess
import sys

from matplotlib import pyplot

from ls_jax.studies.common import plots

ROWS = [{"step": step, "member": 0, "alpha": 0.1, "split": split, "loss": 1.0, "accuracy": 0.5, "nll": 1.0}
        for step in (1, 2) for split in ("train", "test")]


def test_pyplot_does_not_hear_of_figures(tmp_path):
    before = pyplot.get_fignums()
    figure = plots.learning_curves(ROWS, "test")
    assert pyplot.get_fignums() == before
    assert [file.name for file in plots.save(figure, tmp_path / "curves")] == ["curves.png", "curves.pdf"]


def test_the_backend_stays_the_callers():
    program = "import matplotlib; matplotlib.use('svg'); import ls_jax.studies.common.plots; print(matplotlib.get_backend())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "svg\n"


def test_files_for_papers_hold_truetype_fonts(tmp_path):
    """Conferences refuse Type 3."""
    _, file = plots.save(plots.learning_curves(ROWS, "test"), tmp_path / "curves")
    assert b"/CIDFontType2" in file.read_bytes() and b"/Type3" not in file.read_bytes()
