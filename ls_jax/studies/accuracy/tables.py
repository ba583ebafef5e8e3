"""The accuracy table, as text and as cells (the paper's Table 2)."""
from collections.abc import Sequence
from typing import Any

from ls_jax.studies.common import records, tables


def summary(results: Sequence[records.Record], split: str) -> str:
    """The accuracy table of one split as text; for a network trained elsewhere, one line for each measure."""
    here = records.select(results, study="accuracy", split=split)
    if any(record.hyper for record in here):
        return table(results, split)
    return "\n".join(f"{record.quantity}: {record.mean:.4f}" for record in here)


def table(results: Sequence[records.Record], split: str) -> str:
    """The accuracy table of one split as aligned text."""
    caption, *rows = cells(results, split)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([caption, *lines])


def cells(results: Sequence[records.Record], split: str) -> list[Any]:
    """The accuracy table of one split: caption, header row, and one row for each arm, all text.

    Raises:
        ValueError: two arms have the same label.
    """
    here = records.select(results, study="accuracy", split=split)
    names = tables.names_of(here)

    def named(quantity: str, kind: str = records.VALUE) -> dict[str, records.Record]:
        return tables.by_label(records.select(here, quantity=quantity, kind=kind), names)

    accuracy, likelihood, difference = named("accuracy"), named("nll"), named("accuracy", records.DIFFERENCE)
    rows = [("smoothing", "accuracy %", "NLL", "paired difference in %-points [95 % interval]", "n")]
    for name, record in accuracy.items():
        against = (tables.difference(difference[name], scale=100) if name in difference
                   else "baseline" if _is_baseline(record, difference.values()) else "")
        rows.append((name, tables.mean_std(record, ".2f",
                                           100), tables.mean_std(likelihood[name]), against, str(record.n)))
    examples = records.select(here, quantity="accuracy")[0].extra["examples"]
    if any(record.variance for record in difference.values()):  # files of earlier versions have none
        errors = {name: tables.sources(record, scale=100) for name, record in difference.items()}
        rows = [(*rows[0], "its standard error, from"), *((*row, errors.get(row[0], "")) for row in rows[1:])]
    caption = f"{split} split, {examples:,} examples; mean ± standard deviation over n seeds"
    covering = tables.covering(list(difference.values()))
    return [f"{caption}; {covering}" if covering else caption, *rows]


def _is_baseline(record, differences):
    """Whether it is, or could be, a baseline: it was trained with cross-entropy alone, without a teacher."""
    return (record.plain and not record.hyper.get("teacher")
            or any(difference.baseline == record.hyper for difference in differences))
