"""What the tables of several studies share: numbers as text, and rows that are named by what varies.

A table is [caption, header row, rows...], all text.
"""
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from ls_jax.studies.common import records as results

SYMBOLS = {"student": "", "alpha": "α", "teacher_alpha": "teacher's α", "temperature": "T", "beta": "β"}
AS_GIVEN = "as given"  # a network of which no hyper-parameter is known


def mean_std(record: results.Record, form: str = ".4f", scale: float = 1.0, std_form: str | None = None) -> str:
    """Mean ± standard deviation over seeds, the latter where there are two seeds or more."""
    return f"{scale * record.mean:{form}}" + ("" if record.std is None else f" ± {scale * record.std:{std_form or form}}")


def difference(record: results.Record, form: str = "+.2f", scale: float = 1.0) -> str:
    """A mean difference with its interval, where it has one: "+1.68 [+1.30, +2.06]"."""
    if record.interval is None:
        return f"{scale * record.mean:{form}}"
    low, high = record.interval
    return f"{scale * record.mean:{form}} [{scale * low:{form}}, {scale * high:{form}}]"


def names_of(records: Sequence[results.Record]) -> list[str]:
    """The hyper-parameters that name the rows of a table of these records: α, and what else varies."""
    return results.varying([record.hyper for record in records])


def label(of: results.Record | results.Row, names: Sequence[str], equals: str = "=") -> str:
    """What names a record's row: its arm where config.sweep.arms gave it a name, else the hyper-parameters of these names."""
    hyper = of.hyper if isinstance(of, results.Record) else of
    if isinstance(of, results.Record) and results.is_named(of.arm, of.hyper):
        return of.arm
    shown = [name for name in names if hyper.get(name) is not None and hyper[name] is not False]
    texts = ((SYMBOLS.get(name, name.replace("_", " ") if equals != "=" else name), results.number(hyper[name])) for name in shown)
    return ", ".join(f"{symbol}{equals}{value}" if symbol else value for symbol, value in texts) or AS_GIVEN


def keyed(records: Sequence[results.Record], key: Callable[[results.Record], Hashable],
          cell: Callable[[results.Record], Any] = lambda record: record) -> dict[Any, Any]:
    """{key: cell} of the records: no row of a table is lost behind another.

    Raises:
        ValueError: two records have one key.
    """
    found: dict[Any, Any] = {}
    for record in records:
        if (place := key(record)) in found:
            raise ValueError(f"two rows of a table are {place!r}: the second has the hyper-parameters {dict(record.hyper)}")
        found[place] = cell(record)
    return found


def by_label(records: Sequence[results.Record], names: Sequence[str], equals: str = "=") -> dict[str, results.Record]:
    """{label: record}.

    Raises:
        ValueError: two records have one label.
    """
    return keyed(records, lambda record: label(record, names, equals))


def pivot(records: Sequence[results.Record], row: Callable[[results.Record], Hashable],
          cell: Callable[[results.Record], Any]) -> dict[Any, dict[str, Any]]:
    """{row: {quantity: cell}} of the records.

    Raises:
        ValueError: two records of one quantity are in one row.
    """
    found: dict[Any, dict[str, Any]] = {}
    for (place, quantity), text in keyed(records, lambda record: (row(record), record.quantity), cell).items():
        found.setdefault(place, {})[quantity] = text
    return found
