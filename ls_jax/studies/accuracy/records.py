"""The accuracy study's records: accuracy and NLL of a run's members, over seeds."""
from collections.abc import Mapping, Sequence
from typing import Any

from ls_jax.studies.accuracy.measure import MEASURES, measure_all, of_examples
from ls_jax.studies.common import records
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.common.triples import Triple
from ls_jax.workdir import predictions


def collect(studied: Studied) -> list[records.Record]:
    """Records of a run; students included."""
    return run(studied.measured, [_samples(studied, split, row, values) for split, row, values in studied.measured])


def analyze(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[records.Record]:
    """Records of one network's logits and labels."""
    logits, labels = arrays["logits"], arrays["labels"]
    measured, samples = measure_all(logits, labels), of_examples(logits, labels)
    return [records.of_one("accuracy", name, measured[name], samples[name], examples=len(labels)) for name in MEASURES]


def run(measured: Sequence[tuple[str, Mapping[str, Any], Mapping[str, float]]],
        samples: Sequence[Mapping[str, Sample]] | None = None) -> list[records.Record]:
    """Records from (split, a member's row, {measure: value, "examples": count}), grouped over seeds.

    `samples` gives {measure: how it depends on the examples} for each; empty where that is unknown.
    """
    results = []
    for split in dict.fromkeys(split for split, _, _ in measured):
        here = [(row, values, sample)
                for (of, row, values), sample in zip(measured, samples or [{}] * len(measured), strict=True)
                if of == split]
        rows, values, sampled = zip(*here)
        for quantity in MEASURES:
            results += records.summarize("accuracy", quantity, split, rows, [each[quantity] for each in values],
                                         samples=[each.get(quantity) for each in sampled],
                                         combined="student" in rows[0] and quantity == "accuracy",
                                         examples=values[0]["examples"])
    return results


def _samples(studied, split, row, values):
    """Of a held-out split whose predictions are all kept. Elsewhere it is empty, and the interval is over seeds
    alone."""
    member = studied.rows.index(row)
    if split == "train" or not predictions.file(studied.outputs, split, member).exists():
        return {}
    arrays = predictions.mapped(studied.outputs, split, member)
    if len(arrays["labels"]) != values["examples"]:
        return {}
    return of_examples(arrays["logits"], arrays["labels"], arrays.get("sentence"))
