"""The page's section on scalings with more parameters than a temperature: one table for each held-out split."""
from collections.abc import Sequence

from markupsafe import Markup

from ls_jax.studies.common import records, tables
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, render
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.recalibration.records import QUANTITIES

SCALINGS = {  # name: (study, what its quantities begin with)
    "none": ("calibration", ""), "temperature": ("calibration", "scaled "), "vector": ("recalibration", "vector "),
    "isotonic": ("recalibration", "isotonic "),
}


def section(page: Shown) -> Markup:
    """Tables of every held-out split with records; empty without records."""
    splits = dict.fromkeys(record.split for record in records.select(page.records, study="recalibration"))
    return render("studies/recalibration/section.html",
                  splits=[{"split": SPLIT_NAMES[split], "table": table(page.records, split)} for split in splits])


def table(results: Sequence[records.Record], split: str) -> Table:
    """One row for every scaling and arm; the first rows are those of the calibration and accuracy studies."""
    own = records.select(results, study="recalibration", split=split, kind=records.VALUE)
    names, fitted_on, rows = tables.names_of(own), own[0].extra["fitted_on"], []
    for scaling, (study, prefix) in SCALINGS.items():
        here = [record for record in records.select(results, study=study, split=split, kind=records.VALUE)
                if record.quantity in {prefix + name for name in QUANTITIES}
                and record.extra.get("fitted_on") in (None, fitted_on)]
        found = tables.pivot(here, lambda record: tables.label(record, names), _cell)
        if study == "calibration":  # these scalings do not change the predicted class
            for record in records.select(results, study="accuracy", quantity="accuracy", split=split,
                                         kind=records.VALUE):
                found[tables.label(record, names)][prefix + "accuracy"] = _cell(record)
        rows += [(scaling, label, *(of.get(prefix + name, "") for name in QUANTITIES)) for label, of in found.items()]
    covering = tables.covering(own)
    caption = (
        "Vector scaling has a scale and a bias for each class, isotonic regression an increasing function for each "
               f"class. All scalings are fitted on: {fitted_on}" + (f"; {covering}" if covering else ""))
    return Table(("scaling", "smoothing", "NLL", "debiased squared error", "ECE", "accuracy %"), rows, caption)


def _cell(record):
    """The mean with its interval."""
    accuracy = record.quantity.endswith("accuracy")
    scale, form = (100, ".2f") if accuracy else (1, ".5f" if record.quantity.endswith("squared error") else ".4f")
    return tables.difference(record, form, scale)
