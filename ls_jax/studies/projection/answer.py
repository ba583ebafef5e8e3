"""The answer's sentence on the clusters of a class's examples: how wide they are for their distance."""
from collections.abc import Sequence

from ls_jax.studies import projection
from ls_jax.studies.common import answers, records

CLUSTERS = answers.Measure("clusters of held-out examples", "projection", "spread ratio", noun="spread ratio",
                           better="tighter for their distance with smoothing",
                           worse="wider for their distance with smoothing", verdicts=("tighter", "wider"),
                           fields={"classes": projection.ALL})


def answer(results: Sequence[records.Record], split: str) -> list[answers.Sentence]:
    """A sentence on the spread ratio, within-class spread over the distance of classes, over all class triples."""
    sentence = answers.compared(results, split, CLUSTERS)
    return [] if sentence is None else [sentence]
