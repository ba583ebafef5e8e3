"""Reliability diagrams (the paper's Figure 2) and calibration error against smoothing."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ls_jax import results
from ls_jax.studies import bootstrap, plots
from ls_jax.studies.binning import bin_index, equal_width
from ls_jax.studies.calibration_records import BINS, Measured
from ls_jax.studies.plots import plt

FEW = 10  # examples: bins of fewer are drawn as unsure
Curve = Sequence[tuple[np.ndarray, np.ndarray]]  # (confidence, correct) of each seed


def curves(measured: Sequence[Measured], split: str) -> dict[str, Curve]:
    """Figure 2's curves: hard, hard at its temperature, and the smoothed network of the smallest mean calibration error."""
    here = [each for each in measured if each.split == split]
    by_alpha = {alpha: [each for each in here if each.row["alpha"] == alpha] for alpha in sorted({each.row["alpha"] for each in here})}
    hard = by_alpha.pop(0.0, by_alpha.get(0, []))
    drawn = {}
    if hard:
        mean = np.exp(np.mean([np.log(each.fits[0].temperature) for each in hard]))
        drawn["hard, T = 1"] = [(each.confidence, each.correct) for each in hard]
        drawn[f"hard, T = {mean:.2f}"] = [(each.fits[0].confidence, each.correct) for each in hard]
    if by_alpha:
        alpha = min(by_alpha, key=lambda alpha: np.mean([each.values["ece"] for each in by_alpha[alpha]]))
        drawn[f"smoothed, α = {alpha:g}"] = [(each.confidence, each.correct) for each in by_alpha[alpha]]
    return drawn


def reliability_diagram(drawn: Mapping[str, Curve], title: str = "", bins: int = BINS) -> Any:
    """Accuracy against confidence, over the share of examples in each bin.

    A line joins the bins' means over all seeds; thin lines are the seeds; the band is a 95 % interval over examples (Wilson's, on
    one seed's worth of them). Bins with fewer than FEW examples a seed are hollow markers without a band.
    """
    with plt.rc_context(plots.STYLE):
        figure, (axis, below) = plt.subplots(2, 1, figsize=(4.6, 5.6), sharex=True, layout="constrained", height_ratios=(3.2, 1))
        axis.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="calibrated")
        for place, (label, seeds) in enumerate(drawn.items()):
            _draw(axis, below, label, seeds, place, len(drawn), bins)
        axis.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=title, aspect="equal")
        axis.legend(loc="upper left")
        below.set(xlabel="confidence", ylabel="share of\nexamples", yscale="log")
        return figure


def _draw(axis, below, label, seeds, place, many, bins):
    colour, marker = plots.COLOURS[place], "os^Dv"[place]
    confidence, correct, count = np.moveaxis([_means(*seed, bins) for seed in seeds], 1, 0)
    total = count.sum(axis=0)
    full = total > 0
    pooled = [np.sum(np.nan_to_num(part) * count, axis=0)[full] / total[full] for part in (confidence, correct)]
    sure = total[full] / len(seeds) >= FEW
    if len(seeds) > 1:
        for x, y, n in zip(confidence, correct, count):
            axis.plot(x[n >= FEW], y[n >= FEW], color=colour, linewidth=0.5, alpha=0.5)
    low, high = bootstrap.share_interval(pooled[1] * total[full] / len(seeds), total[full] / len(seeds), 0.95)
    axis.fill_between(pooled[0], np.where(sure, low, np.nan), np.where(sure, high, np.nan), color=colour, alpha=0.2, linewidth=0)
    axis.plot(*pooled, color=colour, linewidth=1.6, label=label)
    axis.scatter(*(part[sure] for part in pooled), s=22, color=colour, marker=marker, zorder=3)
    axis.scatter(*(part[~sure] for part in pooled), s=22, facecolor="white", edgecolor=colour, marker=marker, zorder=3)
    width = 1 / bins / (many + 0.5)
    below.bar((np.arange(bins) + 0.5) / bins + (place - (many - 1) / 2) * width, total / total.sum(), width, color=colour)


def _means(confidence, correct, bins):
    """Mean confidence and accuracy (NaN in empty bins) and count of each bin."""
    index = bin_index(confidence, equal_width(bins))
    count = np.bincount(index, minlength=bins).astype(float)
    with np.errstate(invalid="ignore"):
        return np.bincount(index, confidence, bins) / count, np.bincount(index, correct, bins) / count, count


def error_against_alpha(records: Sequence[results.Record], split: str) -> Any:
    """Calibration error against α: at T = 1, at each network's own temperature, and the hard network's levels of both.

    Points are seeds, lines their means; the band is the 95 % interval over examples of the debiased error.
    """
    here = [record for record in results.select(records, study="calibration", split=split) if "baseline_alpha" not in record]
    plain, debiased = (_sorted(results.select(here, quantity=quantity)) for quantity in ("ece", "debiased ece"))
    fitted_on = results.select(here, quantity="temperature")[0]["fitted_on"]
    scaled = _sorted(results.select(here, quantity="scaled ece", fitted_on=fitted_on, criterion="nll"))
    with plt.rc_context(plots.STYLE):
        figure, axis = plt.subplots(figsize=(5.2, 3.8), layout="constrained")
        low, high = np.transpose([record["examples_interval"] for record in debiased])
        axis.fill_between([record["alpha"] for record in debiased], low, high, color=plots.COLOURS[2], alpha=0.2, linewidth=0)
        for series, label, colour, marker in ((plain, "smoothed, T = 1", plots.COLOURS[2], "^"),
                                              (scaled, "smoothed, at its own T", plots.COLOURS[3], "s")):
            axis.plot([record["alpha"] for record in series], [record["mean"] for record in series], color=colour, label=label)
            for record in series:
                axis.scatter([record["alpha"]] * record["n"], record["values"], s=16, color=colour, marker=marker, zorder=3)
        for series, label, colour, style in ((plain, "hard, T = 1", plots.COLOURS[0], "--"),
                                             (scaled, "hard, at its T", plots.COLOURS[1], ":")):
            for record in results.select(series, alpha=0):
                axis.axhline(record["mean"], color=colour, linestyle=style, linewidth=1.4, label=label)
        axis.set(xlabel="label smoothing α", ylabel=f"expected calibration error ({BINS} bins)", title=f"{split} split", ylim=(0, None))
        figure.legend(loc="outside lower center", ncols=2)
        return figure


def _sorted(records):
    return sorted(records, key=lambda record: record["alpha"])
