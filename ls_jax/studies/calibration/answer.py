"""The answer's sentences on calibration: at T = 1, against temperature scaling, and on likelihood at the best T.

Verdicts on calibration rest on the debiased squared error, since the plain calibration error (ECE) is biased where a
network is calibrated. The plain one is shown, since readers know it.
"""
from collections.abc import Sequence

from ls_jax.studies.calibration.records import AGAINST_SCALING
from ls_jax.studies.common import answers, records, tables

JUDGED = "debiased squared error"


def answer(results: Sequence[records.Record], split: str) -> list[answers.Sentence]:
    """Sentences on calibration, on temperature scaling, and on the likelihood of each network at its own best T."""
    fitted = {record.get("fitted_on") for record in records.select(results, study="calibration", split=split,
                                                                   quantity="temperature")}
    fields = {"fitted_on": "validation" if "validation" in fitted else "other half", "criterion": "nll"}
    measures = (
        answers.Measure("calibration", "calibration", JUDGED, shown="ece", noun="ECE"),
        answers.Measure("temperature scaling", "calibration", f"{JUDGED} {AGAINST_SCALING}",
                        shown=f"ece {AGAINST_SCALING}", baseline="scaled ece", noun="ECE", fields=fields,
                        better="smoothing calibrates better than it does",
                        worse="it calibrates the unsmoothed network better than smoothing does",
                        sides=("scaled", "smoothed"), verdicts=("smoothing is better", "scaling is better")),
        answers.Measure("likelihood, each network at its best temperature", "calibration", "scaled nll", noun="NLL",
                        units=" nats", fields=fields),
    )
    found = (answers.compared(results, split, measure) for measure in measures)
    return [sentence for sentence in found if sentence is not None]


def _called(record):
    """" with α = 0.1", or with the name of an arm; "" where nothing is known."""
    if not record.hyper:
        return ""
    return f" with {tables.label(record, tables.names_of([record]), ' = ')}"


def alone(results: Sequence[records.Record], split: str) -> str:
    """Of networks that are compared with none: whether they are over-confident, and what a temperature does to it."""
    sentences = []
    for record in records.select(results, study="calibration", quantity="overconfidence", split=split,
                                 kind=records.VALUE):
        one = {name: next((each for each in records.select(results, study="calibration", quantity=name, split=split,
                                                           kind=records.VALUE)
                           if each.hyper == record.hyper and each.get("fitted_on") in (None, "validation", "other half")
                           ), None) for name in ("temperature", "ece", "scaled ece")}
        if "regime" in record.extra and None not in one.values():
            sentences.append(f"The network{_called(record)} is {record.extra['regime']} "
                             f"(confidence minus accuracy {100 * record.mean:+.1f} points); the temperature "
                             f"{one['temperature'].mean:.2f} takes its ECE from {one['ece'].mean:.4f} to "
                             f"{one['scaled ece'].mean:.4f}.".replace(" -", " −"))
    return " ".join(sentences[:2])
