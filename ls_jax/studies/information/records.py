"""The information study of a run's checkpoints: Î by every estimator and reading, with intervals over seeds and over examples."""
import math
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np
from jaxtyping import Float, Int

from ls_jax.data import Dataset
from ls_jax.studies import information
from ls_jax.studies.common import records as results
from ls_jax.studies.common import triples

QUANTITY = "logit information"
BEST = {"estimator": "gaussian", "outer": "fresh"}  # with the larger number of draws, the reading whose collapse value is log 2
MOST_REPEATED = 0.1  # share of repeated views beyond which nearest neighbours see equal draws, and not how near draws are


def check(config: ml_collections.ConfigDict, dataset: Dataset) -> None:
    """Raises UserError where `config.information.classes` names a class that is unknown, or no pair."""
    pair(config, dataset)


def pair(config: ml_collections.ConfigDict, dataset: Dataset) -> tuple[int, int]:
    """The two classes whose logits are compared; see `studies.common.triples.resolve_pair`."""
    return triples.resolve_pair(config.information.classes, config.data.name, dataset.class_names)


def run(draws: Float[np.ndarray, "members examples views"], labels: Int[np.ndarray, " examples"],
        rows: Sequence[Mapping[str, Any]], step: int, few: int, level: float = 0.95) -> list[results.Record]:
    """Records of one checkpoint, quantity "logit information", and its difference from the hard network's.

    Their fields: step; draws, the L of the means; outer, "fresh" or "reused"; estimator, "gaussian" (the paper's, at L = `few` and at
    all), "mixture" or "nearest neighbours" (at all draws); collapsed and bound, the values log 2 and log N to compare with;
    examples_interval, over choices of the examples, of the mean over seeds (the paper's estimator only).

    Args:
        draws: of these members' logit difference; the last view is the fresh one.
        labels: the examples' classes.
        rows: the members' hyper-parameters.
        few: the paper's L.
    """
    fresh, draws, records = draws[..., -1], draws[..., :-1], []
    for views in sorted({min(few, draws.shape[-1]), draws.shape[-1]}):
        for outer, held_out in (("fresh", fresh), ("reused", None)):
            given = draws[..., :views], held_out
            found = _summarize(rows, information.logit_information(*given), views, estimator="gaussian", outer=outer)
            scatter = information.half_samples(*given, labels)
            records += [record.having(examples_interval=_interval(record, rows, scatter, level)) for record in found]
    mixture = [information.fitted_mixture(member) for member in draws]
    if all(deviation > 1e-9 * np.abs(means).max() for means, deviation in mixture):
        records += _summarize(rows, [information.mixture_information(*each) for each in mixture], draws.shape[-1], estimator="mixture")
    if draws.shape[-1] > 3 and max(map(information.repeated, draws)) < MOST_REPEATED:
        records += _summarize(rows, [information.neighbour_information(member) for member in draws], draws.shape[-1],
                              estimator="nearest neighbours")
    return [record.having(step=step, of_examples=len(labels), collapsed=information.collapsed(labels), bound=math.log(len(labels)))
            for record in records]


def _summarize(rows, values, views, **fields):
    return results.summarize("information", QUANTITY, "train", rows, values, draws=views, **fields)


def _interval(record, rows, scatter, level):
    """Of a record's mean, or mean difference, over its seeds."""
    varied = _mean_over(record.hyper, record.seeds, rows) @ scatter
    if record.kind == results.DIFFERENCE:
        varied = varied - _mean_over(record.baseline, record.seeds, rows) @ scatter
    return [float(record.mean + end) for end in np.quantile(varied, [(1 - level) / 2, (1 + level) / 2])]


def _mean_over(hyper, seeds, rows):
    """Weights [members] that average these seeds of an arm."""
    chosen = np.array([row["seed"] in seeds and results.hyper(row) == hyper for row in rows], float)
    return chosen / chosen.sum()
