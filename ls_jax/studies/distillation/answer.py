"""The answer's sentences on distillation: students of smoothed teachers against those of unsmoothed ones."""
from collections.abc import Sequence

from ls_jax.studies.common import answers, claims, records
from ls_jax.studies.distillation.claims import at_equal_temperature

ABOUT = "distillation"


def answer(results: Sequence[records.Record], split: str) -> list[answers.Sentence]:
    """A sentence for T = 1, or for matched logits, and one for the largest T above 1 at which students have trained."""
    findings = [finding for finding in at_equal_temperature(lambda temperature: True)(results)
                if finding.verdict != claims.NOT_JUDGED]
    by_temperature = {finding.where.get("temperature"): finding for finding in findings}
    hot = max((temperature for temperature in by_temperature if (temperature or 0) > 1), default=None)
    wanted = [temperature for temperature in (None, 1.0, hot) if temperature in by_temperature]
    return [_sentence(by_temperature[temperature], temperature, results) for temperature in dict.fromkeys(wanted)]


def _sentence(finding, temperature, results):
    accuracies = [record.mean for record in records.select(results, study="accuracy", quantity="accuracy",
                                                           split=finding.split, kind=records.VALUE)]
    about = ABOUT if temperature is None else f"{ABOUT} at T = {temperature:g}"
    teacher = f"students of the teacher with α = {finding.alpha:g}"
    margin = answers.MARGIN * (1 - max(accuracies)) if accuracies else 0.0
    return answers.of_difference(about, finding, True, claims.POINTS, " points", margin,
                                  f"{teacher} are better than those of the unsmoothed one",
                                  f"{teacher} are worse than those of the unsmoothed one")
