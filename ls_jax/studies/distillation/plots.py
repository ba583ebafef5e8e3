"""Figure 5, accuracy against equivalent smoothing, and the grid of teachers' smoothing and temperature; drawn from records."""
from collections.abc import Sequence
from typing import Any

import numpy as np

from ls_jax.studies.common import plots
from ls_jax.studies.common import records as results
from ls_jax.studies.distillation import records as of

TEACHER, BASELINE, SCALED, CONTROL = "#0072B2", "#56B4E9", "#D55E00", "#888888"


def curves(records: Sequence[results.Record], split: str) -> dict[str, list[tuple[float, list[float]]]]:
    """{curve: [(mean γ, accuracies over seeds)]}, γ rising: the four of Figure 5, and the control's where there is one."""
    here, gammas = of.students(records, split), of.smoothings(records)
    mean = lambda key: float(np.mean(list(gammas[key].values())))
    point = lambda key, values: (mean(key), list(values.values()))
    distilled, control = of.distilled(here), of.distilled(here, control=True)
    found = {
        "teacher": [(record["teacher_alpha"], record["values"]) for record in results.select(
            records, study="distillation", quantity="teacher accuracy", split=split)],
        "baseline student": [(alpha, list(values.values())) for alpha, values in of.baseline(here).items()],
        "student of the hard teacher, T rising": [point(key, values) for key, values in distilled.items() if key in gammas and key[0] == 0],
        "student of smoothed teachers, T = 1": [point(key, values) for key, values in distilled.items() if key in gammas and key[1] == 1],
        "hard teacher, no dark knowledge": [point(key, values) for key, values in control.items() if key in gammas and key[0] == 0],
    }
    return {name: sorted(points) for name, points in found.items() if points}


def figure_5(records: Sequence[results.Record], split: str) -> Any:
    """Accuracy against equivalent smoothing, drawn as the paper's Figure 5: means, and bars from the smallest to the largest seed."""
    style = {"teacher": (TEACHER, "-", "o"), "baseline student": (BASELINE, "-", "s"),
             "student of the hard teacher, T rising": (SCALED, "--", "^"), "student of smoothed teachers, T = 1": (TEACHER, "--", "D"),
             "hard teacher, no dark knowledge": (CONTROL, ":", "v")}
    with plots.rc_context(plots.STYLE):
        figure, axis = plots.subplots(figsize=(5.6, 4.2))
        for name, points in curves(records, split).items():
            colour, line, marker = style[name]
            x, middle = [gamma for gamma, _ in points], np.array([np.mean(values) for _, values in points])
            low, high = (np.array([pick(values) for _, values in points]) for pick in (min, max))
            axis.errorbar(x, 100 * middle, yerr=100 * np.stack([middle - low, high - middle]), color=colour, linestyle=line, marker=marker,
                          markersize=4, linewidth=1.6, elinewidth=0.8, capsize=2, label=name)
        axis.set(xlabel="equivalent label smoothing γ", ylabel=f"{split} accuracy, %")
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
        return figure


def grid(records: Sequence[results.Record], split: str) -> Any | None:
    """Accuracy over (teacher's α, T), and its difference from the hard teacher's students at the same T; None without such a grid.

    In bold, differences whose 95 % interval over seeds leaves out zero.
    """
    here = of.distilled(of.students(records, split))
    alphas, temperatures = (sorted({key[place] for key in here if key[1] is not None}) for place in (0, 1))
    if len(alphas) < 2 or len(temperatures) < 2 or len(here) < len(alphas) * len(temperatures):
        return None
    mean = np.array([[np.mean(list(here[alpha, t].values())) for t in temperatures] for alpha in alphas])
    against = {(record["teacher_alpha"], record["temperature"]): record for record in results.select(
        records, study="distillation", quantity="accuracy against the hard teacher", split=split)}
    difference = np.array([[against[alpha, t]["mean"] if (alpha, t) in against else np.nan for t in temperatures] for alpha in alphas])
    sure = [[(alpha, t) in against and _excludes_zero(against[alpha, t]["interval"]) for t in temperatures] for alpha in alphas]
    reach = np.nanmax(np.abs(difference), initial=1e-9)
    with plots.rc_context(plots.STYLE | {"axes.grid": False}):
        figure, axes = plots.subplots(1, 2, figsize=(10, 0.5 * len(alphas) + 1.6))
        for axis, values, bold, options, title in (
                (axes[0], mean, np.zeros_like(mean, bool), dict(cmap="viridis"), f"students' {split} accuracy, %"),
                (axes[1], difference, sure, dict(cmap="RdBu", vmin=-reach, vmax=reach), "minus the hard teacher's, same T and seed")):
            axis.imshow(values, aspect="auto", **options)
            for row, column in np.ndindex(values.shape):
                if not np.isnan(values[row, column]):
                    text = f"{100 * values[row, column]:.2f}" if values is mean else f"{100 * values[row, column]:+.2f}"
                    axis.text(column, row, text, ha="center", va="center", fontsize=8, weight="bold" if bold[row][column] else None,
                              bbox=dict(facecolor="white", alpha=0.7, linewidth=0, pad=1))
            axis.set(xticks=range(len(temperatures)), xticklabels=[f"{t:g}" for t in temperatures], yticks=range(len(alphas)),
                     yticklabels=[f"{alpha:g}" for alpha in alphas], xlabel="teacher's temperature T", ylabel="teacher's α", title=title)
        return figure


def _excludes_zero(interval):
    return interval is not None and not interval[0] <= 0 <= interval[1]
