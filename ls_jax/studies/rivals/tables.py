"""Tables of the rivals study; a table is [caption, header row, rows...], all text."""
import collections
from collections.abc import Sequence
from typing import Any, NamedTuple

from ls_jax.studies.common import claims, records, tables
from ls_jax.studies.rivals.records import AGAINST_SMOOTHING, PLAIN, SCALED


class Shown(NamedTuple):
    """How a quantity is shown: its name, and its unit."""
    name: str
    unit: float = 1.0
    form: str = "+.4f"
    higher: bool = False


SHOWN = {
    "accuracy": Shown("accuracy, %-points", claims.POINTS, "+.2f", True),
    "nll": Shown("NLL, nats"),
    SCALED: Shown("NLL at fitted temperature, nats"),
    "debiased squared error": Shown("calibration error, points²", claims.SQUARE_POINTS, "+.1f"),
    "aurc": Shown("AURC, points", claims.POINTS, "+.3f"),
    "spread ratio": Shown("spread ratio of clusters", form="+.3f"),
    "probe accuracy": Shown("accuracy of a linear probe, %-points", claims.POINTS, "+.2f", True),
}
CRITERIA = {"nll": "NLL", "accuracy": "accuracy"}


def against_plain(results: Sequence[records.Record], criterion: str) -> list[Any]:
    """One row a family: the strengths that validation chose, and its differences from plain cross-entropy."""
    here = records.select(results, study="rivals", chosen_by=criterion, kind=records.DIFFERENCE)
    here = [record for record in here if record.baseline["family"] == PLAIN]
    return [f"Differences from plain cross-entropy of the same seed; each family at the strength with the best "
            f"validation {CRITERIA[criterion]} of that seed{_covering(here)}", *_rows(here, here, "")]


def against_smoothing(results: Sequence[records.Record], criterion: str) -> list[Any]:
    """One row a rival: its differences from label smoothing, whose strength is chosen likewise."""
    here = records.select(results, study="rivals", chosen_by=criterion, kind=records.DIFFERENCE)
    rivals = [record for record in here if record.quantity.endswith(AGAINST_SMOOTHING)]
    plain = [record for record in here if record.baseline["family"] == PLAIN]
    return [f"Differences from label smoothing of the same seed, its strength chosen likewise{_covering(rivals)}",
            *_rows(rivals, plain, AGAINST_SMOOTHING)]


def chosen(record: records.Record) -> str:
    """The arms that represent a family, the most frequent first: "smoothing 5 % (4), smoothing 10 %"."""
    counts = collections.Counter(record.extra["chosen"]).most_common()
    return ", ".join(arm + (f" ({count})" if len(counts) > 1 else "") for arm, count in counts)


def _rows(here, with_choice, suffix):
    quantities = [name for name in SHOWN if any(record.quantity == name + suffix for record in here)]
    found = tables.pivot(here, lambda record: record.hyper["family"], lambda record: tables.difference(
        record, SHOWN[record.quantity.removesuffix(suffix)].form,
        1 / SHOWN[record.quantity.removesuffix(suffix)].unit))
    of = {record.hyper["family"]: chosen(record) for record in with_choice if "chosen" in record.extra}
    return [("loss", "chosen, of so many seeds", *(SHOWN[name].name for name in quantities)),
            *((family, of.get(family, ""), *(cells.get(name + suffix, "") for name in quantities))
              for family, cells in found.items())]


def _covering(here):
    covering = tables.covering(here)
    return f"; {covering}; none is corrected for the number of losses" if covering else ""
