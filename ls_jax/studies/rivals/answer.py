"""The answer's sentence on rivals: how many of them do better, and how many do worse, than label smoothing."""
from collections.abc import Sequence

from ls_jax.studies.common import answers, records
from ls_jax.studies.rivals.records import AGAINST_SMOOTHING, SCALED
from ls_jax.studies.rivals.tables import SHOWN

ABOUT = "rivals of label smoothing"
TOLD = {"accuracy": "accuracy", SCALED: "likelihood at a fitted temperature", "aurc": "ranking of errors"}


def answer(results: Sequence[records.Record], split: str) -> list[answers.Sentence]:
    """A sentence that names the rivals whose intervals exclude no difference from smoothing."""
    here = records.select(results, study="rivals", chosen_by="nll", split=split, kind=records.DIFFERENCE)
    parts, better_any, worse_any, count = [], False, False, 0
    for quantity, words in TOLD.items():
        found = [record for record in here if record.quantity == quantity + AGAINST_SMOOTHING
                 and record.interval is not None]
        if not found:
            continue
        sign = 1 if SHOWN[quantity].higher else -1
        better = [record.hyper["family"] for record in found if min(sign * end for end in record.interval) > 0]
        worse = [record.hyper["family"] for record in found if max(sign * end for end in record.interval) < 0]
        better_any, worse_any, count = better_any or bool(better), worse_any or bool(worse), len(found)
        parts.append(f"in {words}, {_names(better)} better and {_names(worse)} worse")
    if not parts:
        return []
    text = (f"{ABOUT[0].upper()}{ABOUT[1:]}: of {count}, each at the strength that validation chose, "
            f"{'; '.join(parts)}. The others differ by less than their intervals, which are not corrected for their "
            "number.")
    verdict = "some are better" if better_any else "some are worse, none is better" if worse_any else "none differs"
    return [answers.Sentence(ABOUT, text, None, None, answers.SMALL, verdict)]


def _names(families):
    if not families:
        return "none is"
    return f"{', '.join(families)} {'are' if len(families) > 1 else 'is'}"
