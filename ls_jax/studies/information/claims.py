"""The paper's claims on information in the logits (Section 4 and Figure 6), in the form of `studies.common.claims`.

They are judged on the reading whose value for two collapsed clusters is log 2: a fresh outer draw, and the larger number of views.
"""
import math
from collections.abc import Sequence

import numpy as np

from ls_jax.studies.common import claims
from ls_jax.studies.common import records as results
from ls_jax.studies.information import records as information_records

MARGIN = 0.1             # nats: a rise or fall of less is none
NEAR = (-0.1, 0.2)       # nats from the classes' entropy: "slightly above log(2)"


def best(records: Sequence[results.Record]) -> list[results.Record]:
    """The records of this reading, differences too."""
    found = results.select(records, study="information", **information_records.BEST)
    return [record for record in found if record.extra["draws"] == max(each.extra["draws"] for each in found)]


def _courses(records):
    """(names that tell them apart, records of each step, rising) of the hard network and of the smoothed one nearest to the paper's,
    with all else equal."""
    found = results.select(best(records), kind=results.VALUE)
    varying = results.others([record.hyper for record in found])
    for _, here in results.grouped(found):
        smoothings = {record.hyper["alpha"] for record in here}
        for alpha in sorted({0.0, claims.nearest(smoothings) or 0.0} & smoothings):
            yield varying, sorted(results.select(here, alpha=alpha), key=lambda record: record.extra["step"])


def _on_courses(value, low=-math.inf, high=math.inf):
    def check(records):
        return [claims.of_record(course[-1], low, high, varying, value(course)) for varying, course in _courses(records) if len(course) > 2]
    return check


def _peak(course):
    """Of the mean over seeds, so that no seed's noise chooses its own."""
    return np.array(max(course, key=lambda record: record.mean).values)


def _at_the_end(records):
    found = best(records)
    last = max((record.extra["step"] for record in found), default=None)
    return claims.compare(results.select(found, step=last), "information", information_records.QUANTITY, ("train",), high=0.0)


CLAIMS: dict[str, claims.Claim] = {
    "information rises": claims.Claim(
        f"The logits' information about the example is more than {MARGIN} nats larger at its peak than in the initial network.",
        "[Figure 6: tiny at initialisation, then a fast rise]", "Section 4 and Figure 6", 1.0,
        _on_courses(lambda course: list(_peak(course) - course[0].values), low=MARGIN)),
    "information then falls": claims.Claim(
        f"At the end it is more than {MARGIN} nats smaller than at its peak.",
        "[Figure 6: a slow decrease]", "Section 4 and Figure 6", 1.0,
        _on_courses(lambda course: list(course[-1].values - _peak(course)), high=-MARGIN)),
    "smoothing erases information": claims.Claim(
        "At the end of the training the logits of networks trained with smoothing tell less of the example.",
        "[Figure 6: the decrease goes lower with label smoothing]", "Section 4 and Figure 6", 1.0, _at_the_end),
    "what is left is the class": claims.Claim(
        f"At the end the information is at most {-NEAR[0]} nats below and {NEAR[1]} above the classes' entropy, log 2 for two of equal "
        "size.",
        "[Figure 6: late in the training, slightly above log(2)]", "Section 4 and Figure 6", 1.0,
        _on_courses(lambda course: list(np.array(course[-1].values) - course[-1].extra["collapsed"]), *NEAR)),
}
