"""The report's section on distillation: Figure 5, the α × T grid, errors, and the teachers' measures."""
import html
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ls_jax.report import sections
from ls_jax.studies.common import plots
from ls_jax.studies.common import records as results
from ls_jax.studies.distillation import plots as distillation_plots
from ls_jax.studies.distillation import records as distillation_records
from ls_jax.studies.distillation import tables as distillation_tables


def section(records: Sequence[results.Record], config: Mapping[str, Any] | None, figures: pathlib.Path) -> str:
    """Figures and tables of the held-out split; leaves the figures in a folder. Empty without distillation records."""
    if not results.select(records, study="distillation"):
        return ""
    split = results.held_out(records, "accuracy")
    parts = [f"<h3>Distillation, {sections.SPLIT_NAMES[split]} split (Figure 5)</h3>", _teachers(config)]
    if distillation_records.smoothings(records):
        drawn, _ = plots.save(distillation_plots.figure_5(records, split), figures / "distillation")
        parts.append(sections.figure(drawn, "Means over seeds, bars from the smallest to the largest; γ of teachers and of students "
                                            "without one is their α, by definition."))
    grid = distillation_plots.grid(records, split)
    if grid:
        drawn, _ = plots.save(grid, figures / "distillation_grid")
        parts.append(sections.figure(drawn, "Means over seeds; bold: the 95 % interval of the paired difference leaves out zero."))
    mnist = config is not None and config["data"]["name"] == "mnist" and config["distill"]["loss"] == "logits"
    for caption, header, *rows in (distillation_tables.errors(records, split, mnist), distillation_tables.measures(records)):
        if rows:
            parts.append(sections.table(header, rows, caption))
    return "".join(parts)


def _teachers(config):
    """Where the teachers' own reports are."""
    links = [f"<a href='teachers/{html.escape(name)}/report.html'>{html.escape(name)}</a>" if isinstance(source, Mapping)
             else f"{html.escape(name)} ({html.escape(source)})" for name, source in sorted(config["distill"]["teachers"].items())]
    return f"<p class='soft'>Teachers: {', '.join(links)}.</p>"
