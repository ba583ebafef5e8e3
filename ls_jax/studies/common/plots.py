"""Figures, as PNG for screens and PDF for papers; colours that colour-blind readers can tell apart (Okabe and Ito 2008).

They are made without pyplot, so that its backend and its figures stay the caller's; a notebook shows one that a cell returns.
"""
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context, ticker
from matplotlib.figure import Figure

from ls_jax.studies.common import records as results
from ls_jax.studies.common import tables
from ls_jax.workdir.files import replacing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
NAMES = {"text.parse_math": False}  # a class may be named $\foo$
STYLE = {
    "font.size": 10, "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.alpha": 0.25, "legend.frameon": False, "figure.dpi": 144,
} | NAMES
FONTS = {"pdf.fonttype": 42}  # TrueType: conferences refuse matplotlib's default, Type 3


def save(figure: Any, path: pathlib.Path) -> list[pathlib.Path]:
    """Write PATH.png and PATH.pdf, each whole or not at all; returns the files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_suffix(suffix) for suffix in (".png", ".pdf")]
    if figure.get_layout_engine():
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine(None)  # so that it is not laid out again, and drawn once more, for each file
    with rc_context(FONTS | NAMES):
        for file in files:
            with replacing(file) as unfinished:
                figure.savefig(unfinished, format=file.suffix[1:])
    return files


class PlainLogarithmic(ticker.LogFormatter):
    """Labels of a logarithmic axis, "0.01", where matplotlib's own are mathematical notation, which is off for the names' sake."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of the value x, "" where the axis has none."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def make_logarithmic(axes: Any) -> None:
    """Make the y axis logarithmic."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(PlainLogarithmic())
    axes.yaxis.set_minor_formatter(PlainLogarithmic())


def subplots(rows: int = 1, columns: int = 1, *, figsize: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """A figure of this size in inches and its axes, as pyplot's function of this name."""
    figure = Figure(figsize=figsize, layout="constrained")
    height_ratios = options.pop("height_ratios", None)
    return figure, figure.subplots(rows, columns, gridspec_kw={"height_ratios": height_ratios}, **options)


def learning_curves(rows: Sequence[dict[str, Any]], split: str, names: Sequence[str] = ("alpha",)) -> Any:
    """Training loss and held-out accuracy and NLL against the step: a line for each setting of some hyper-parameters, its band the
    members' range, and a thin line a member.

    Args:
        rows: those of metrics.jsonl.
        split: the held-out split.
        names: the hyper-parameters.
    """
    key = lambda row: tuple(row[name] for name in names)
    panels = [("train", "loss", "training loss (smoothed targets)"), (split, "accuracy", f"{split} accuracy"),
              (split, "nll", f"{split} NLL (hard labels)")]
    with rc_context(STYLE):
        figure, axes = subplots(1, len(panels), figsize=(11, 3.2))
        for axis, (of, quantity, title) in zip(axes, panels):
            here = [row for row in rows if row["split"] == of and row.get(quantity) is not None]
            for colour, value in zip(itertools.cycle(COLOURS), dict.fromkeys(key(row) for row in here)):
                members = [row for row in here if key(row) == value]
                for member in {row["member"] for row in members}:
                    own = [(row["step"], row[quantity]) for row in members if row["member"] == member]
                    axis.plot(*zip(*own), color=colour, linewidth=0.5, alpha=0.6)
                steps, low, middle, high = _band(members, quantity)
                label = tables.label(members[0], names, " = ")
                axis.plot(steps, middle, color=colour, label=label, marker="o" if len(steps) == 1 else None)
                axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.set(title=title, xlabel="step")
        axes[0].legend()
        return figure


def _band(rows, quantity):
    """Steps, and the smallest, mean and largest value over the members at each."""
    steps = sorted({row["step"] for row in rows})
    values = [[row[quantity] for row in rows if row["step"] == step] for step in steps]
    return steps, [min(v) for v in values], [np.mean(v) for v in values], [max(v) for v in values]


def by_step(axis: Any, records: Sequence[results.Record], style: str, suffix: str = "") -> None:
    """Draw a line for each arm against the records' field `step`; its band is the seeds' range."""
    names = tables.names_of(records)
    for colour, (_, series) in zip(itertools.cycle(COLOURS), results.grouped(records, names)):
        series = sorted(series, key=lambda record: record.extra["step"])
        steps, values = [record.extra["step"] for record in series], [record.values for record in series]
        axis.plot(steps, [record.mean for record in series], style, color=colour, label=f"{tables.label(series[0], names, ' = ')}{suffix}",
                  marker="." if len(steps) < 30 else None)
        low, high = ([bound(each) for each in values] for bound in (np.min, np.max))
        axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
