"""Figures on the training's course: information (the paper's Figure 6), neural collapse; and separation and transfer against α."""
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ls_jax.studies.common import plots, tables
from ls_jax.studies.common import records as results

COLLAPSE = {"nc1": "NC1, within over between", "nc2 logits": "NC2 (Guo et al.)", "nc2 angles": "NC2, spread of cosines",
            "nc3": "NC3, duality", "nc4": "NC4, not the nearest mean", "class separation": "class separation R²"}
LOGARITHMIC = ("nc1",)


def information(records: Sequence[results.Record]) -> Any:
    """Î against the step, a panel for each number of views: a fresh outer draw as lines, a reused one dashed.

    Bands are the seeds' range; the reference lines are the value of collapsed classes (log 2) and the bound (log N), which is above
    the panel where the curves stay far from it.
    """
    here = results.select(records, study="information", estimator="gaussian", kind=results.VALUE)
    panels = sorted({record.extra["draws"] for record in here}, reverse=True)
    collapsed, bound = here[0].extra["collapsed"], here[0].extra["bound"]
    top = min(1.05 * bound, 1.3 * max(collapsed, *(value for record in here for value in record.values)))
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(panels), figsize=(4.8 * len(panels), 3.6), sharey=True, squeeze=False)
        for axis, views in zip(axes[0], panels):
            _lines(axis, results.select(here, draws=views, outer="fresh"), "-", ", fresh draw")
            _lines(axis, results.select(here, draws=views, outer="reused"), "--", ", reused draw")
            axis.axhline(collapsed, color="0.35", linewidth=1, linestyle=":")
            axis.axhline(bound, color="0.35", linewidth=1, linestyle=":")
            note = dict(xycoords=("axes fraction", "data"), fontsize=8, ha="right", va="top", color="0.35")
            axis.annotate(f"one bit: the class, {collapsed:.2f}", (0.99, collapsed), **note)
            axis.annotate(f"log N, {bound:.2f}" + (" ↑" if top < bound else ""), (0.99, min(top, bound)), **note)
            axis.set(title=f"{views} views an example" + (" (the paper's number)" if views == 5 else ""), xlabel="step")
        axes[0][0].set(ylabel="information, nats", ylim=(None, top))
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        return figure


def collapse(records: Sequence[results.Record]) -> Any:
    """Neural collapse and class separation on training examples against the step: a line an arm, its band the seeds' range."""
    here = [record for record in results.select(records, study="representation", split="train", kind=results.VALUE)
            if "step" in record.extra]
    shown = [name for name in COLLAPSE if results.select(here, quantity=name)]
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(2, 3, figsize=(11, 6), sharex=True)
        for axis, quantity in zip(axes.flat, shown):
            _lines(axis, results.select(here, quantity=quantity), "-")
            axis.set(title=COLLAPSE[quantity])
            if quantity in LOGARITHMIC:
                plots.make_logarithmic(axis)
        for axis in list(axes.flat)[len(shown):]:
            axis.set_visible(False)
        figure.supxlabel("step")
        axes[0, 0].legend()
        return figure


def against_alpha(records: Sequence[results.Record]) -> Any:
    """Class separation at the end of the training, and the accuracy of linear probes where there are some, against α; where more than
    smoothing varies, a line for each setting of the rest."""
    separation = results.select(records, study="representation", quantity="class separation", kind=results.VALUE, step=None)
    probes = results.select(records, study="transfer", quantity="probe accuracy", kind=results.VALUE)
    panels = [("class separation R²", "split", separation), *([("probe accuracy, test split", "data", probes)] if probes else [])]
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.4), squeeze=False)
        for axis, (title, field, found) in zip(axes[0], panels):
            varying = results.others([record.hyper for record in found])
            lines = [(name, other, group) for name in dict.fromkeys(record.get(field) for record in found)
                     for other, group in results.grouped(results.select(found, **{field: name}))]
            for colour, (name, other, group) in zip(itertools.cycle(plots.COLOURS), lines):
                series = sorted(group, key=lambda record: record.hyper["alpha"])
                alphas = [record.hyper["alpha"] for record in series]
                axis.plot(alphas, [record.mean for record in series], color=colour,
                          label=f"{name}, {tables.label(other, varying, ' = ')}" if varying else name)
                for alpha, record in zip(alphas, series):
                    axis.scatter([alpha] * record.n, record.values, s=16, color=colour, zorder=3)
            axis.set(title=title, xlabel="label smoothing α")
            axis.legend()
        return figure


def _lines(axis, records, style, suffix=""):
    names = tables.names_of(records)
    for colour, (_, series) in zip(itertools.cycle(plots.COLOURS), results.grouped(records, names)):
        series = sorted(series, key=lambda record: record.extra["step"])
        steps, values = [record.extra["step"] for record in series], [record.values for record in series]
        axis.plot(steps, [record.mean for record in series], style, color=colour, label=f"{tables.label(series[0], names, ' = ')}{suffix}",
                  marker="." if len(steps) < 30 else None)
        low, high = ([bound(each) for each in values] for bound in (np.min, np.max))
        axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
