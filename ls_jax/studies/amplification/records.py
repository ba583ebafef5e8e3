"""The amplification study's records: the terms of smoothing's part of the loss on held-out examples."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ls_jax.studies.amplification.measure import samples, terms
from ls_jax.studies.common import held_out, records
from ls_jax.studies.common.crossed import Sample, Units
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.common.triples import Triple
from ls_jax.workdir import predictions

Measured = tuple[str, Mapping[str, Any], dict[str, Sample]]  # split, a network's hyper-parameters, {quantity: value}


def collect(studied: Studied) -> list[records.Record]:
    """Records of a run; none for students."""
    if studied.run.config.distill:
        return []
    return run([(split, studied.rows[member], measure(arrays["logits"], arrays["labels"],
                                                      arrays.get("sentence", arrays["index"])))
                for split, member, arrays in predictions.every(studied.outputs, len(studied.rows)) if split != "train"])


def analyze(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[records.Record]:
    """Records of one network's logits and labels."""
    measured = measure(arrays["logits"], arrays["labels"], arrays.get("index"))
    return held_out.of_unknown_training(run([("test", held_out.UNKNOWN, measured)]))


def measure(logits: Any, labels: Any, ids: Any = None) -> dict[str, Sample]:
    """{quantity: value} of one network on one split; `ids` number what an interval draws anew, None: the examples."""
    units = Units.of(ids, len(labels))
    return samples(terms(logits, labels), units.group, units.count)


def run(measured: Sequence[Measured]) -> list[records.Record]:
    """Records of all measurements; a quantity is left out where a network of the split has no right or no wrong
    prediction."""
    results = []
    for split in dict.fromkeys(split for split, _, _ in measured):
        rows, found = zip(*[(row, of) for each, row, of in measured if each == split])
        for quantity in found[0]:
            of = [each[quantity] for each in found]
            if all(np.isfinite(each.value) for each in of):
                results += records.summarize("amplification", quantity, split, rows, [each.value for each in of],
                                             samples=of if of[0].examples > 1 else None)
    return results
