"""The projection study's records, from the predictions that a workdir holds."""
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np
from jaxtyping import Int

from ls_jax.data import Dataset, Pictures
from ls_jax.studies.common import records as results
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.common.triples import Triple, resolve
from ls_jax.studies.projection.measure import ALL, EXAMPLES, measure_all
from ls_jax.workdir import predictions


def triples(config: ml_collections.ConfigDict, dataset: Dataset) -> list[Triple]:
    """The class triples that are projected; see `studies.common.triples.resolve`."""
    return resolve(config.projection.classes, config.data.name, dataset.class_names)


def check(config: ml_collections.ConfigDict, dataset: Dataset) -> None:
    """Raises UserError where `config.projection.classes` names a class that is unknown, or no triple."""
    triples(config, dataset)


def features(config: ml_collections.ConfigDict, dataset: Dataset, split: Pictures) -> Int[np.ndarray, " examples"]:
    """Of the classes that are projected, as many examples as a figure shows."""
    classes = sorted({k for triple in triples(config, dataset) for k in triple})
    return split.find(classes, EXAMPLES) if classes else np.zeros(0, np.int32)


def collect(studied: Studied) -> list[results.Record]:
    """Records of a run; none of students, which are studied as such."""
    config = studied.run.config
    return [] if config.distill else run(studied.outputs, studied.rows, triples(config, studied.run.dataset))


def analyze(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[results.Record]:
    """Records of one network's features and output layer; none where they are not there."""
    found = measure_all(arrays, [*triples, None]) if "kernel" in arrays else ()
    return [results.of_one("projection", quantity, value, classes=classes if classes == ALL else list(classes))
            for classes, quantity, value in found]


def run(workdir: str | pathlib.Path, rows: Sequence[Mapping[str, Any]], triples: Sequence[Triple]) -> list[results.Record]:
    """Records of every quantity, split and arm, for each triple and for all at once, from the predictions on disk.

    Records have the field `classes`, the triple's class names or "all triples". One file is in memory at a time. What
    cannot be measured (too few classes, templates on a line, a gap of zero, features that were not kept) is left out.

    Args:
        workdir: where predictions/ is.
        rows: the members' hyper-parameters.
        triples: class ids.
    """
    measured: dict[tuple, list[tuple[Mapping[str, Any], float]]] = {}
    for split, member, arrays in predictions.every(workdir, len(rows)):
        shown = predictions.shown(workdir, split, member)
        found = [*(measure_all(shown, triples) if shown else ()), *(measure_all(arrays, [None]) if "features" in arrays else ())]
        for classes, quantity, value in found:
            measured.setdefault((split, classes, quantity), []).append((rows[member], value))
    return [record for (split, classes, quantity), found in measured.items() for record in results.summarize(
        "projection", quantity, split, *zip(*found), classes=classes if classes == ALL else list(classes))]
