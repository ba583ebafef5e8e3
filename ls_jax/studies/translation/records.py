"""The translation study's records: likelihood, calibration and translation quality by temperature (Figure 4)."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ls_jax.studies.common import records
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.translation.measure import BINS, Curve, Translated, expected_calibration_error, measured

STUDY = "translation"


def run(curves: Sequence[Curve], translated: Sequence[Translated], signatures: Mapping[str,
                                                                                       str]) -> list[records.Record]:
    """All records of the study, from the members' next-token sums and scored translations.

    "nll", "ece" and "debiased squared error" have one record for each split and temperature; "bleu", "uncased bleu",
    "chrf" and "length ratio" (to the references, in tokens) one for each file, temperature and beam width. Further
    records are what the claims test.
    """
    rows = records.arms([each.row for each in (*curves, *translated)])
    curves = [curve._replace(row=row) for curve, row in zip(curves, rows)]
    translated = [each._replace(row=row) for each, row in zip(translated, rows[len(curves):])]
    results = []
    for split in dict.fromkeys(curve.split for curve in curves):
        here = [curve for curve in curves if curve.split == split]
        found = [measured(curve) for curve in here]
        for place, temperature in enumerate(here[0].temperatures):
            samples = {name: [of[name][place] for of in found] for name in found[0]}
            extra = {"temperature": _plain(temperature), "tokens": here[0].tokens, "bins": BINS}
            results += _summaries(split, samples, [curve.row for curve in here], extra, combined=True)
    for key in dict.fromkeys((each.split, each.file, each.beams, each.temperature) for each in translated):
        here = [each for each in translated if (each.split, each.file, each.beams, each.temperature) == key]
        extra = {"file": key[1], "beams": key[2], "temperature": _plain(key[3]), "sentences": here[0].sentences}
        samples = {name: [each.scores[name] for each in here] for name in here[0].scores}
        results += [record.having(signature=signatures[record.quantity]) if record.quantity in signatures else record
                    for record in _summaries(key[0], samples, [each.row for each in here], extra)]
    return results + _compared(curves, translated)


def _summaries(split, samples, rows, extra, combined=False):
    return [
        record for quantity, of in samples.items()
        for record in records.summarize(STUDY, quantity, split, rows, [each.value for each in of], samples=of,
                                        combined=combined, **extra)
    ]


def _compared(curves, translated):
    """Records of the quantities that the claims test, over seeds. No temperature is chosen on what it is judged by.

    Of a smoothed network and the unsmoothed one of the same seed:
    - "bleu over scaling by halves": BLEU with smoothing at temperature 1 minus BLEU without at its best temperature,
      which each half of the sentences takes from the other half; the mean of both.

    Of a single network:
    - "best temperature by ece";
    - "bleu gain of fitted scaling": its BLEU, minus that at 1, at the temperature with the smallest calibration error
      on the tokens of the other held-out split.
    """
    found: dict[tuple, list[tuple[Mapping[str, Any], Sample]]] = {}

    def put(quantity: str, split: str, row: records.Row, sample: Sample) -> None:
        found.setdefault((quantity, split), []).append((row, sample))

    main = [each for each in translated if each.beams == translated[0].beams]

    def decoded(split: str, row: records.Row) -> dict[float, Translated]:
        """{temperature: translations} of the split's first file."""
        first = next((each.file for each in main if each.split == split), None)
        return {_plain(each.temperature): each for each in main
                if each.split == split and each.row == row and each.file == first}

    for curve in curves:
        put("best temperature by ece", curve.split, curve.row,
            Sample(float(curve.temperatures[np.argmin(expected_calibration_error(curve))])))
        of_row = decoded(curve.split, curve.row)
        other = next((each for each in curves if each.row == curve.row and each.split != curve.split), None)
        if other is not None and len(of_row) > 1:  # decoded at several temperatures
            errors = {_plain(t): error for t, error in zip(other.temperatures, expected_calibration_error(other))}
            fitted = min(of_row, key=errors.get)
            put("bleu gain of fitted scaling", curve.split, curve.row,
                of_row[fitted].scores["bleu"] - of_row[1.0].scores["bleu"])
    for curve, unsmoothed in _pairs(curves):
        smoothed, scaled = (decoded(curve.split, each.row) for each in (curve, unsmoothed))
        if len(scaled) > 1 and all(each.halves for each in (smoothed[1.0], *scaled.values())):
            put("bleu over scaling by halves", curve.split, curve.row,
                _by_halves(smoothed[1.0].halves, [each.halves for each in scaled.values()]))
    results = []
    for (quantity, split), of in found.items():
        rows, samples = zip(*of)
        results += _summaries(split, {quantity: samples}, rows, {})
    return records.select(results, kind=records.VALUE)  # these quantities already compare networks


def _by_halves(smoothed, scaled):
    """BLEU minus the best of `scaled` on the other half, the mean of both halves; without each group likewise."""
    def gain(own: np.ndarray, others: np.ndarray) -> float:  # [halves], [temperatures, halves]
        best = others.argmax(axis=0)
        return float(np.mean([own[half] - others[best[1 - half], half] for half in (0, 1)]))

    value = gain(*(np.array(part) for part in ([half.value for half in smoothed],
                                               [[half.value for half in of] for of in scaled])))
    if any(half.deleted is None for of in (smoothed, *scaled) for half in of):
        return Sample(value)
    own, others = (np.array(part) for part in ([half.deleted for half in smoothed],
                                               [[half.deleted for half in of] for of in scaled]))
    deleted = [gain(own[..., group], others[..., group]) for group in range(own.shape[-1])]
    return Sample(value, deleted=np.array(deleted), examples=sum(half.examples for half in smoothed))


def _pairs(curves):
    """(curve, the curve of its baseline with the same seed) on each split."""
    for split in dict.fromkeys(curve.split for curve in curves):
        here = [curve for curve in curves if curve.split == split]
        for member, other in records.pairs([curve.row for curve in here]):
            yield here[member], here[other]


def _plain(temperature):
    return round(float(temperature), 4)
