"""The page's section on smoothing's term of the loss: one table for each held-out split."""
from collections.abc import Sequence

from markupsafe import Markup

from ls_jax.studies.amplification.measure import RELATIVE, TERMS
from ls_jax.studies.common import records, tables
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, render
from ls_jax.studies.common.shown import Shown


def section(page: Shown) -> Markup:
    """Tables of every held-out split with records; empty without records."""
    splits = dict.fromkeys(record.split for record in records.select(page.records, study="amplification"))
    return render("studies/amplification/section.html",
                  splits=[{"split": SPLIT_NAMES[split], "table": table(page.records, split)} for split in splits])


def table(results: Sequence[records.Record], split: str) -> Table:
    """One row for every arm: the terms, and the ratio with its difference from the baseline."""
    here = records.select(results, study="amplification", split=split)
    names, differences = tables.names_of(here), records.select(here, quantity=RELATIVE, kind=records.DIFFERENCE)
    against = tables.by_label(differences, names)
    found = tables.pivot(records.select(here, kind=records.VALUE), lambda record: tables.label(record, names),
                         tables.mean_std)
    quantities = [name for name in (*TERMS, RELATIVE) if records.select(here, quantity=name)]
    rows = [(label, *(of[name] for name in quantities),
             tables.difference(against[label], "+.4f") if label in against else "") for label, of in found.items()]
    covering = tables.covering(differences)
    caption = (
        "Smoothing adds α times (the label's logit less the mean logit) to the loss. On wrong predictions this is "
               "regularisation less error amplification: the mean over classes of how far logits are below the "
               "label's, and above it. Relative: error amplification over the first column. Mean ± standard deviation "
               "over seeds"
               + (f"; {covering}" if covering else ""))
    return Table(("smoothing", *quantities, "paired difference of the last"), rows, caption)
