"""The page's section on projections: Figure 1 (of text Figure 7), the explorer, and the numbers."""
from collections.abc import Sequence

from markupsafe import Markup

from ls_jax.studies import projection
from ls_jax.studies.common import markup, plots, tables, triples
from ls_jax.studies.common import records as results
from ls_jax.studies.common.markup import SPLIT_NAMES, figure, render
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.projection import explorer
from ls_jax.studies.projection import plots as projection_plot
from ls_jax.workdir import predictions


def section(page: Shown) -> Markup:
    """The figure, the explorer and the table; leaves the figure in a folder. Empty where no features were kept, and of students."""
    chosen = _triples(page)
    found = [projection_plot.row(page.workdir, page.rows, triple, page.held_out, page.title) for triple in chosen]
    found = [row for row in found if row]
    embedded = explorer.data(page.workdir, page.rows, chosen, page.dataset, page.share) if chosen else None
    if not found and not embedded:
        return Markup()
    of_text = page.config is not None and page.config["data"].get("vocabulary")
    return render("studies/projection/section.html", number=7 if of_text else 1, figure=_figure(page, found) if found else None,
                  data=embedded, table=table(page.records))


def table(records: Sequence[results.Record]) -> Markup:
    """The projection's numbers by classes, split and arm: mean ± std over seeds; empty without any."""
    here = [record for record in results.select(records, study="projection", kind=results.VALUE)
            if record.quantity in projection.QUANTITIES]
    names = tables.names_of(here)
    classes = lambda of: of if of == projection.ALL else ", ".join(of)
    key = lambda record: (classes(record.extra["classes"]), SPLIT_NAMES[record.split], tables.label(record, names, " = "))
    cells = tables.pivot(here, key, lambda record: tables.mean_std(record, ".3f"))
    rows = [(*key, *(values.get(quantity, "") for quantity in projection.QUANTITIES))
            for key, values in sorted(cells.items(), key=lambda item: item[0][0] != projection.ALL)]
    note = ("Spread ratio: within-class spread over the distance between class centroids. Centroid variation: coefficient of "
            "variation of a triple's three centroid distances, 0 for a regular triangle. Wrong-class spread: how unequal the "
            "squared distances to the wrong classes' templates are, 0 for equidistant. Centroid distance: the picture's size. "
            "All triples at once are measured in the span of all templates, of more than two dimensions, so their rows compare "
            "with each other only.")
    return markup.table(("classes", "split", "smoothing", *projection.QUANTITIES), rows, note) if rows else Markup()


def _figure(page, found):
    drawn, _ = plots.save(projection_plot.figure(found), page.figures / "projection")
    seed = page.rows[projection_plot.chosen_members(page.workdir, page.rows, page.held_out)[0]].get("seed")
    return figure(drawn, f"At most {projection.EXAMPLES} examples a class on the plane through the three classes' "
                         "templates (bias included); axes are shared by each pair of columns"
                         f"{'' if seed is None else f'; seed {seed}'}.")


def _triples(page):
    """The class triples, by the names that the predictions have."""
    if page.analysis is not None:
        return [tuple(triple) for triple in page.analysis["triples"]]
    if page.config.get("distill"):  # the projections of its teachers are in their reports
        return []
    for _, _, arrays in predictions.every(page.workdir, len(page.rows)):
        return triples.resolve(page.config.get("projection", {}).get("classes", ()), page.config["data"]["name"],
                               [str(name) for name in arrays["class_names"]])
    return []
