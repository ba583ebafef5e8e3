"""The translation study's records: likelihood, calibration and translation quality against the softmax temperature (Figure 4)."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ls_jax.studies.common import records as results
from ls_jax.studies.translation.measure import BINS, Curve, Translated, expected_calibration_error

STUDY = "translation"


def run(curves: Sequence[Curve], translated: Sequence[Translated], signatures: Mapping[str, str]) -> list[results.Record]:
    """Records of "nll" and "ece" by split and temperature; of "bleu", "uncased bleu", "chrf" and "length ratio" (to the references, in
    tokens) by file, temperature and beams; and of what the claims compare, one number a seed."""
    rows = results.arms([each.row for each in (*curves, *translated)])
    curves = [curve._replace(row=row) for curve, row in zip(curves, rows)]
    translated = [each._replace(row=row) for each, row in zip(translated, rows[len(curves):])]
    records = []
    for split in dict.fromkeys(curve.split for curve in curves):
        here = [curve for curve in curves if curve.split == split]
        for place, temperature in enumerate(here[0].temperatures):
            values = {"nll": [curve.nll[place] / curve.count[place].sum() for curve in here],
                      "ece": [expected_calibration_error(curve)[place] for curve in here]}
            extra = {"temperature": _plain(temperature), "tokens": int(here[0].count[place].sum()), "bins": BINS}
            records += _summaries(split, values, [curve.row for curve in here], extra)
    for key in dict.fromkeys((each.split, each.file, each.beams, each.temperature) for each in translated):
        here = [each for each in translated if (each.split, each.file, each.beams, each.temperature) == key]
        extra = {"file": key[1], "beams": key[2], "temperature": _plain(key[3]), "sentences": here[0].sentences}
        values = {name: [each.scores[name] for each in here] for name in here[0].scores}
        records += [record.having(signature=signatures[record.quantity]) if record.quantity in signatures else record
                    for record in _summaries(key[0], values, [each.row for each in here], extra)]
    return records + _compared(curves, translated)


def _summaries(split, values, rows, extra):
    return [record for quantity, of in values.items() for record in results.summarize(STUDY, quantity, split, rows, of, **extra)]


def _compared(curves, translated):
    """By split and hyper-parameters, over seeds, of a smoothed network and the hard one of equal seed:

    - "least nll excess": the smallest over temperatures of NLL with smoothing less NLL without, both at that temperature;
    - "bleu over scaling": BLEU with smoothing at 1 less the best BLEU without over temperatures;
    and of a single network: "best temperature by ece", and "bleu gain of scaling", its BLEU at that temperature less that at 1.
    """
    found: dict[tuple, list[tuple[Mapping[str, Any], float]]] = {}
    put = lambda quantity, split, row, value: found.setdefault((quantity, split), []).append((row, float(value)))
    main = [each for each in translated if each.beams == translated[0].beams]
    bleu = lambda split, row: {_plain(each.temperature): each.scores["bleu"] for each in main
                               if each.split == split and each.file == next(other.file for other in main if other.split == split)
                               and each.row == row}
    for curve in curves:
        of_row = bleu(curve.split, curve.row)
        error = expected_calibration_error(curve)
        put("best temperature by ece", curve.split, curve.row, curve.temperatures[np.argmin(error)])
        if len(of_row) > 1:  # decoded at several temperatures
            decoded = {_plain(t): value for t, value in zip(curve.temperatures, error) if _plain(t) in of_row}
            put("bleu gain of scaling", curve.split, curve.row, of_row[min(decoded, key=decoded.get)] - of_row[1.0])
    for curve, hard in _pairs(curves):
        excess = (curve.nll - hard.nll) / curve.count.sum(axis=1)
        put("least nll excess", curve.split, curve.row, excess.min())
        of_hard = bleu(curve.split, hard.row)
        if len(of_hard) > 1:
            put("bleu over scaling", curve.split, curve.row, bleu(curve.split, curve.row)[1.0] - max(of_hard.values()))
    records = [record for (quantity, split), measured in found.items()
               for record in results.summarize(STUDY, quantity, split, *zip(*measured))]
    return results.select(records, kind=results.VALUE)  # what compares networks already has no differences


def _pairs(curves):
    """(curve, that of its baseline with the same seed) on each split."""
    for split in dict.fromkeys(curve.split for curve in curves):
        here = [curve for curve in curves if curve.split == split]
        for member, other in results.pairs([curve.row for curve in here]):
            yield here[member], here[other]


def _plain(temperature):
    return round(float(temperature), 4)
