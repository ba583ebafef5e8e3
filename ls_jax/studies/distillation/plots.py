"""Figure 5, accuracy against equivalent smoothing, and the grid of teachers' α and temperature; drawn from records."""
from collections.abc import Sequence
from typing import Any

import numpy as np

from ls_jax.studies.common import plots, records
from ls_jax.studies.distillation import conditions
from ls_jax.studies.distillation.tables import family

TEACHER, BASELINE, SCALED, SMOOTHED, CONTROL = "#0072B2", "#56B4E9", "#D55E00", "#009E73", "#888888"


def curves(results: Sequence[records.Record], split: str) -> dict[str, list[tuple[float, list[float]]]]:
    """{curve: [(mean γ, accuracies of the seeds)]} of one family, in the order of γ: Figure 5's and the control.

    Students that have not trained (`conditions.untrained`) are left out: they say nothing of their teachers.
    """
    lacking = conditions.untrained(results)
    here, gammas = conditions.students(results, split), conditions.smoothings(results)

    def points(of: dict[tuple[float, float | None], Any], alpha: float | None = None,
               temperature: float | None = None) -> list[tuple[float, list[float]]]:
        """Those with this teacher's α, or with this T, whose γ is known."""
        return [(float(np.mean(list(gammas[key].values()))), list(values.values())) for key, values in of.items()
                if key in gammas and (key[0] == alpha if temperature is None else key[1] == temperature)]

    distilled, control = ({place: values for place, values in conditions.distilled(here, of_control).items()
                           if (*place, of_control) not in lacking} for of_control in (False, True))
    found = {
        "teacher": [(record.hyper["teacher_alpha"], record.values) for record in records.select(
            results, study="distillation", quantity="teacher accuracy", split=split)],
        "baseline student": [(alpha, list(values.values())) for alpha, values in conditions.baseline(here).items()],
        "student of the unsmoothed teacher, T rising": points(distilled, alpha=0),
        "student of smoothed teachers, T = 1": points(distilled, temperature=1),
        "unsmoothed teacher, no dark knowledge": points(control, alpha=0),
    }
    return {name: sorted(curve) for name, curve in found.items() if curve}


def figure_5(results: Sequence[records.Record], split: str) -> Any:
    """Figure 5: accuracy against equivalent smoothing, as means with bars from the smallest to the largest seed.

    Each family of students has a panel.
    """
    style = {
        "teacher": (TEACHER, "-", "o"), "baseline student": (BASELINE, "-", "s"),
        "student of the unsmoothed teacher, T rising": (SCALED, "--", "^"),
        "student of smoothed teachers, T = 1": (SMOOTHED, "--", "D"),
        "unsmoothed teacher, no dark knowledge": (CONTROL, ":", "v")
    }
    families = conditions.families(results)
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(families), figsize=(5.6 * len(families), 4.2), squeeze=False)
        for axis, (settings, of_family) in zip(axes[0], families):
            for name, points in curves(of_family, split).items():
                colour, line, marker = style[name]
                x, middle = [gamma for gamma, _ in points], np.array([np.mean(values) for _, values in points])
                low, high = (np.array([pick(values) for _, values in points]) for pick in (min, max))
                # rounding: a mean of equal values may differ
                bars = np.maximum(np.stack([middle - low, high - middle]), 0)
                axis.errorbar(x, 100 * middle, yerr=100 * bars, color=colour, linestyle=line, marker=marker,
                              markersize=4, linewidth=1.6, elinewidth=0.8, capsize=2, label=name)
            axis.set(xlabel="equivalent label smoothing γ", ylabel=f"{split} accuracy, %", title=family(settings))
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
        return figure


def grid(results: Sequence[records.Record], split: str) -> Any | None:
    """Figure of accuracy over (teacher's α, T), and its difference from the unsmoothed teacher's; or None.

    None unless every pair of α and T has students. Differences whose 95 % interval excludes zero are bold. Cells of
    students that have not trained are empty.
    """
    grids = [(settings, *grid) for settings, of_family in conditions.families(results)
             if (grid := _grid(of_family, split, settings))]
    if not grids:
        return None
    with plots.rc_context(plots.STYLE | {"axes.grid": False}):
        height = sum(0.5 * len(alphas) + 1.6 for _, alphas, *_ in grids)
        figure, axes = plots.subplots(len(grids), 2, figsize=(10, height), squeeze=False)
        for pair, (settings, alphas, temperatures, mean, difference, sure) in zip(axes, grids):
            reach, suffix = np.nanmax(np.abs(difference), initial=1e-9), family(settings)
            ticks = dict(xticks=range(len(temperatures)), xticklabels=[f"{t:g}" for t in temperatures],
                         yticks=range(len(alphas)), yticklabels=[f"{alpha:g}" for alpha in alphas],
                         xlabel="teacher's temperature T", ylabel="teacher's α")
            _heat(pair[0], mean, np.zeros_like(mean, bool), "", cmap="viridis")
            pair[0].set(title=f"students' {split} accuracy, %" + (f", {suffix}" if suffix else ""), **ticks)
            _heat(pair[1], difference, sure, "+", cmap="RdBu", vmin=-reach, vmax=reach)
            pair[1].set(title="minus the unsmoothed teacher's, same T and seed", **ticks)
        return figure


def _grid(results, split, settings):
    """(αs, Ts, mean accuracy, difference, whether it excludes zero) of one family; None without a full grid."""
    here = conditions.distilled(conditions.students(results, split))
    alphas, temperatures = (sorted({key[place] for key in here if key[1] is not None}) for place in (0, 1))
    if len(alphas) < 2 or len(temperatures) < 2 or len(here) < len(alphas) * len(temperatures):
        return None
    lacking = conditions.untrained(results)
    trained = lambda alpha, t: (alpha, t, False) not in lacking
    mean = np.array([[np.mean(list(here[alpha, t].values())) if trained(alpha, t) else np.nan for t in temperatures]
                     for alpha in alphas])
    against = {(record.hyper["teacher_alpha"], record.hyper["temperature"]): record for record in records.select(
        results, study="distillation", quantity="accuracy against the hard teacher", split=split, **settings)}
    difference = np.array([[against[alpha, t].mean if (alpha, t) in against and trained(alpha, t) and trained(0.0, t)
                            else np.nan for t in temperatures] for alpha in alphas])
    sure = [[(alpha, t) in against and _excludes_zero(against[alpha, t].interval) for t in temperatures]
            for alpha in alphas]
    return alphas, temperatures, mean, difference, sure


def _heat(axis, values, bold, sign, **options):
    """Draw an image of fractions, with each one's percentage as text."""
    axis.imshow(values, aspect="auto", **options)
    for row, column in np.ndindex(values.shape):
        if not np.isnan(values[row, column]):
            axis.text(column, row, f"{100 * values[row, column]:{sign}.2f}", ha="center", va="center", fontsize=8,
                      weight="bold" if bold[row][column] else None, bbox=dict(facecolor="white", alpha=0.7, linewidth=0,
                                                                              pad=1))


def _excludes_zero(interval):
    return interval is not None and not interval[0] <= 0 <= interval[1]
