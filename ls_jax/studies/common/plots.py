"""Figures as PNG (screens) and PDF (papers), in colours for colour-blind readers (Okabe and Ito 2008).

They are made without pyplot, so that the caller's backend and figures stay untouched. A notebook shows a figure that a
cell returns.
"""
import functools
import itertools
import json
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context, ticker
from matplotlib.collections import PathCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.text import Text

from ls_jax.studies.common import records, tables
from ls_jax.workdir.files import replacing, write_text

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
NAMES = {"text.parse_math": False}  # a class may have the name $\foo$
# Fonts with the letters that matplotlib's own lacks, for class names in any script. Those that are installed are used.
OF_OTHER_SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic",
    "Arial Unicode MS", "Droid Sans Fallback", "Noto Sans Devanagari", "Noto Sans Thai")
STYLE = {
    "font.size": 10, "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.alpha": 0.25, "legend.frameon": False, "figure.dpi": 144,
} | NAMES
MANY = 8  # arms, of which a figure shows no single members
FONTS = {"pdf.fonttype": 42}  # TrueType: conferences refuse matplotlib's default, Type 3


def save(figure: Any, path: pathlib.Path) -> list[pathlib.Path]:
    """Write PATH.png and PATH.pdf, each atomically, and what is drawn as PATH.json; returns the first two paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _use_other_fonts(figure)
    files = [path.with_suffix(suffix) for suffix in (".png", ".pdf")]
    if figure.get_layout_engine():
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine(None)  # laying it out once saves a drawing for each file
    with rc_context(FONTS | NAMES):
        for file in files:
            with replacing(file) as unfinished:
                figure.savefig(unfinished, format=file.suffix[1:])
    write_text(path.with_suffix(".json"), json.dumps(drawn(figure), ensure_ascii=False) + "\n")
    return files


def drawn(figure: Any) -> list[dict[str, Any]]:
    """The numbers and labels of each axes of a figure, to draw it anew elsewhere; four digits, null where none is.

    "lines" and "points" have x and y, "bars" have x and height, an "image" has its values. Bands are left out.
    """
    return [{"title": axes.get_title(), "x": axes.get_xlabel(), "y": axes.get_ylabel(),
             "lines": [{"label": line.get_label(), **_points(line.get_xydata())} for line in axes.lines],
             "points": [_points(each.get_offsets()) for each in axes.collections if isinstance(each, PathCollection)],
             "bars": [_points(np.array([(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in container]))
                      for container in axes.containers if isinstance(container, BarContainer)],
             "images": [[_short(row) for row in image.get_array()] for image in axes.images]}
            for axes in figure.axes]


def _points(pairs):
    x, y = np.reshape(np.ma.filled(np.ma.asarray(pairs, np.float64), np.nan), (-1, 2)).T
    return {"x": _short(x), "y": _short(y)}


def _short(numbers):
    return [float(f"{number:.4g}") if np.isfinite(number) else None for number in np.ma.filled(numbers, np.nan)]


# matplotlib says for each figure that a font has no other weights.
logging.getLogger("matplotlib.font_manager").addFilter(lambda record: "find font weight" not in record.getMessage())


@functools.cache
def other_fonts() -> tuple[str, ...]:
    """Those of OF_OTHER_SCRIPTS that are installed."""
    return tuple(sorted({*OF_OTHER_SCRIPTS} & {font.name for font in fontManager.ttflist}))


def _use_other_fonts(figure):
    """Let texts that need them use them. Not all texts: each font takes seconds to be put into a PDF."""
    letters = _own_letters()
    for text in figure.findobj(Text) if other_fonts() else ():
        if not letters.issuperset(map(ord, text.get_text())):
            text.set_fontfamily(["DejaVu Sans", *other_fonts()])


@functools.cache
def _own_letters():
    return frozenset({*get_font(findfont("DejaVu Sans")).get_charmap(), ord("\n")})


class PlainLogarithmic(ticker.LogFormatter):
    """Labels of a logarithmic axis as plain numbers: "0.01". Mathematical notation is off, see NAMES."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of the value x; "" where the axis shows none."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def make_logarithmic(axes: Any) -> None:
    """Make the y axis logarithmic."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(PlainLogarithmic())
    axes.yaxis.set_minor_formatter(PlainLogarithmic())


def subplots(rows: int = 1, columns: int = 1, *, figsize: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """A figure of this size in inches, and its axes, as from `pyplot.subplots`."""
    figure = Figure(figsize=figsize, layout="constrained")
    height_ratios = options.pop("height_ratios", None)
    return figure, figure.subplots(rows, columns, gridspec_kw={"height_ratios": height_ratios}, **options)


def learning_curves(rows: Sequence[dict[str, Any]], split: str, names: Sequence[str] = ("alpha",)) -> Any:
    """Figure of training loss, held-out accuracy and held-out NLL against the step.

    A thick line is the mean of the members with equal values of `names`, its band their range; thin lines are members.
    With more than MANY arms there are means alone.
    A loss that falls to less than a twentieth has a logarithmic axis.

    Args:
        rows: the lines of metrics.jsonl.
        split: the held-out split.
        names: hyper-parameters by which the members are grouped, unless their arms have names.
    """
    def arm(row: dict[str, Any]) -> str:
        return row["arm"] if records.is_named(row.get("arm", ""), row) else tables.label(row, names, " = ")

    of_targets = "" if "student" in names else " (smoothed targets)"  # students have several terms
    panels = [("train", "loss", f"training loss{of_targets}"), (split, "accuracy", f"{split} accuracy"),
              (split, "nll", f"{split} NLL (one-hot labels)")]
    with rc_context(STYLE):
        arms = list(dict.fromkeys(map(arm, rows)))
        many = len(arms) > MANY
        figure, axes = subplots(1, len(panels), figsize=(11, 3.2 + many * (0.3 + 0.04 * len(arms))))
        for axis, (of, quantity, title) in zip(axes, panels):
            here = [row for row in rows if row["split"] == of and row.get(quantity) is not None]
            for (dashes, colour), label in zip(itertools.product(("-", "--", ":", "-."), COLOURS), arms):
                members = [row for row in here if arm(row) == label]
                if not members:
                    continue
                for member in () if many else {row["member"] for row in members}:
                    own = [(row["step"], row[quantity]) for row in members if row["member"] == member]
                    axis.plot(*zip(*own), color=colour, linewidth=0.5, alpha=0.6)
                steps, low, middle, high = _band(members, quantity)
                axis.plot(steps, middle, dashes, color=colour, label=label, marker="o" if len(steps) == 1 else None)
                if not many:
                    axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.set(title=title, xlabel="step")
            axis.locator_params(axis="x", nbins=5)
            values = [row[quantity] for row in here if np.isfinite(row[quantity])]
            if of == "train" and values and 0 < min(values) < max(values) / 20:
                make_logarithmic(axis)
        if many:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
        else:
            axes[0].legend()
        return figure


def _band(rows, quantity):
    """Steps, and over the members the smallest, mean and largest value at each step."""
    steps = sorted({row["step"] for row in rows})
    values = [[row[quantity] for row in rows if row["step"] == step] for step in steps]
    return steps, [min(v) for v in values], [np.mean(v) for v in values], [max(v) for v in values]


def by_step(axis: Any, results: Sequence[records.Record], style: str, suffix: str = "") -> None:
    """Draw for each arm the mean over seeds against the step (the records' field `step`), with a band for the range."""
    names = tables.names_of(results)
    for colour, (_, series) in zip(itertools.cycle(COLOURS), records.grouped(results, names)):
        series = sorted(series, key=lambda record: record.extra["step"])
        steps, values = [record.extra["step"] for record in series], [record.values for record in series]
        axis.plot(steps, [record.mean for record in series], style, color=colour,
                  label=f"{tables.label(series[0], names, ' = ')}{suffix}", marker="." if len(steps) < 30 else None)
        low, high = ([bound(each) for each in values] for bound in (np.min, np.max))
        axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
