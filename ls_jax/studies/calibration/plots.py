"""Reliability diagrams (the paper's Figure 2) and calibration error against smoothing."""
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ls_jax.studies.calibration import bootstrap
from ls_jax.studies.calibration.records import BINS
from ls_jax.studies.common import plots, tables
from ls_jax.studies.common import records as results

FEW = 10  # examples: bins of fewer are drawn as unsure


class Curve(NamedTuple):
    """Sums over the examples of each bin, of each seed."""
    count: Float[np.ndarray, "seeds bins"]
    confidence: Float[np.ndarray, "seeds bins"]
    correct: Float[np.ndarray, "seeds bins"]


def curves(records: Sequence[results.Record], split: str) -> dict[str, Curve]:
    """Figure 2's curves: hard, hard at its temperature, and the smoothed network of the smallest mean calibration error.

    Where more than smoothing varies, there are these curves for each setting of the rest.
    """
    here = results.select(records, study="calibration", split=split, kind=results.VALUE)
    varying, drawn = results.others([record.hyper for record in here]), {}
    for other, group in results.grouped(here):
        suffix = f", {tables.label(other, varying, ' = ')}" if varying else ""
        diagrams = results.select(group, quantity="reliability")
        for record in diagrams:
            if results.is_plain(record.hyper):  # or of a network that was not trained here, of which nothing is known
                temperature = f"T = {record.extra['temperature']:.{2 if 'fitted_on' in record.extra else 0}f}"
                drawn[("hard, " if record.hyper else "") + temperature + suffix] = _curve(record)
        errors = {record.hyper["alpha"]: record.mean for record in results.select(group, quantity="ece")
                  if record.hyper.get("alpha", 0.0) > 0}
        if errors:
            alpha = min(errors, key=errors.get)
            drawn[f"smoothed, α = {alpha:g}{suffix}"] = _curve(results.select(diagrams, alpha=alpha)[0])
    return drawn


def _curve(record):
    return Curve(*(np.asarray(record.extra[name], np.float64) for name in Curve._fields))


def reliability_diagram(drawn: Mapping[str, Curve], title: str = "") -> Any:
    """Accuracy against confidence, over the share of examples in each bin.

    A line joins the bins' means over all seeds; thin lines are the seeds; the band is a 95 % interval over examples (Wilson's, on
    one seed's worth of them). Bins with fewer than FEW examples a seed are hollow markers without a band.
    """
    with plots.rc_context(plots.STYLE):
        figure, (axis, below) = plots.subplots(2, 1, figsize=(4.8, 6.6), sharex=True, height_ratios=(3.2, 1))
        axis.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="calibrated")
        for place, (label, curve) in enumerate(drawn.items()):
            _draw(axis, below, label, curve, place, len(drawn))
        axis.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=title)
        figure.legend(loc="outside lower center", ncols=2)
        below.set(xlabel="confidence", ylabel="share of\nexamples")
        plots.make_logarithmic(below)
        return figure


def _draw(axis, below, label, curve, place, many):
    colour, marker = plots.COLOURS[place % len(plots.COLOURS)], "os^Dv"[place % 5]
    seeds, bins = curve.count.shape
    total = curve.count.sum(axis=0)
    full = total > 0
    pooled = [part.sum(axis=0)[full] / total[full] for part in (curve.confidence, curve.correct)]
    sure = total[full] / seeds >= FEW
    if seeds > 1:
        for count, confidence, correct in zip(*curve):
            enough = count >= FEW
            axis.plot(confidence[enough] / count[enough], correct[enough] / count[enough], color=colour, linewidth=0.5, alpha=0.5)
    low, high = bootstrap.share_interval(curve.correct.sum(axis=0)[full] / seeds, total[full] / seeds, 0.95)
    axis.fill_between(pooled[0], np.where(sure, low, np.nan), np.where(sure, high, np.nan), color=colour, alpha=0.2, linewidth=0)
    axis.plot(*pooled, color=colour, linewidth=1.6, label=label)
    axis.scatter(*(part[sure] for part in pooled), s=22, color=colour, marker=marker, zorder=3)
    axis.scatter(*(part[~sure] for part in pooled), s=22, facecolor="white", edgecolor=colour, marker=marker, zorder=3)
    width = 1 / bins / (many + 0.5)
    below.bar((np.arange(bins) + 0.5) / bins + (place - (many - 1) / 2) * width, total / total.sum(), width, color=colour)


def error_against_alpha(records: Sequence[results.Record], split: str) -> Any:
    """Calibration error against α: at T = 1, at each network's own temperature, and the hard network's levels of both.

    Points are seeds, lines their means; the band is the 95 % interval over examples of the debiased error. Where more than smoothing
    varies, each setting of the rest has a panel.
    """
    here = results.select(records, study="calibration", split=split, kind=results.VALUE)
    varying, groups = results.others([record.hyper for record in here]), results.grouped(here)
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(groups), figsize=(5.2 * len(groups), 3.8), squeeze=False)
        for axis, (other, group) in zip(axes[0], groups):
            _errors(axis, group)
            title = f"{split} split" + (f", {tables.label(other, varying, ' = ')}" if varying else "")
            axis.set(xlabel="label smoothing α", ylabel=f"expected calibration error ({BINS} bins)", title=title, ylim=(0, None))
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return figure


def _errors(axis, here):
    plain, debiased = (_sorted(results.select(here, quantity=quantity)) for quantity in ("ece", "debiased ece"))
    fitted_on = results.select(here, quantity="temperature")[0].extra["fitted_on"]
    scaled = _sorted(results.select(here, quantity="scaled ece", fitted_on=fitted_on, criterion="nll"))
    low, high = np.transpose([record.extra["examples_interval"] for record in debiased])
    axis.fill_between([_alpha(record) for record in debiased], low, high, color=plots.COLOURS[2], alpha=0.2, linewidth=0)
    for series, label, colour, marker in ((plain, "smoothed, T = 1", plots.COLOURS[2], "^"),
                                          (scaled, "smoothed, at its own T", plots.COLOURS[3], "s")):
        axis.plot([_alpha(record) for record in series], [record.mean for record in series], color=colour, label=label)
        for record in series:
            axis.scatter([_alpha(record)] * record.n, record.values, s=16, color=colour, marker=marker, zorder=3)
    for series, label, colour, style in ((plain, "hard, T = 1", plots.COLOURS[0], "--"), (scaled, "hard, at its T", plots.COLOURS[1], ":")):
        for record in series:
            if _alpha(record) == 0:
                axis.axhline(record.mean, color=colour, linestyle=style, linewidth=1.4, label=label)


def _alpha(record):
    return record.hyper["alpha"]


def _sorted(records):
    return sorted(records, key=_alpha)
