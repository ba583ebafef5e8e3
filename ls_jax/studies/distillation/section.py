"""The page's section on distillation: Figure 5, the α × T grid, errors, and the teachers' measures."""
import urllib.parse
from collections.abc import Mapping

from markupsafe import Markup

from ls_jax.studies.common import records
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, figure, render
from ls_jax.studies.common.plots import save
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.distillation import conditions, plots, tables


def section(page: Shown) -> Markup:
    """Figures and tables of the held-out split; writes the figures to page.figures. Empty without records."""
    results, config, figures = page.records, page.config, page.figures
    if not records.select(results, study="distillation"):
        return Markup()
    split = records.held_out(results, "accuracy")
    shown = []
    if conditions.smoothings(results):
        drawn, _ = save(plots.figure_5(results, split), figures / "distillation")
        shown.append(
            figure(
                drawn, "Means over seeds; bars from the smallest to the largest seed. For teachers, and for "
                f"students without a teacher, γ is α by definition.{_left_out(results)}"))
    grid = plots.grid(results, split)
    if grid:
        drawn, _ = save(grid, figures / "distillation_grid")
        caption = "Means over seeds. Bold: the 95 % interval of the paired difference excludes zero."
        shown.append(figure(drawn, caption + _left_out(results)))
    mnist = config is not None and config["data"]["name"] == "mnist" and config["distill"]["loss"] == "logits"
    laid_out = [Table(header, rows, caption) for caption, header, *rows
              in (tables.errors(results, split, mnist), tables.measures(results)) if rows]
    return render("studies/distillation/section.html", split=SPLIT_NAMES[split], teachers=_teachers(config),
                  figures=shown, tables=laid_out)


def _left_out(results):
    return " Students that have not trained are left out." if any(
        conditions.untrained(of_family) for _, of_family in conditions.families(results)) else ""


def _teachers(config):
    """The teachers' names with links to their reports; for a teacher that was trained elsewhere, its source."""
    return [{"name": name, "report": f"teachers/{urllib.parse.quote(name)}/report.html"} if isinstance(source, Mapping)
            else {"name": name, "report": None, "source": source}
            for name, source in sorted(config["distill"]["teachers"].items())]
