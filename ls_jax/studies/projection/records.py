"""The projection study's records, from a workdir's predictions."""
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np
from jaxtyping import Int

from ls_jax.data import Dataset, Pictures
from ls_jax.studies.common import records
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.common.triples import Triple, resolve
from ls_jax.studies.projection.measure import ALL, EXAMPLES, measure_all
from ls_jax.workdir import predictions


def triples(config: ml_collections.ConfigDict, dataset: Dataset) -> list[Triple]:
    """The class triples to project; see `studies.common.triples.resolve`."""
    return resolve(config.projection.classes, config.data.name, dataset.class_names)


def check(config: ml_collections.ConfigDict, dataset: Dataset) -> None:
    """Raise UserError where `config.projection.classes` has an unknown class, or is not made of triples."""
    triples(config, dataset)


def features(config: ml_collections.ConfigDict, dataset: Dataset, split: Pictures) -> Int[np.ndarray, " examples"]:
    """Ids of the examples that a figure shows of the projected classes."""
    classes = sorted({k for triple in triples(config, dataset) for k in triple})
    return split.find(classes, EXAMPLES) if classes else np.zeros(0, np.int32)


def collect(studied: Studied) -> list[records.Record]:
    """Records of a run; none for students, which have their own study."""
    config = studied.run.config
    return [] if config.distill else run(studied.outputs, studied.rows, triples(config, studied.run.dataset))


def analyze(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[records.Record]:
    """Records of one network, from its features and output layer; none without these."""
    found = measure_all(arrays, [*triples, None]) if "kernel" in arrays else ()
    return [records.of_one("projection", quantity, of.value, of, classes=classes if classes == ALL else list(classes))
            for classes, quantity, of in found]


def run(workdir: str | pathlib.Path, rows: Sequence[Mapping[str, Any]],
        triples: Sequence[Triple]) -> list[records.Record]:
    """Records of every quantity, split and arm, for each triple and for all at once, from the predictions on disk.

    Records have the field `classes`, the triple's class names or "all triples". One file is in memory at a time. There
    is no record of what cannot be measured: too few classes, templates on a line, a gap of zero, features not saved.

    Args:
        workdir: where predictions/ is.
        rows: each member's hyper-parameters.
        triples: class ids.
    """
    measured: dict[tuple, list[tuple[Mapping[str, Any], Sample]]] = {}
    for split, member, arrays in predictions.every(workdir, len(rows)):
        shown = predictions.shown(workdir, split, member)
        found = [
            *(measure_all(shown, triples) if shown else ()), *(measure_all(arrays, [None]) if "features" in arrays else
                                                               ())
        ]
        for classes, quantity, of in found:
            measured.setdefault((split, classes, quantity), []).append((rows[member], of))
    results = []
    for (split, classes, quantity), found in measured.items():
        of_rows, samples = zip(*found)
        results += records.summarize("projection", quantity, split, of_rows, [each.value for each in samples],
                                     samples=None if split == "train" else samples,
                                     classes=classes if classes == ALL else list(classes))
    return results
