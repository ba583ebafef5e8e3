"""Tables of selective classification; a table is [caption, header row, rows...], all text."""
from collections.abc import Sequence
from typing import Any

from ls_jax.studies.common import records, tables
from ls_jax.studies.selective.records import CHANGE, NORMALISED, QUANTITIES

SHOWN = {name: name.replace("aurc", "AURC").replace("augrc", "AUGRC") for name in QUANTITIES}


def values(results: Sequence[records.Record], split: str) -> list[Any]:
    """One row for every arm of a split and each score: the four measures.

    Raises:
        ValueError: two arms have the same label.
    """
    here = records.select(results, study="selective", split=split, kind=records.VALUE)
    return ["AURC: the error rate of the k most certain predictions, averaged over k. AUGRC: the probability of an "
            "accepted error, averaged over the coverage; a ranking at random has half the error rate. Coverage: the "
            "fraction of predictions that are accepted. Mean ± standard deviation over seeds" + _chosen(here),
            *_rows(here, tables.mean_std)]


def differences(results: Sequence[records.Record], split: str) -> list[Any]:
    """One row for every arm that has a baseline and each score: its paired differences; the caption alone without any.

    Raises:
        ValueError: two arms have the same label.
    """
    here = records.select(results, study="selective", split=split, kind=records.DIFFERENCE)
    covering = tables.covering(here)
    return ["Paired differences from the baseline" + (f"; {covering}" if covering else ""),
            *_rows(here, lambda record: tables.difference(record, "+.4f"))]


def change(results: Sequence[records.Record], split: str) -> list[Any]:
    """One row for every arm: each measure by normalised logits less by confidence, of the same networks.

    Raises:
        ValueError: two arms have the same label.
    """
    here = records.select(results, study="selective", split=split, kind=records.VALUE)
    names, covering = tables.names_of(here), tables.covering([each for each in here if each.quantity.endswith(CHANGE)])
    found = tables.pivot([each for each in here if each.quantity.endswith(CHANGE)],
                         lambda record: tables.label(record, names), lambda record: tables.difference(record, "+.4f"))
    return ["Normalised logits less confidence, of the same networks" + (f"; {covering}" if covering else ""),
            ("smoothing", *SHOWN.values()),
            *((label, *(of[name + CHANGE] for name in QUANTITIES)) for label, of in found.items())]


def _rows(here, cell):
    names, rows = tables.names_of(here), [("score", "smoothing", *SHOWN.values())]
    for score, suffix in (("confidence", ""), ("normalised logits", NORMALISED)):
        of_score = [each for each in here if each.quantity in {name + suffix for name in QUANTITIES}]
        found = tables.pivot(of_score, lambda record: tables.label(record, names), cell)
        rows += [(score, label, *(of[name + suffix] for name in QUANTITIES)) for label, of in found.items()]
    return rows


def _chosen(here):
    found = {record.extra["chosen_on"] for record in here if "chosen_on" in record.extra}
    return "".join(f"; the norm of the logits is chosen on: {each}" for each in found)
