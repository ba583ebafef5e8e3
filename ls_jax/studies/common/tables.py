"""Helpers for the studies' tables: numbers as text, and row labels made of the hyper-parameters that vary.

A table is [caption, header row, rows...], all text.
"""
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from ls_jax.studies.common import records

SYMBOLS = {"student": "", "alpha": "α", "teacher_alpha": "teacher's α", "temperature": "T", "beta": "β"}
COVERS = {
    records.BOTH: "for new seeds and new test examples, with this training set",
    records.SEEDS: "for new seeds on the same examples",
    records.EXAMPLES: "for new test examples, of this one network",
}
AS_GIVEN = "as given"  # the label of a network without known hyper-parameters


def mean_std(record: records.Record, form: str = ".4f", scale: float = 1.0) -> str:
    """Mean ± standard deviation over seeds as text; the mean alone with one seed, and "–" where it is not finite."""
    if record.mean is None:
        return "–"
    spread = "" if record.std is None else f" ± {scale * record.std:{form}}"
    return f"{scale * record.mean:{form}}{spread}"


def rounded(record: records.Record) -> str:
    """Mean ± standard deviation, both to the place of the spread's second digit, the mean to at most five digits.

    A spread of three orders below the mean thus ends the mean's digits, not the other way round: "1.0000 ± 0.0000".
    Without a spread the mean has three digits.
    """
    if record.mean is None:
        return "–"
    if not math.isfinite(record.mean):
        return f"{record.mean:g}"
    before = math.floor(math.log10(abs(record.mean))) + 1 if record.mean else 0  # the point; 0 or less: none before it
    places = 3 - before
    if record.std:
        places = min(1 - math.floor(math.log10(record.std)), 5 - before)
    form = f".{min(max(places, 0), 9)}f"
    return f"{record.mean:{form}}" + ("" if record.std is None else f" ± {record.std:{form}}")


def difference(record: records.Record, form: str = "+.2f", scale: float = 1.0) -> str:
    """A mean difference with its interval, "+1.68 [+1.30, +2.06]"; the mean alone without an interval, as
    `mean_std`."""
    if record.mean is None:
        return "–"
    if record.interval is None or None in record.interval:
        return f"{scale * record.mean:{form}}"
    low, high = record.interval
    return f"{scale * record.mean:{form}} [{scale * low:{form}}, {scale * high:{form}}]"


def sources(record: records.Record, form: str = ".2f", scale: float = 1.0) -> str:
    """The standard errors of a mean from either source, "0.14 seeds, 0.49 examples"; empty where they are unknown."""
    parts = [(record.variance.get(name), name) for name in ("seeds", "examples")]
    return ", ".join(f"{scale * math.sqrt(part):{form}} {name}" for part, name in parts if part is not None)


def covering(results: Sequence[records.Record]) -> str:
    """What these records' intervals are for, in the words of a caption; empty without intervals."""
    found = dict.fromkeys(COVERS[record.covers] for record in results if record.covers)
    return f"95 % intervals {', or '.join(found)}" if found else ""


def names_of(results: Sequence[records.Record]) -> list[str]:
    """Names of the hyper-parameters that label the rows of a table: α, and all others that vary."""
    return records.varying([record.hyper for record in results])


def label(of: records.Record | records.Row, names: Sequence[str], equals: str = "=") -> str:
    """A row's label: the arm's name from config.sweep.arms if it has one, else the hyper-parameters of `names`."""
    hyper = of.hyper if isinstance(of, records.Record) else of
    if isinstance(of, records.Record) and records.is_named(of.arm, of.hyper):
        return of.arm
    shown = [name for name in names if hyper.get(name) is not None and hyper[name] is not False]
    texts = ((SYMBOLS.get(name,
                          name.replace("_", " ") if equals != "=" else name), records.number(hyper[name]))
             for name in shown)
    return ", ".join(f"{symbol}{equals}{value}" if symbol else value for symbol, value in texts) or AS_GIVEN


def keyed(results: Sequence[records.Record], key: Callable[[records.Record], Hashable],
          cell: Callable[[records.Record], Any] = lambda record: record) -> dict[Any, Any]:
    """{key: cell} of the records, all keys different: no row of a table can replace another.

    Raises:
        ValueError: two records have one key.
    """
    found: dict[Any, Any] = {}
    for record in results:
        if (place := key(record)) in found:
            raise ValueError(
                f"two rows of a table are {place!r}; the second has the hyper-parameters {dict(record.hyper)}")
        found[place] = cell(record)
    return found


def by_label(results: Sequence[records.Record], names: Sequence[str], equals: str = "=") -> dict[str, records.Record]:
    """{label: record}.

    Raises:
        ValueError: two records have one label.
    """
    return keyed(results, lambda record: label(record, names, equals))


def pivot(results: Sequence[records.Record], row: Callable[[records.Record], Hashable],
          cell: Callable[[records.Record], Any]) -> dict[Any, dict[str, Any]]:
    """{row: {quantity: cell}} of the records.

    Raises:
        ValueError: two records of one quantity are in one row.
    """
    found: dict[Any, dict[str, Any]] = {}
    for (place, quantity), text in keyed(results, lambda record: (row(record), record.quantity), cell).items():
        found.setdefault(place, {})[quantity] = text
    return found
