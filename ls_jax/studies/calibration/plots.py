"""Reliability diagrams (the paper's Figure 2) and calibration error against smoothing."""
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ls_jax.studies.calibration import bootstrap
from ls_jax.studies.calibration.records import BINS
from ls_jax.studies.common import plots, records, tables
from ls_jax.studies.common.claims import nearest

FEW = 10  # examples; bins with fewer are drawn hollow


class Curve(NamedTuple):
    """Sums over the examples of each bin, for each seed."""
    count: Float[np.ndarray, "seeds bins"]
    confidence: Float[np.ndarray, "seeds bins"]
    correct: Float[np.ndarray, "seeds bins"]


def chosen(results: Sequence[records.Record], split: str) -> dict[str, records.Record]:
    """Figure 2's networks: unsmoothed at T = 1 and at its temperature, and the smoothed arm nearest to the paper's
    α = 0.1.

    Where more than smoothing varies, each setting of the rest has these.
    """
    here = records.of_smoothing(records.select(results, study="calibration", split=split, kind=records.VALUE))
    varying, found = records.others([record.hyper for record in here]), {}
    for other, group in records.grouped(here):
        suffix = f", {tables.label(other, varying, ' = ')}" if varying else ""
        diagrams = records.select(group, quantity="reliability")
        for record in diagrams:
            if record.plain:  # also true of a network trained elsewhere
                temperature = f"T = {record.extra['temperature']:.{2 if 'fitted_on' in record.extra else 0}f}"
                found[("unsmoothed, " if record.hyper else "") + temperature + suffix] = record
        smoothings = {record.hyper["alpha"] for record in records.select(group, quantity="ece")
                      if record.hyper.get("alpha", 0.0) > 0}
        if smoothings:
            alpha = nearest(smoothings)
            found[f"smoothed, α = {alpha:g}{suffix}"] = records.select(diagrams, alpha=alpha)[0]
    return found


def curves(results: Sequence[records.Record], split: str) -> dict[str, Curve]:
    """The curves of Figure 2, of the `chosen` networks."""
    return {label: _curve(record) for label, record in chosen(results, split).items()}


def _curve(record):
    return Curve(*(np.asarray(record.extra[name], np.float64) for name in Curve._fields))


def reliability_diagram(drawn: Mapping[str, Curve], title: str = "") -> Any:
    """Figure of accuracy against confidence, above the fraction of examples in each bin.

    Thick lines join the bins' means over all seeds; thin lines are single seeds. The band is Wilson's 95 % interval
    over the examples of one seed. Bins with fewer than FEW examples per seed are hollow markers without a band.
    """
    with plots.rc_context(plots.STYLE):
        figure, (axis, below) = plots.subplots(2, 1, figsize=(4.8, 6.6), sharex=True, height_ratios=(3.2, 1))
        axis.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="calibrated")
        for place, (label, curve) in enumerate(drawn.items()):
            _draw(axis, below, label, curve, place, len(drawn))
        axis.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=title)
        figure.legend(loc="outside lower center", ncols=2)
        below.set(xlabel="confidence", ylabel="fraction of\nexamples")
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
            axis.plot(confidence[enough] / count[enough], correct[enough] / count[enough], color=colour, linewidth=0.5,
                      alpha=0.5)
    low, high = bootstrap.share_interval(curve.correct.sum(axis=0)[full] / seeds, total[full] / seeds, 0.95)
    axis.fill_between(pooled[0], np.where(sure, low, np.nan), np.where(sure, high, np.nan), color=colour, alpha=0.2,
                      linewidth=0)
    # the marker is the legend's alone: those below differ in their faces
    axis.plot(*pooled, color=colour, linewidth=1.6, marker=marker, markersize=5, markevery=[], label=label)
    axis.scatter(*(part[sure] for part in pooled), s=22, color=colour, marker=marker, zorder=3)
    axis.scatter(*(part[~sure] for part in pooled), s=22, facecolor="white", edgecolor=colour, marker=marker, zorder=3)
    width = 1 / bins / (many + 0.5)
    below.bar((np.arange(bins) + 0.5) / bins + (place - (many - 1) / 2) * width, total / total.sum(), width,
              color=colour)


def smooth_diagram(drawn: Mapping[str, records.Record], title: str = "") -> Any:
    """Figure of accuracy against confidence without bins, above the density of the confidence.

    Lines are means over seeds of the smooth curves (`smooth.curve`). Bands are 95 % intervals at each confidence, for
    new seeds and new examples. Where few examples are near, nothing is drawn.
    """
    with plots.rc_context(plots.STYLE):
        figure, (axis, below) = plots.subplots(2, 1, figsize=(4.8, 6.6), sharex=True, height_ratios=(3.2, 1))
        axis.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="calibrated")
        for place, (label, record) in enumerate(drawn.items()):
            colour, of = plots.COLOURS[place % len(plots.COLOURS)], record.extra["smooth"]
            accuracy, low, high = (np.array([np.nan if value is None else value for value in of[name]])
                                   for name in ("accuracy", "low", "high"))
            confidence = np.linspace(0, 1, len(accuracy))
            axis.fill_between(confidence, np.clip(low, 0, 1), np.clip(high, 0, 1), color=colour, alpha=0.2, linewidth=0)
            axis.plot(confidence, accuracy, color=colour, linewidth=1.6,
                      label=f"{label} (bandwidth {of['bandwidth']:.3f})")
            density = np.array(of["density"])
            below.plot(confidence, np.where(density > 1e-3, density, np.nan), color=colour, linewidth=1.2)
        axis.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=title)
        figure.legend(loc="outside lower center", ncols=1)
        below.set(xlabel="confidence", ylabel="density")
        plots.make_logarithmic(below)
        return figure


def error_against_alpha(results: Sequence[records.Record], split: str) -> Any:
    """Figure of calibration error against α, at T = 1 and at each network's own temperature.

    Horizontal lines are the unsmoothed network's errors. Points are seeds, lines their means; the band is the debiased
    error's 95 % interval over examples. Where more than smoothing varies, each setting of the rest has a panel. Arms of
    other losses are left out.
    """
    here = records.of_smoothing(records.select(results, study="calibration", split=split, kind=records.VALUE))
    varying, groups = records.others([record.hyper for record in here]), records.grouped(here)
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(groups), figsize=(5.2 * len(groups), 3.8), squeeze=False)
        for axis, (other, group) in zip(axes[0], groups):
            _errors(axis, group)
            title = f"{split} split" + (f", {tables.label(other, varying, ' = ')}" if varying else "")
            axis.set(xlabel="label smoothing α", ylabel=f"expected calibration error ({BINS} bins)", title=title,
                     ylim=(0, None))
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return figure


def _errors(axis, here):
    plain, debiased = (_sorted(records.select(here, quantity=quantity)) for quantity in ("ece", "debiased ece"))
    fitted_on = records.select(here, quantity="temperature")[0].extra["fitted_on"]
    scaled = _sorted(records.select(here, quantity="scaled ece", fitted_on=fitted_on, criterion="nll"))
    low, high = np.transpose([record.extra["examples_interval"] for record in debiased])
    axis.fill_between([_alpha(record) for record in debiased], low, high, color=plots.COLOURS[2], alpha=0.2,
                      linewidth=0)
    for series, label, colour, marker in ((plain, "smoothed, T = 1", plots.COLOURS[2], "^"),
                                          (scaled, "smoothed, at its own T", plots.COLOURS[3], "s")):
        axis.plot([_alpha(record) for record in series], [record.mean for record in series], color=colour, label=label)
        for record in series:
            axis.scatter([_alpha(record)] * record.n, record.values, s=16, color=colour, marker=marker, zorder=3)
    for series, label, colour, style in ((plain, "unsmoothed, T = 1", plots.COLOURS[0], "--"),
                                         (scaled, "unsmoothed, at its T", plots.COLOURS[1], ":")):
        for record in series:
            if _alpha(record) == 0:
                axis.axhline(record.mean, color=colour, linestyle=style, linewidth=1.4, label=label)


def _alpha(record):
    return record.hyper["alpha"]


def _sorted(results):
    return sorted(results, key=_alpha)
