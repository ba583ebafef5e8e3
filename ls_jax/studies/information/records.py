"""The information study's records at a checkpoint: Î by every estimator, with intervals over seeds and examples."""
import math
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np
from jaxtyping import Float, Integer

from ls_jax.data import Dataset
from ls_jax.studies import information
from ls_jax.studies.common import records, triples

QUANTITY = "logit information"
MIXTURE = {"estimator": "mixture"}  # decides the claims
GAUSSIAN = {"estimator": "gaussian", "outer": "fresh"}  # decides them in files of earlier versions without the mixture
MOST_REPEATED = 0.1  # with a larger fraction of repeated views, nearest neighbours are not used


def check(config: ml_collections.ConfigDict, dataset: Dataset) -> None:
    """Raise UserError where `config.information.classes` has an unknown class, or is not a pair."""
    pair(config, dataset)


def pair(config: ml_collections.ConfigDict, dataset: Dataset) -> tuple[int, int]:
    """The two classes whose logits are compared; see `studies.common.triples.resolve_pair`."""
    return triples.resolve_pair(config.information.classes, config.data.name, dataset.class_names)


def run(draws: Float[np.ndarray, "members examples views"], labels: Integer[np.ndarray, " examples"],
        rows: Sequence[Mapping[str, Any]], step: int, few: int, level: float = 0.95) -> list[records.Record]:
    """Records of "logit information" at one checkpoint, and of its difference from the unsmoothed baseline.

    Their fields are step; draws, the L of the means; outer, "fresh" or "reused"; estimator, "gaussian" (the paper's,
    with L = `few` and with all draws), "mixture" or "nearest neighbours" (with all draws); collapsed and bound, the
    reference values log 2 and log N; examples_interval, an interval for the mean over seeds over choices of the
    examples (the paper's estimator only).

    Args:
        draws: the members' logit differences; the last view is the fresh draw.
        labels: the examples' classes.
        rows: each member's hyper-parameters.
        step: the checkpoint's step.
        few: the paper's L.
        level: of the interval over examples.
    """
    fresh, draws, results = draws[..., -1], draws[..., :-1], []
    for views in sorted({min(few, draws.shape[-1]), draws.shape[-1]}):
        for outer, held_out in (("fresh", fresh), ("reused", None)):
            given = draws[..., :views], held_out
            found = _summarize(rows, information.logit_information(*given), views, estimator="gaussian", outer=outer)
            scatter = information.half_samples(*given, labels)
            results += [record.having(examples_interval=_interval(record, rows, scatter, level)) for record in found]
    mixture = [information.mixture_information(*information.fitted_mixture(member)) for member in draws]
    results += _summarize(rows, mixture, draws.shape[-1], **MIXTURE)
    if draws.shape[-1] > 3 and max(map(information.repeated, draws)) < MOST_REPEATED:
        results += _summarize(rows, [information.neighbour_information(member) for member in draws], draws.shape[-1],
                              estimator="nearest neighbours")
    return [
        record.having(step=step, of_examples=len(labels), collapsed=information.collapsed(labels),
                      bound=math.log(len(labels))) for record in results
    ]


def _summarize(rows, values, views, **fields):
    return records.summarize("information", QUANTITY, "train", rows, values, draws=views, **fields)


def _interval(record, rows, scatter, level):
    """The interval over examples of a record's mean over seeds."""
    varied = _mean_over(record.hyper, record.seeds, rows) @ scatter
    if record.kind == records.DIFFERENCE:
        varied = varied - _mean_over(record.baseline, record.seeds, rows) @ scatter
    return [float(record.mean + end) for end in np.quantile(varied, [(1 - level) / 2, (1 + level) / 2])]


def _mean_over(hyper, seeds, rows):
    """The weights [members] that average an arm over these seeds."""
    chosen = np.array([row["seed"] in seeds and records.hyper(row) == hyper for row in rows], float)
    return chosen / chosen.sum()
