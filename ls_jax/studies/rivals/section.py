"""The page's section on smoothing's rivals: one table, one figure, and the rivals against smoothing."""
from markupsafe import Markup

from ls_jax.studies.common import records
from ls_jax.studies.common.markup import Table, figure, render
from ls_jax.studies.common.plots import save
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.rivals import plots, tables


def section(page: Shown) -> Markup:
    """Tables and a figure for each way of choosing strengths; writes the figure to page.figures. Empty without
    records."""
    here = records.select(page.records, study="rivals")
    if not here:
        return Markup("")
    texts = [of(here, criterion) for criterion in tables.CRITERIA
             for of in (tables.against_plain, tables.against_smoothing)]
    drawn, _ = save(plots.placed(here, "nll"), page.figures / "rivals")
    shown = figure(drawn, "Each family of losses beside plain cross-entropy, which is where the grey lines cross: "
                   "accuracy against the other quantities, on the test set. Strengths are chosen for each seed by "
                   "validation NLL. Bars: 95 % intervals.")
    return render("studies/rivals/section.html", figure=shown,
                  tables=[Table(header, rows, caption) for caption, header, *rows in texts if rows])
