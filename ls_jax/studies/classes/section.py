"""The page's section on single classes: one table for each held-out split and baseline, one row for each class."""
from collections.abc import Sequence

from markupsafe import Markup

from ls_jax.studies.classes.records import WORST
from ls_jax.studies.common import claims, records, tables
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, render
from ls_jax.studies.common.shown import Shown


def section(page: Shown) -> Markup:
    """Tables of every held-out split with differences; empty without."""
    splits = dict.fromkeys(record.split
                           for record in records.select(page.records, study="classes", kind=records.DIFFERENCE))
    return render("studies/classes/section.html", splits=[
        {"split": SPLIT_NAMES[split], "tables": comparisons(page.records, split)} for split in splits])


def comparisons(results: Sequence[records.Record], split: str) -> list[Table]:
    """A table for each baseline: of the arms with smoothing the one nearest to the paper's α, of others each."""
    worst = records.select(results, study="classes", split=split, quantity=WORST, kind=records.DIFFERENCE)
    names, found = tables.names_of([*worst, *records.select(results, study="classes", split=split, quantity=WORST)]), []
    for _, group in records.grouped(worst):
        alpha = claims.nearest({record.hyper.get("alpha", 0) for record in group})
        found += [table(results, record, names) for record in group if alpha is None
                  or record.hyper.get("alpha", 0) == alpha]
    return found


def table(results: Sequence[records.Record], difference: records.Record, names: Sequence[str]) -> Table:
    """One row for each class, and one for the worst: without and with smoothing, and the difference with its
    interval."""
    here = records.select(results, study="classes", split=difference.split)
    arms = difference.baseline, difference.hyper
    values = [{(record.quantity, record.get("label")): record for record in records.select(
        here, kind=records.VALUE, hyper=hyper)} for hyper in arms]
    less = {(record.quantity, record.get("label")): record for record in records.select(
        here, kind=records.DIFFERENCE, hyper=difference.hyper, baseline=difference.baseline)}
    rows = [(record.extra["class_name"], f"{record.extra['examples']:,}", *_accuracy(values, less, "class accuracy", k),
             *(f"{of['class ece', k].mean:.4f}" for of in values),
             tables.difference(less["class squared error", k], "+.5f"))
            for (quantity, k), record in values[0].items() if quantity == "class accuracy"]
    rows.append(("worst class", "", *_accuracy(values, less, WORST, None), "", "", ""))
    covering = tables.covering(list(less.values()))
    caption = (f"{tables.label(arms[0], names)} and {tables.label(difference, names)}. Intervals are for each class by "
               "itself: of 20 classes, one is expected to exclude 0 by luck. The worst class may differ between "
               "networks. Calibration errors are of the class's probability over all examples"
               + (f"; {covering}" if covering else ""))
    return Table(("class", "examples", "accuracy %, without", "with", "difference in %-points",
                  "classwise ECE, without", "with",
                  "difference of the debiased squared error"), rows, caption)


def _accuracy(values, less, quantity, label):
    return (*(f"{100 * of[quantity, label].mean:.2f}" for of in values),
            tables.difference(less[quantity, label], scale=100))
