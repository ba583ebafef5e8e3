"""Figure 1: which members and examples it shows, how its axes are shared, and that its files are pictures."""
import numpy as np
import pytest
from PIL import Image

from ls_jax.studies import projection
from ls_jax.studies.common import plots
from ls_jax.studies.projection import plots as projection_plot
from ls_jax.workdir import predictions
from ls_jax.workdir.predictions import Predictions

ROWS = [{"alpha": alpha, "seed": seed} for alpha in (0.0, 0.05, 0.2) for seed in (0, 1)]
NAMES = ("cat", "dog", "ship", "truck")


def write(workdir, member, split, examples=480):
    rng = np.random.default_rng(member)
    kernel, labels = rng.normal(size=(5, 4)).astype(np.float32), np.arange(examples, dtype=np.int32) % 4
    features = (kernel.T[labels] + rng.normal(size=(examples, 5))).astype(np.float32) * (1 + member)
    predicted = Predictions(features @ kernel, features, labels, np.arange(examples, dtype=np.int32))
    predictions.save(workdir, split, member, predicted, {"kernel": kernel, "bias": np.zeros(4, np.float32)}, NAMES)


@pytest.fixture
def workdir(tmp_path):
    for member in range(1, 6):  # member 0 diverged
        for split in ("train", "test"):
            write(tmp_path, member, split)
    return tmp_path


def test_shows_no_smoothing_and_the_one_nearest_the_papers(workdir):
    assert projection_plot.chosen_members(workdir, ROWS, "test") == [1, 3]  # seed 1, since seed 0 has no α = 0
    other_rate = [{**row, "learning_rate": 0.1 if member != 1 else 0.2} for member, row in enumerate(ROWS)]
    assert projection_plot.chosen_members(workdir, other_rate, "test") == [1]


def test_a_row_has_a_hundred_examples_a_class_on_their_plane(workdir):
    row = projection_plot.row(workdir, ROWS, (3, 0, 1), "test", "tiny")
    assert row.class_names == ["truck", "cat", "dog"]
    assert [panel.title for panel in row.panels] == ["Training, no smoothing", "Test, no smoothing",
                                                     "Training, α = 0.05", "Test, α = 0.05"]
    arrays = predictions.load(workdir, "train", 1)
    plane = projection.template_plane(arrays["kernel"], arrays["bias"], (3, 0, 1))
    everything = projection.project(arrays["features"], plane)
    panel = row.panels[0]
    for which, label in enumerate((3, 0, 1)):
        shown = {tuple(point) for point in panel.points[panel.which == which]}
        assert len(shown) == 100 and shown <= {tuple(point) for point in everything[arrays["labels"] == label]}


def test_figure_shares_axes_by_pairs_and_names_the_classes(workdir):
    rows = [projection_plot.row(workdir, ROWS, triple, "test", "tiny") for triple in ((0, 1, 2), (3, 0, 1))]
    figure = projection_plot.figure(rows)
    axes = np.asarray(figure.axes).reshape(2, 4)
    for across, row in zip(axes, rows):
        for column, (axis, panel) in enumerate(zip(across, row.panels)):
            assert axis.get_xlim() == axis.get_ylim() == across[column // 2 * 2].get_xlim()
            assert np.abs(panel.points).max() < axis.get_xlim()[1] == -axis.get_xlim()[0]
        assert [text.get_text() for text in across[0].get_legend().get_texts()] == list(row.class_names)
    assert axes[0, 0].get_xlim() != axes[0, 2].get_xlim() and axes[0, 0].get_xlim() != axes[1, 0].get_xlim()
    png, pdf = plots.save(figure, workdir / "figures" / "projection")
    assert Image.open(png).size[0] > 1000 and pdf.read_bytes().startswith(b"%PDF")


def test_nothing_to_show_is_no_row(tmp_path, workdir):
    assert projection_plot.row(tmp_path / "empty", ROWS, (0, 1, 2), "test", "tiny") is None
    arrays = predictions.load(workdir, "train", 1)
    predicted = Predictions(**{name: arrays[name] for name in Predictions._fields if name in arrays})
    arrays["kernel"][:, 1] = arrays["kernel"][:, 0]
    predictions.save(workdir, "train", 1, predicted, arrays, NAMES)
    assert projection_plot.row(workdir, ROWS, (0, 1, 2), "test", "tiny") is None
