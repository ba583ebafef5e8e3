"""The accuracy table, as text and as cells (the paper's Table 2)."""
from collections.abc import Sequence
from typing import Any

from ls_jax.studies.common import records as results

# The hyper-parameters that tell a table's rows apart, where they vary; some are of a distillation's students alone.
SHOWN = {"student": "", "alpha": "α=", "teacher_alpha": "teacher's α=", "temperature": "T=", "beta": "β=", "control": "control=",
         "learning_rate": "learning_rate=", "weight_decay": "weight_decay="}


def table(records: Sequence[results.Record], split: str) -> str:
    """The accuracy table of one split as aligned text."""
    caption, *rows = cells(records, split)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([caption, *lines])


def cells(records: Sequence[results.Record], split: str) -> list[Any]:
    """The accuracy table of one split: a caption, a header row and a row per smoothing, all text."""
    here = [record for record in records if record["study"] == "accuracy" and record["split"] == split]
    varying = [name for name in SHOWN
               if name == "alpha" or len({record.get(name) for record in here}) > 1]
    value = lambda record, name: record[name] if isinstance(record[name], str) else f"{record[name]:g}"
    label = lambda record: ", ".join(f"{SHOWN[name]}{value(record, name)}" for name in varying
                                      if record[name] is not None and record[name] is not False)
    named = lambda quantity: {label(record): record for record in results.select(here, quantity=quantity)}
    likelihood, difference = named("nll"), named("accuracy difference")
    rows = [("smoothing", "accuracy %", "hard-label NLL", "paired difference in %-points [95 % interval]", "n")]
    against = lambda name, record: (_difference(difference[name]) if name in difference
                                    else "" if record.get("teacher") else "baseline")
    for name, record in named("accuracy").items():
        rows.append((name, _plus_minus(record, 100, 2), _plus_minus(likelihood[name], 1, 4),
                     against(name, record), str(record["n"])))
    examples = results.select(here, quantity="accuracy")[0]["examples"]
    return [f"{split} split, {examples:,} examples; mean ± standard deviation over n seeds", *rows]


def _plus_minus(record, scale, digits):
    spread = "" if record["std"] is None else f" ± {scale * record['std']:.{digits}f}"
    return f"{scale * record['mean']:.{digits}f}{spread}"


def _difference(record):
    interval = record["interval"]
    return f"{100 * record['mean']:+.2f}" + (f" [{100 * interval[0]:+.2f}, {100 * interval[1]:+.2f}]" if interval else "")
