"""The accuracy table, as text and as cells (the paper's Table 2)."""
from collections.abc import Sequence
from typing import Any

from ls_jax.studies.common import records as results
from ls_jax.studies.common import tables


def summary(records: Sequence[results.Record], split: str) -> str:
    """The accuracy table of one split; of an analyzed network, of whose training nothing is known, a line for each measure."""
    here = results.select(records, study="accuracy", split=split)
    if any(record.hyper for record in here):
        return table(records, split)
    return "\n".join(f"{record.quantity}: {record.mean:.4f}" for record in here)


def table(records: Sequence[results.Record], split: str) -> str:
    """The accuracy table of one split as aligned text."""
    caption, *rows = cells(records, split)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([caption, *lines])


def cells(records: Sequence[results.Record], split: str) -> list[Any]:
    """The accuracy table of one split: a caption, a header row and a row per arm, all text.

    Raises:
        ValueError: two arms have one label.
    """
    here = results.select(records, study="accuracy", split=split)
    names = tables.names_of(here)
    named = lambda quantity, kind=results.VALUE: tables.by_label(results.select(here, quantity=quantity, kind=kind), names)
    accuracy, likelihood, difference = named("accuracy"), named("nll"), named("accuracy", results.DIFFERENCE)
    rows = [("smoothing", "accuracy %", "hard-label NLL", "paired difference in %-points [95 % interval]", "n")]
    for name, record in accuracy.items():
        against = (tables.difference(difference[name], scale=100) if name in difference
                   else "baseline" if _is_baseline(record, difference.values()) else "")
        rows.append((name, tables.mean_std(record, ".2f", 100), tables.mean_std(likelihood[name]), against, str(record.n)))
    examples = results.select(here, quantity="accuracy")[0].extra["examples"]
    return [f"{split} split, {examples:,} examples; mean ± standard deviation over n seeds", *rows]


def _is_baseline(record, differences):
    """Whether something is compared with it, or would be: it is a network trained with cross-entropy alone."""
    return (results.is_plain(record.hyper) and not record.hyper.get("teacher")
            or any(difference.baseline == record.hyper for difference in differences))
