"""The page's section on accuracy: Table 2 for every split, held-out splits first."""
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ls_jax import paper
from ls_jax.studies.accuracy import tables
from ls_jax.studies.common import records
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, render
from ls_jax.studies.common.shown import Shown


def section(page: Shown) -> Markup:
    """One table for each split with predictions."""
    splits = (page.held_out, *(split for split in ("test", "train") if split != page.held_out))
    return Markup("\n").join(table(page.records, split, page.config, page.held_out) for split in splits
                             if records.select(page.records, study="accuracy", split=split))


def table(results: Sequence[records.Record], split: str, config: Mapping[str, Any] | None, held_out: str) -> Markup:
    """The accuracy table of a split; on the reported split of a network of Table 2, with the paper's column."""
    if config is None:
        found = {record.quantity: record.mean for record in records.select(results, study="accuracy", split=split)}
        return render("studies/accuracy/section.html", title="Accuracy", table=None,
                      facts={"accuracy": f"{100 * found['accuracy']:.2f} %", "NLL": f"{found['nll']:.4f}"})
    caption, header, *rows = tables.cells(results, split)
    printed = paper.ACCURACY.get(paper.key(config)) if split == held_out else None
    if printed:
        alphas = [record.hyper["alpha"] for record in records.select(
            results, study="accuracy", quantity="accuracy", split=split, kind=records.VALUE)]
        header = (*header, "paper, Table 2, %")
        rows = [(*row, str(printed.get(alpha, ""))) for row, alpha in zip(rows, alphas)]
    return render("studies/accuracy/section.html", title=f"Accuracy, {SPLIT_NAMES[split]} split",
                  table=Table(header, rows, caption))
