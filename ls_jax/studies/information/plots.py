"""The figure of information during training (the paper's Figure 6)."""
from collections.abc import Sequence
from typing import Any

from ls_jax.studies.common import plots, records


def information(results: Sequence[records.Record]) -> Any:
    """Figure of Î against the step, with a panel for each number of views.

    Solid lines have a fresh outer draw, dashed lines a reused one; where the mixture was measured, dotted lines are its
    exact information. Bands are the seeds' range. Reference lines are the
    value of collapsed classes (log 2) and the bound (log N), which may lie above the panel.
    """
    here = records.select(results, study="information", estimator="gaussian", kind=records.VALUE)
    mixture = records.select(results, study="information", estimator="mixture", kind=records.VALUE)
    panels = sorted({record.extra["draws"] for record in here}, reverse=True)
    collapsed, bound = here[0].extra["collapsed"], here[0].extra["bound"]
    top = min(1.05 * bound, 1.3 * max(collapsed, *(value for record in here for value in record.values)))
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(panels), figsize=(4.8 * len(panels), 3.6), sharey=True, squeeze=False)
        for axis, views in zip(axes[0], panels):
            plots.by_step(axis, records.select(here, draws=views, outer="fresh"), "-", ", fresh draw")
            plots.by_step(axis, records.select(here, draws=views, outer="reused"), "--", ", reused draw")
            plots.by_step(axis, records.select(mixture, draws=views), ":", ", exact mixture")
            axis.axhline(collapsed, color="0.35", linewidth=1, linestyle=":")
            axis.axhline(bound, color="0.35", linewidth=1, linestyle=":")
            note = dict(xycoords=("axes fraction", "data"), fontsize=8, ha="right", va="top", color="0.35")
            axis.annotate(f"one bit, the class: {collapsed:.2f}", (0.99, collapsed), **note)
            axis.annotate(f"log N: {bound:.2f}" + (" ↑" if top < bound else ""), (0.99, min(top, bound)), **note)
            axis.set(title=f"{views} views per example" + (" (the paper's number)" if views == 5 else ""),
                     xlabel="step")
        axes[0][0].set(ylabel="information, nats", ylim=(None, top))
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        return figure
