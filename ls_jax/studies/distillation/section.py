"""The page's section on distillation: Figure 5, the α × T grid, errors, and the teachers' measures."""
import urllib.parse
from collections.abc import Mapping

from markupsafe import Markup

from ls_jax.studies.common import plots
from ls_jax.studies.common import records as results
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, figure, render
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.distillation import plots as distillation_plots
from ls_jax.studies.distillation import records as distillation_records
from ls_jax.studies.distillation import tables as distillation_tables


def section(page: Shown) -> Markup:
    """Figures and tables of the held-out split; leaves the figures in a folder. Empty without distillation records."""
    records, config, figures = page.records, page.config, page.figures
    if not results.select(records, study="distillation"):
        return Markup()
    split = results.held_out(records, "accuracy")
    shown = []
    if distillation_records.smoothings(records):
        drawn, _ = plots.save(distillation_plots.figure_5(records, split), figures / "distillation")
        shown.append(figure(drawn, "Means over seeds, bars from the smallest to the largest; γ of teachers and of "
                                   "students without one is their α, by definition."))
    grid = distillation_plots.grid(records, split)
    if grid:
        drawn, _ = plots.save(grid, figures / "distillation_grid")
        caption = "Means over seeds; bold: the 95 % interval of the paired difference leaves out zero."
        shown.append(figure(drawn, caption))
    mnist = config is not None and config["data"]["name"] == "mnist" and config["distill"]["loss"] == "logits"
    tables = [Table(header, rows, caption) for caption, header, *rows
              in (distillation_tables.errors(records, split, mnist), distillation_tables.measures(records)) if rows]
    return render("studies/distillation/section.html", split=SPLIT_NAMES[split], teachers=_teachers(config), figures=shown,
                  tables=tables)


def _teachers(config):
    """Where the teachers' own reports are; of a teacher that was trained elsewhere, what is known of it."""
    return [{"name": name, "report": f"teachers/{urllib.parse.quote(name)}/report.html"} if isinstance(source, Mapping)
            else {"name": name, "report": None, "source": source}
            for name, source in sorted(config["distill"]["teachers"].items())]
