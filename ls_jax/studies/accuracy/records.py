"""The accuracy study's records: every measure of a run's members, over seeds."""
from collections.abc import Mapping, Sequence
from typing import Any

from ls_jax.studies.accuracy.measure import MEASURES, measure_all
from ls_jax.studies.common import records as results
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.common.triples import Triple


def collect(studied: Studied) -> list[results.Record]:
    """Records of a run, also of one of students."""
    return run(studied.measured)


def analyze(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[results.Record]:
    """Records of one network's logits and labels."""
    measured = measure_all(arrays["logits"], arrays["labels"])
    return [results.of_one("accuracy", name, measured[name], examples=len(arrays["labels"])) for name in MEASURES]


def run(measured: Sequence[tuple[str, Mapping[str, Any], Mapping[str, float]]]) -> list[results.Record]:
    """Records from (split, a member's hyper-parameters, {measure: value, "examples": count}), grouped over seeds."""
    records = []
    for split in dict.fromkeys(split for split, _, _ in measured):
        here = [(row, values) for of, row, values in measured if of == split]
        for quantity in MEASURES:
            records += results.summarize("accuracy", quantity, split, [row for row, _ in here], [values[quantity] for _, values in here],
                                         examples=here[0][1]["examples"])
    return records
