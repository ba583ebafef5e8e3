"""The answer's sentences on accuracy, on likelihood, and on which α to take."""
import collections
from collections.abc import Sequence

import numpy as np

from ls_jax.studies.common import answers, claims, records
from ls_jax.studies.common.statistics import t_interval

ACCURACY = answers.Measure("accuracy", "accuracy", "accuracy", higher=True, unit=claims.POINTS, units=" points",
                           of=lambda accuracy: 1 - accuracy)
LIKELIHOOD = answers.Measure("likelihood", "accuracy", "nll", noun="NLL", units=" nats")
CHOICE = "choice of α"


def answer(results: Sequence[records.Record], split: str) -> list[answers.Sentence]:
    """Sentences on accuracy, on the choice of α by validation, and on the likelihood at T = 1."""
    found = [answers.compared(results, split, ACCURACY), choice(results, split),
             answers.compared(results, split, LIKELIHOOD)]
    return [sentence for sentence in found if sentence is not None]


def choice(results: Sequence[records.Record], split: str) -> answers.Sentence | None:
    """What the α with the best validation accuracy, chosen anew for each seed, gives on the test set.

    α = 0 may be chosen too. The paired differences to α = 0 so carry the luck of choosing; their interval is over the
    seeds. None where fewer than two smoothings were trained, or nothing was held out for validation.
    """
    validation, test = _by_alpha(results, "validation"), _by_alpha(results, split)
    if split == "validation" or len(validation) < 3 or 0.0 not in validation or validation.keys() != test.keys():
        return None
    seeds = sorted(set.intersection(*map(set, validation.values())))
    chosen = [max(sorted(validation), key=lambda alpha: validation[alpha][seed]) for seed in seeds]
    gains = [test[alpha][seed] - test[0.0][seed] for alpha, seed in zip(chosen, seeds)]
    finding = claims.judge(gains, 0.0, np.inf, split=split, alpha=max(set(chosen), key=chosen.count))
    often = collections.Counter(chosen).most_common()
    which = ", ".join(f"{alpha:g} ({count} of {len(seeds)} seeds)" for alpha, count in often[:1])
    which += "".join(f", {alpha:g} ({count})" for alpha, count in often[1:])
    one = answers.of_difference(CHOICE, finding, True, claims.POINTS, " points", 0.0,
                                 "it gains accuracy on the test set", "it loses accuracy on the test set")
    said = one.text.partition(": ")[2]
    return one._replace(text=f"Choice of α: by validation accuracy, anew for each seed, it is {which}; "
                             f"{said.replace('cannot tell. The', 'whether that gains, this run cannot tell. The')}",
                        interval=t_interval(gains))


def _by_alpha(results, split):
    """{α: {seed: accuracy}} of the networks that are equal in all but α; of the first such, where several differ."""
    found = {}
    for record in records.select(records.of_smoothing(results), study="accuracy", quantity="accuracy", split=split,
                                 kind=records.VALUE):
        if "alpha" in record.hyper:
            alike = found.setdefault(records.key(records.without_alpha(record.hyper)), {})
            alike[record.hyper["alpha"]] = record.by_seed
    return next(iter(found.values()), {})
