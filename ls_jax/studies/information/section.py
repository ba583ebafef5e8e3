"""The page's section on what the logits still tell of an example: Figure 6 and its estimators."""
from markupsafe import Markup

from ls_jax.studies.common import plots, tables
from ls_jax.studies.common import records as results
from ls_jax.studies.common.markup import Table, figure, render
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.information import claims as information_claims
from ls_jax.studies.information import plots as information_plots


def section(page: Shown) -> Markup:
    """The figure and the table of the last checkpoint; leaves the figure in a folder. Empty without records of the study."""
    found = results.select(page.records, study="information")
    if not found:
        return Markup()
    last = max(record.extra["step"] for record in found)
    classes = " and ".join(found[0].extra["classes"])
    header = ("smoothing", "estimator", "views", "outer draw", "information, nats", "95 % over examples")
    there = sorted(results.select(found, step=last, kind=results.VALUE), key=lambda record: record.hyper["alpha"])
    names = tables.names_of(there)
    key = lambda record: (tables.label(record, names, " = "), record.extra["estimator"], str(record.extra["draws"]),
                          record.extra.get("outer", ""))
    interval = lambda record: "[{:.3f}, {:.3f}]".format(*record.extra["examples_interval"]) if "examples_interval" in record.extra else ""
    cell = lambda record: tables.mean_std(record, ".3g", std_form=".2g")
    rows = [(*where, *cells) for where, cells in tables.keyed(there, key, lambda record: (cell(record), interval(record))).items()]
    caption = (f"At step {last:,}, {found[0].extra['of_examples']} training examples of {classes}; mean ± standard deviation over seeds. "
               f"Classes told apart and nothing else: {found[0].extra['collapsed']:.3f}; all examples told apart: "
               f"{found[0].extra['bound']:.3f}. "
               "A reused outer draw is biased upwards, a fresh one downwards, both by less with more views.")
    drawn, _ = plots.save(information_plots.information(page.records), page.figures / "information")
    views = information_claims.best(page.records)[0].extra["draws"]
    picture = figure(drawn, "Information between the index of a training example and the difference of two logits over "
                          "random augmentations. Bands are the seeds' range. Claims are judged on a fresh draw and "
                          f"{views} views.")
    return render("studies/information/section.html", figure=picture, table=Table(header, rows, caption))
