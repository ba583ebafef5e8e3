"""The page's section on the penultimate layer: neural collapse, class separation, transfer."""
from markupsafe import Markup

from ls_jax.studies.common import records, tables
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, figure, render
from ls_jax.studies.common.plots import save
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.representation import plots

QUANTITIES = {
    "nc1": "NC1", "nc2 logits": "NC2 (Guo)", "nc2 simplex": "NC2 simplex", "nc3": "NC3", "nc4": "NC4",
    "class separation": "R²", "stability": "stability", "rank of class means": "rank, means",
    "rank within classes": "rank, within", "cka with hard": "CKA with unsmoothed"
}


def section(page: Shown) -> Markup:
    """Table and figures of representation and transfer; writes the figures to page.figures. Empty without records."""
    results, figures = page.records, page.figures
    here = [
        record for record in records.select(results, study="representation", kind=records.VALUE)
        if "step" not in record.extra
    ]
    if not here:
        return Markup()
    shown = []
    if any("step" in record.extra for record in records.select(results, study="representation")):
        drawn, _ = save(plots.collapse(results), figures / "neural_collapse")
        caption = "Neural collapse on training examples during training. Lines are means over seeds, bands their range."
        shown.append(figure(drawn, caption))
    if len({record.hyper["alpha"] for record in here if record.hyper}) > 1:
        drawn, _ = save(plots.against_alpha(results), figures / "separation")
        shown.append(
            figure(
                drawn, "Class separation, and the accuracy of linear probes on the frozen penultimate layer "
                "if the run has them. Points are seeds, lines their means."))
    return render("studies/representation/section.html", table=_table(here), figures=shown)


def _table(here):
    shown = {name: title for name, title in QUANTITIES.items() if records.select(here, quantity=name)}
    names = tables.names_of(here)
    cells = tables.pivot(here, lambda record: (SPLIT_NAMES[record.split], tables.label(record, names, " = ")), _cell)
    rows = [(*key, *(values.get(name, "") for name in shown)) for key, values in cells.items()]
    return Table(
        ("split", "smoothing", *shown.values()), rows,
        "NC1 to NC4: 0 at neural collapse. R²: class separation, 1 at collapse. Rank: effective rank of the class "
        "means, and of the examples around them. CKA: alignment with the unsmoothed network of the same seed. "
        "Mean ± standard deviation over seeds.")


def _cell(record):
    return tables.rounded(record)
