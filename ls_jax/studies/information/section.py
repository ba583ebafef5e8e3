"""The page's section on information in the logits: Figure 6, and a table of estimators."""
from markupsafe import Markup

from ls_jax.studies.common import records, tables
from ls_jax.studies.common.markup import Table, figure, render
from ls_jax.studies.common.plots import save
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.information.claims import best
from ls_jax.studies.information.plots import information


def section(page: Shown) -> Markup:
    """The figure, and a table of the last checkpoint; writes the figure to page.figures. Empty without records."""
    found = records.select(page.records, study="information")
    if not found:
        return Markup()
    last = max(record.extra["step"] for record in found)
    classes = " and ".join(found[0].extra["classes"])
    header = ("smoothing", "estimator", "views", "outer draw", "information, nats", "95 % over examples")
    there = sorted(records.select(found, step=last, kind=records.VALUE), key=lambda record: record.hyper["alpha"])
    names = tables.names_of(there)

    def place(record: records.Record) -> tuple[str, str, str, str]:
        return (tables.label(record, names, " = "), record.extra["estimator"], str(record.extra["draws"]),
                record.extra.get("outer", ""))

    rows = [(*where, *cells) for where, cells in tables.keyed(there, place, _cells).items()]
    caption = (
        f"At step {last:,}, {found[0].extra['of_examples']} training examples of {classes}; mean ± standard deviation "
        f"over seeds. Reference values: {found[0].extra['collapsed']:.3f} if the logits depend on the class alone, "
        f"{found[0].extra['bound']:.3f} if they identify every example. A reused outer draw is biased upwards, a fresh "
        "one downwards; both biases shrink with more views. The mixture is exact for these means; it decides the "
        "claims.")
    drawn, _ = save(information(page.records), page.figures / "information")
    deciding = best(page.records)[0].extra
    decided = ("the exact mixture"
               if deciding["estimator"] == "mixture" else "a fresh draw") + f" and {deciding['draws']} views"
    picture = figure(drawn, "Information between the index of a training example and the difference of two logits over "
                          "random augmentations. Lines are means over seeds, bands their range. Claims are tested with "
                          f"{decided}.")
    return render("studies/information/section.html", figure=picture, table=Table(header, rows, caption))


def _cells(record):
    """The information, and its interval over examples if the record has one."""
    interval = record.extra.get("examples_interval")
    return (tables.rounded(record),
            "" if interval is None else "[{:.3f}, {:.3f}]".format(*interval))
