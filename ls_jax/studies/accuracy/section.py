"""The page's section on accuracy: Table 2 of every split, the held-out ones first."""
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ls_jax import paper
from ls_jax.studies.accuracy import tables as accuracy_tables
from ls_jax.studies.common import records as results
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, render
from ls_jax.studies.common.shown import Shown


def section(page: Shown) -> Markup:
    """A table for each split that was predicted."""
    splits = (page.held_out, *(split for split in ("test", "train") if split != page.held_out))
    return Markup("\n").join(table(page.records, split, page.config, page.held_out) for split in splits
                             if results.select(page.records, study="accuracy", split=split))


def table(records: Sequence[results.Record], split: str, config: Mapping[str, Any] | None,
                   held_out: str) -> Markup:
    """The accuracy table of a split; with a column of the paper's Table 2 on the reported split of a network that it has."""
    if config is None:
        found = {record.quantity: record.mean for record in results.select(records, study="accuracy", split=split)}
        return render("studies/accuracy/section.html", title="Accuracy", table=None,
                      facts={"accuracy": f"{100 * found['accuracy']:.2f} %", "hard-label NLL": f"{found['nll']:.4f}"})
    caption, header, *rows = accuracy_tables.cells(records, split)
    printed = paper.ACCURACY.get(paper.key(config)) if split == held_out else None
    if printed:
        alphas = [record.hyper["alpha"] for record in results.select(
            records, study="accuracy", quantity="accuracy", split=split, kind=results.VALUE)]
        header = (*header, "paper's Table 2, %")
        rows = [(*row, str(printed.get(alpha, ""))) for row, alpha in zip(rows, alphas)]
    return render("studies/accuracy/section.html", title=f"Accuracy, {SPLIT_NAMES[split]} split", table=Table(header, rows, caption))
