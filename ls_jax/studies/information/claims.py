"""The paper's claims about information in the logits (Section 4 and Figure 6); see `studies.common.claims`.

The exact information of the mixture decides them (`measure.mixture_information`): with 50 views the noise in the means
adds 0.01 nats where the classes have collapsed, and no outer draw is left to chance. The other estimators stand beside
it on the page. Files of earlier versions without it are judged by the paper's estimate with a fresh outer draw and the
larger number of views.

A fall that has not begun is not refuted: where the information peaks at the last checkpoint, it is not judged.
"""
import math
from collections.abc import Sequence

import numpy as np

from ls_jax.studies.common import claims, records
from ls_jax.studies.information.records import GAUSSIAN, MIXTURE, QUANTITY

MARGIN = 0.1             # nats; a smaller rise or fall does not count
NEAR = (-0.1, 0.2)       # nats, relative to the classes' entropy: "slightly above log(2)"


def best(results: Sequence[records.Record]) -> list[records.Record]:
    """The records, values and differences, of the estimate that decides the claims."""
    here = records.select(results, study="information")
    found = records.select(here, **MIXTURE) or records.select(here, **GAUSSIAN)
    return [record for record in found if record.extra["draws"] == max(each.extra["draws"] for each in found)]


def _series(results):
    """(names that vary, records by step) for α = 0 and for the α nearest to the paper's, all else equal."""
    found = records.select(best(results), kind=records.VALUE)
    varying = records.others([record.hyper for record in found])
    for _, here in records.grouped(found):
        smoothings = {record.hyper["alpha"] for record in here}
        for alpha in sorted({0.0, claims.nearest(smoothings) or 0.0} & smoothings):
            yield varying, sorted(records.select(here, alpha=alpha), key=lambda record: record.extra["step"])


def _over_steps(value, low=-math.inf, high=math.inf):
    """The check of `value(records in the order of steps)`, one number for each seed; it needs three steps or more."""
    def check(results: Sequence[records.Record]) -> list[claims.Finding]:
        return [claims.of_record(series[-1], low, high, varying, value(series))
                for varying, series in _series(results) if len(series) > 2]
    return check


def _peak(series):
    """The record at the step where the seeds' mean is largest, so that noise does not choose a step for each seed."""
    return max(series, key=lambda record: record.mean)


def _falls(results):
    findings = []
    for varying, series in _series(results):
        if len(series) > 2:
            peak, last = _peak(series), series[-1]
            found = claims.of_record(last, -math.inf, -MARGIN, varying, list(np.subtract(last.values, peak.values)))
            findings.append(claims.not_judged(found, "not observed yet: the information peaks at the last checkpoint")
                            if peak is last else found)
    return findings


def _at_the_end(results):
    found = best(results)
    last = max((record.extra["step"] for record in found), default=None)
    return claims.compare(records.select(found, step=last), "information", QUANTITY, ("train",), high=0.0)


CLAIMS: dict[str, claims.Claim] = {
    "information rises": claims.Claim(
        f"At its peak, the logits' information about the example is more than {MARGIN} nats above that of the initial "
        f"network.",
        "[Figure 6: tiny at initialisation, then a fast rise]", "Section 4 and Figure 6", 1.0,
        _over_steps(lambda series: list(np.subtract(_peak(series).values, series[0].values)), low=MARGIN)),
    "information then falls": claims.Claim(
        f"After training, the information is more than {MARGIN} nats below its peak. (Not judged where the peak is the "
        "last checkpoint.)",
        "[Figure 6: a slow decrease]", "Section 4 and Figure 6", 1.0, _falls),
    "smoothing erases information": claims.Claim(
        "After training, logits of networks trained with smoothing have less information about the example.",
        "[Figure 6: the decrease goes lower with label smoothing]", "Section 4 and Figure 6", 1.0, _at_the_end),
    "what is left is the class": claims.Claim(
        f"After training, the information is at most {-NEAR[0]} nats below and {NEAR[1]} nats above the classes' "
        f"entropy (log 2 "
        "for two classes of equal size).", "[Figure 6: late in the training, slightly above log(2)]",
        "Section 4 and Figure 6", 1.0,
        _over_steps(lambda series: list(np.array(series[-1].values) - series[-1].extra["collapsed"]), *NEAR)),
}
