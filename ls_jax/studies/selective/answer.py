"""The answer's sentence on the ranking of errors: whether a network is less sure where it is wrong."""
from collections.abc import Sequence

from ls_jax.studies.common import answers, claims, records

RANKING = answers.Measure("ranking of errors by confidence", "selective", "aurc", unit=claims.POINTS, noun="AURC",
                          units=" points")


def answer(results: Sequence[records.Record], split: str) -> list[answers.Sentence]:
    """A sentence on the area under the risk-coverage curve."""
    sentence = answers.compared(results, split, RANKING)
    return [] if sentence is None else [sentence]
