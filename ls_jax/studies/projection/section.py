"""The page's section on projections: Figure 1 (for text, Figure 7), the explorer, and a table of the measures."""
from collections.abc import Sequence

from markupsafe import Markup

from ls_jax.studies import projection
from ls_jax.studies.common import markup, records, tables, triples
from ls_jax.studies.common.markup import SPLIT_NAMES, figure, render
from ls_jax.studies.common.plots import save
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.projection import explorer, plots
from ls_jax.workdir import predictions

QUANTITIES = (*projection.QUANTITIES, *projection.IN_LOGITS)


def section(page: Shown) -> Markup:
    """Figure, explorer and table; writes the figure to page.figures. Empty for students, and without saved features."""
    chosen = _triples(page)
    found = [plots.row(page.workdir, page.rows, triple, page.held_out, page.title) for triple in chosen]
    found = [row for row in found if row]
    embedded = explorer.data(page.workdir, page.rows, chosen, page.dataset, page.share) if chosen else None
    if not found and not embedded:
        return Markup()
    of_text = page.config is not None and page.config["data"].get("vocabulary")
    return render("studies/projection/section.html", number=7 if of_text else 1,
                  figure=_figure(page, found) if found else None, data=embedded, table=table(page.records))


def table(results: Sequence[records.Record]) -> Markup:
    """The measures by classes, split and arm, mean ± std over seeds; empty without records."""
    here = [record for record in records.select(results, study="projection", kind=records.VALUE)
            if record.quantity in QUANTITIES]
    names = tables.names_of(here)

    def key(record: records.Record) -> tuple[str, str, str]:
        classes = record.extra["classes"]
        return (classes if classes == projection.ALL else ", ".join(classes), SPLIT_NAMES[record.split],
                tables.label(record, names, " = "))

    cells = tables.pivot(here, key, lambda record: tables.mean_std(record, ".3f"))
    rows = [(*place, *(values.get(quantity, "") for quantity in QUANTITIES))
            for place, values in sorted(cells.items(), key=lambda item: item[0][0] != projection.ALL)]
    note = (
        "Spread ratio: within-class spread over the distance between class centroids. Centroid variation: coefficient "
        "of variation of a triple's three centroid distances; 0 for a regular triangle. Wrong-class spread: relative "
        "spread of the squared distances to the wrong classes' templates; 0 if they are equidistant. Centroid "
        "distance: the scale of the figure. Measures of logits stay the same where features are multiplied and the "
        "kernel is divided by a number, which changes no prediction. All triples together are measured in the span of "
        "all templates, which has more than two dimensions: compare these rows only with each other.")
    return markup.table(("classes", "split", "smoothing", *QUANTITIES), rows, note) if rows else Markup()


def _figure(page, found):
    drawn, _ = save(plots.figure(found), page.figures / "projection")
    seed = page.rows[plots.chosen_members(page.workdir, page.rows, page.held_out)[0]].get("seed")
    return figure(drawn, f"At most {projection.EXAMPLES} examples per class, on the plane through the three "
                         "classes' templates (bias included). Each pair of columns shares its axes"
                         f"{'' if seed is None else f'; seed {seed}'}.")


def _triples(page):
    """The class triples, resolved by the class names in the predictions."""
    if page.analysis is not None:
        return [tuple(triple) for triple in page.analysis["triples"]]
    if page.config.get("distill"):  # the teachers' reports have their projections
        return []
    for _, _, arrays in predictions.every(page.workdir, len(page.rows)):
        return triples.resolve(page.config.get("projection", {}).get("classes", ()), page.config["data"]["name"],
                               [str(name) for name in arrays["class_names"]])
    return []
