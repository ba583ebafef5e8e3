"""The page's section on the penultimate layer: neural collapse, separation, transfer."""
from markupsafe import Markup

from ls_jax.studies.common import plots, tables
from ls_jax.studies.common import records as results
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, figure, render
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.representation import plots as representation_plots

QUANTITIES = {"nc1": "NC1", "nc2 logits": "NC2 (Guo)", "nc2 simplex": "NC2 simplex", "nc3": "NC3", "nc4": "NC4", "class separation": "R²",
              "stability": "stability", "rank of class means": "rank, means", "rank within classes": "rank, within",
              "cka with hard": "CKA with hard"}


def section(page: Shown) -> Markup:
    """Tables and figures of the representation and transfer studies; leaves the figures in a folder. Empty without records of them."""
    records, figures = page.records, page.figures
    here = [record for record in results.select(records, study="representation", kind=results.VALUE) if "step" not in record.extra]
    if not here:
        return Markup()
    shown = []
    if any("step" in record.extra for record in results.select(records, study="representation")):
        drawn, _ = plots.save(representation_plots.collapse(records), figures / "neural_collapse")
        caption = "Neural collapse on training examples over the training; bands are the seeds' range."
        shown.append(figure(drawn, caption))
    if len({record.hyper["alpha"] for record in here if record.hyper}) > 1:
        drawn, _ = plots.save(representation_plots.against_alpha(records), figures / "separation")
        shown.append(figure(drawn, "Class separation, and linear probes on the frozen penultimate layer where another "
                                   "task was probed. Points are seeds, lines their means."))
    return render("studies/representation/section.html", table=_table(here), figures=shown)


def _table(here):
    shown = {name: title for name, title in QUANTITIES.items() if results.select(here, quantity=name)}
    names = tables.names_of(here)
    cells = tables.pivot(here, lambda record: (SPLIT_NAMES[record.split], tables.label(record, names, " = ")), _cell)
    rows = [(*key, *(values.get(name, "") for name in shown)) for key, values in cells.items()]
    return Table(("split", "smoothing", *shown.values()), rows,
                 "NC1 to NC4 are 0 at neural collapse; R²: class separation, 1 at collapse; rank: effective rank of "
                 "the class means and of the examples about them; CKA: alignment with the hard network of equal seed. "
                 "Mean ± standard deviation over seeds.")


def _cell(record):
    return tables.mean_std(record, ".3g", std_form=".2g")
