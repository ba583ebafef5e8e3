"""The report's section on what smoothing erases: Figure 6, neural collapse, separation, transfer."""
import pathlib
from collections.abc import Sequence

from markupsafe import Markup

from ls_jax.report import sections
from ls_jax.report.markup import Table, figure, render
from ls_jax.studies.common import plots
from ls_jax.studies.common import records as results
from ls_jax.studies.dynamics import plots as course_plots
from ls_jax.studies.information import claims as information_claims

QUANTITIES = {"nc1": "NC1", "nc2 logits": "NC2 (Guo)", "nc2 simplex": "NC2 simplex", "nc3": "NC3", "nc4": "NC4", "class separation": "R²",
              "stability": "stability", "rank of class means": "rank, means", "rank within classes": "rank, within",
              "cka with hard": "CKA with hard"}


def section(records: Sequence[results.Record], figures: pathlib.Path) -> Markup:
    """Tables and figures of the information, representation and transfer studies; leaves the figures in a folder."""
    return _information(records, figures) + _representation(records, figures)


def _information(records, figures):
    found = results.select(records, study="information")
    if not found:
        return Markup()
    last = max(record["step"] for record in found)
    classes = " and ".join(found[0]["classes"])
    header = ("smoothing", "estimator", "views", "outer draw", "information, nats", "95 % over examples")
    rows = [(f"α = {record['alpha']:g}", record["estimator"], str(record["draws"]), record.get("outer", ""), _cell(record),
             "[{:.3f}, {:.3f}]".format(*record["examples_interval"]) if "examples_interval" in record else "")
            for record in sorted(results.select(found, step=last), key=lambda record: record["alpha"]) if "baseline_alpha" not in record]
    caption = (f"At step {last:,}, {found[0]['of_examples']} training examples of {classes}; mean ± standard deviation over seeds. "
               f"Classes told apart and nothing else: {found[0]['collapsed']:.3f}; all examples told apart: {found[0]['bound']:.3f}. "
               "A reused outer draw is biased upwards, a fresh one downwards, both by less with more views.")
    drawn, _ = plots.save(course_plots.information(records), figures / "information")
    views = information_claims.best(records)[0]["draws"]
    shown = figure(drawn, "Information between the index of a training example and the difference of two logits over "
                          "random augmentations. Bands are the seeds' range. Claims are judged on a fresh draw and "
                          f"{views} views.")
    return render("information.html", figure=shown, table=Table(header, rows, caption))


def _representation(records, figures):
    here = [record for record in results.select(records, study="representation") if "step" not in record and "baseline_alpha" not in record]
    if not here:
        return Markup()
    shown = []
    if any("step" in record for record in results.select(records, study="representation")):
        drawn, _ = plots.save(course_plots.collapse(records), figures / "neural_collapse")
        caption = "Neural collapse on training examples over the training; bands are the seeds' range."
        shown.append(figure(drawn, caption))
    if len({record["alpha"] for record in here if "alpha" in record}) > 1:
        drawn, _ = plots.save(course_plots.against_alpha(records), figures / "separation")
        shown.append(figure(drawn, "Class separation, and linear probes on the frozen penultimate layer where another "
                                   "task was probed. Points are seeds, lines their means."))
    return render("representation.html", table=_table(here), figures=shown)


def _table(here):
    shown = {name: title for name, title in QUANTITIES.items() if results.select(here, quantity=name)}
    cells: dict[tuple, dict[str, str]] = {}
    for record in here:
        varied = ", ".join(f"{name.replace('_', ' ')} {record[name]:g}" for name in ("learning_rate", "weight_decay")
                           if len({each.get(name) for each in here}) > 1)
        smoothing = f"α = {record['alpha']:g}" if "alpha" in record else "as given"
        key = sections.SPLIT_NAMES[record["split"]], f"{smoothing}{', ' if varied else ''}{varied}"
        cells.setdefault(key, {})[record["quantity"]] = _cell(record)
    rows = [(*key, *(values.get(name, "") for name in shown)) for key, values in cells.items()]
    return Table(("split", "smoothing", *shown.values()), rows,
                 "NC1 to NC4 are 0 at neural collapse; R²: class separation, 1 at collapse; rank: effective rank of "
                 "the class means and of the examples about them; CKA: alignment with the hard network of equal seed. "
                 "Mean ± standard deviation over seeds.")


def _cell(record):
    spread = "" if record["std"] is None else f" ± {record['std']:.2g}"
    return f"{record['mean']:.3g}{spread}"
