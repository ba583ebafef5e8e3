"""Figure 5, accuracy against equivalent smoothing, and the grid of teachers' smoothing and temperature; drawn from records."""
from collections.abc import Sequence
from typing import Any

import numpy as np

from ls_jax.studies.common import plots
from ls_jax.studies.common import records as results
from ls_jax.studies.distillation import records as of
from ls_jax.studies.distillation.tables import family

TEACHER, BASELINE, SCALED, CONTROL = "#0072B2", "#56B4E9", "#D55E00", "#888888"


def curves(records: Sequence[results.Record], split: str) -> dict[str, list[tuple[float, list[float]]]]:
    """{curve: [(mean γ, accuracies over seeds)]}, γ rising: the four of Figure 5, and the control's where there is one; of one family."""
    here, gammas = of.students(records, split), of.smoothings(records)
    mean = lambda key: float(np.mean(list(gammas[key].values())))
    point = lambda key, values: (mean(key), list(values.values()))
    distilled, control = of.distilled(here), of.distilled(here, control=True)
    found = {
        "teacher": [(record.hyper["teacher_alpha"], record.values) for record in results.select(
            records, study="distillation", quantity="teacher accuracy", split=split)],
        "baseline student": [(alpha, list(values.values())) for alpha, values in of.baseline(here).items()],
        "student of the hard teacher, T rising": [point(key, values) for key, values in distilled.items() if key in gammas and key[0] == 0],
        "student of smoothed teachers, T = 1": [point(key, values) for key, values in distilled.items() if key in gammas and key[1] == 1],
        "hard teacher, no dark knowledge": [point(key, values) for key, values in control.items() if key in gammas and key[0] == 0],
    }
    return {name: sorted(points) for name, points in found.items() if points}


def figure_5(records: Sequence[results.Record], split: str) -> Any:
    """Accuracy against equivalent smoothing, drawn as the paper's Figure 5: means, and bars from the smallest to the largest seed.

    A panel for each family of students.
    """
    style = {"teacher": (TEACHER, "-", "o"), "baseline student": (BASELINE, "-", "s"),
             "student of the hard teacher, T rising": (SCALED, "--", "^"), "student of smoothed teachers, T = 1": (TEACHER, "--", "D"),
             "hard teacher, no dark knowledge": (CONTROL, ":", "v")}
    families = of.families(records)
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(families), figsize=(5.6 * len(families), 4.2), squeeze=False)
        for axis, (settings, of_family) in zip(axes[0], families):
            for name, points in curves(of_family, split).items():
                colour, line, marker = style[name]
                x, middle = [gamma for gamma, _ in points], np.array([np.mean(values) for _, values in points])
                low, high = (np.array([pick(values) for _, values in points]) for pick in (min, max))
                axis.errorbar(x, 100 * middle, yerr=100 * np.stack([middle - low, high - middle]), color=colour, linestyle=line,
                              marker=marker, markersize=4, linewidth=1.6, elinewidth=0.8, capsize=2, label=name)
            axis.set(xlabel="equivalent label smoothing γ", ylabel=f"{split} accuracy, %", title=family(settings))
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
        return figure


def grid(records: Sequence[results.Record], split: str) -> Any | None:
    """Accuracy over (teacher's α, T), and its difference from the hard teacher's students at the same T; None without such a grid.

    In bold, differences whose 95 % interval over seeds leaves out zero.
    """
    grids = [(settings, *grid) for settings, of_family in of.families(records) if (grid := _grid(of_family, split, settings))]
    if not grids:
        return None
    with plots.rc_context(plots.STYLE | {"axes.grid": False}):
        height = sum(0.5 * len(alphas) + 1.6 for _, alphas, *_ in grids)
        figure, axes = plots.subplots(len(grids), 2, figsize=(10, height), squeeze=False)
        for pair, (settings, alphas, temperatures, mean, difference, sure) in zip(axes, grids):
            reach, suffix = np.nanmax(np.abs(difference), initial=1e-9), family(settings)
            ticks = dict(xticks=range(len(temperatures)), xticklabels=[f"{t:g}" for t in temperatures], yticks=range(len(alphas)),
                         yticklabels=[f"{alpha:g}" for alpha in alphas], xlabel="teacher's temperature T", ylabel="teacher's α")
            _heat(pair[0], mean, np.zeros_like(mean, bool), "", cmap="viridis")
            pair[0].set(title=f"students' {split} accuracy, %" + (f", {suffix}" if suffix else ""), **ticks)
            _heat(pair[1], difference, sure, "+", cmap="RdBu", vmin=-reach, vmax=reach)
            pair[1].set(title="minus the hard teacher's, same T and seed", **ticks)
        return figure


def _grid(records, split, settings):
    """(αs, Ts, mean accuracy, difference, whether it excludes zero) of one family; None without a whole grid."""
    here = of.distilled(of.students(records, split))
    alphas, temperatures = (sorted({key[place] for key in here if key[1] is not None}) for place in (0, 1))
    if len(alphas) < 2 or len(temperatures) < 2 or len(here) < len(alphas) * len(temperatures):
        return None
    mean = np.array([[np.mean(list(here[alpha, t].values())) for t in temperatures] for alpha in alphas])
    against = {(record.hyper["teacher_alpha"], record.hyper["temperature"]): record for record in results.select(
        records, study="distillation", quantity="accuracy against the hard teacher", split=split, **settings)}
    difference = np.array([[against[alpha, t].mean if (alpha, t) in against else np.nan for t in temperatures] for alpha in alphas])
    sure = [[(alpha, t) in against and _excludes_zero(against[alpha, t].interval) for t in temperatures] for alpha in alphas]
    return alphas, temperatures, mean, difference, sure


def _heat(axis, values, bold, sign, **options):
    """An image of shares with each one's percentage written on it."""
    axis.imshow(values, aspect="auto", **options)
    for row, column in np.ndindex(values.shape):
        if not np.isnan(values[row, column]):
            axis.text(column, row, f"{100 * values[row, column]:{sign}.2f}", ha="center", va="center", fontsize=8,
                      weight="bold" if bold[row][column] else None, bbox=dict(facecolor="white", alpha=0.7, linewidth=0, pad=1))


def _excludes_zero(interval):
    return interval is not None and not interval[0] <= 0 <= interval[1]
