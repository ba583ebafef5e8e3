"""The paper's claims about translation (Table 1, Figures 3 and 4); see `studies.common.claims`."""
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ls_jax.studies.calibration.claims import RESTS_ON
from ls_jax.studies.common import claims, records
from ls_jax.studies.common.claims import SQUARE_POINTS
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.common.statistics import paired
from ls_jax.studies.translation.measure import ERROR

NEAR_ONE = 0.15  # one and a half steps of Figure 4's grid of temperatures
MARGIN = 0.1     # of the unsmoothed network's error at T = 1, as `calibration.claims`


def _difference(results: Sequence[records.Record], quantity: str, low: float = -math.inf, high: float = math.inf,
                **fields):
    """Findings on smoothed minus unsmoothed at temperature 1, for the first held-out file and the first beam width."""
    split = records.held_out(results, "translation")
    here = records.select(results, study="translation", split=split, quantity=quantity, temperature=1.0)
    first = {name: here[0].extra[name] for name in ("file", "beams") if here and name in here[0].extra}
    return claims.compare(results, "translation", quantity, (split,), low=low, high=high, temperature=1.0, **first)


def _by_temperature(results: Sequence[records.Record], quantity: str, split: str,
                    of: records.Row) -> dict[float, dict[int, Sample]]:
    """{temperature: {seed: sample}} of an arm, over all tokens of the split, in the order of temperatures."""
    here = records.select(results, study="translation", quantity=quantity, split=split, kind=records.VALUE, hyper=of)
    return {record.extra["temperature"]: record.samples
            for record in sorted(here, key=lambda record: record.extra["temperature"])}


def _fitted(results, split, of):
    """{seed: the temperature of the grid with the smallest NLL on this split}."""
    curve = _by_temperature(results, "nll", split, of)
    seeds = next(iter(curve.values()), {})
    return {seed: min(curve, key=lambda temperature: curve[temperature][seed].value) for seed in seeds}


def _on_test(results: Sequence[records.Record], quantity: str, scaled: Sequence[str], low: float = -math.inf,
             margin: float | None = None):
    """Findings on a quantity of all test tokens, smoothed minus unsmoothed, paired by seed.

    The networks of `scaled`, out of "smoothed" and "unsmoothed", are at the temperature that is best on validation, the
    others at 1. A fact beside each finding tells the difference with all networks at 1. It is not judged where a best
    temperature is an end of the grid: a better one may lie beyond. The range is from `low` to `margin` times the
    unsmoothed network's quantity at T = 1.
    """
    findings = []
    for chosen in claims.compare(results, "translation", quantity, ("test",), temperature=1.0):
        values, fitted, at_end = [], [], False
        for name, of in (("smoothed", chosen.hyper), ("unsmoothed", chosen.baseline)):
            curve = _by_temperature(results, quantity, "test", of)
            best = _fitted(results, "validation", of) if name in scaled else dict.fromkeys(curve[1.0], 1.0)
            values.append({seed: curve[temperature][seed] for seed, temperature in best.items()})
            at_end |= name in scaled and bool({*best.values()} & {min(curve), max(curve)})
            fitted.append(best)
        differences = list(paired(*values).values())
        if not differences:  # no validation split, or no tokens of it
            continue
        of = {name: getattr(chosen, name) for name in ("split", "alpha", "arm", "hyper", "baseline", "where")}
        shown = claims.with_interval(chosen.difference, chosen.interval, SQUARE_POINTS if quantity == ERROR else 1.0)
        fact = f"at T = 1 of both: {shown}"
        plain = _by_temperature(results, quantity, "test", chosen.baseline)[1.0].values()
        high = math.inf if margin is None else margin * max(float(np.mean([each.value for each in plain])), 0.0)
        finding = dataclasses.replace(claims.judge_samples(differences, low, high, **of), facts=(fact,))
        findings.append(claims.not_judged(finding, "a best temperature is an end of the grid: widen "
                                          "config.translation.temperatures") if at_end else finding)
    return findings


def _number(results: Sequence[records.Record], quantity: str, smoothed: bool, low: float = -math.inf,
            high: float = math.inf, shift: float = 0.0):
    """Findings on a quantity minus `shift`, of smoothed or of unsmoothed networks; the records already compare."""
    here = records.select(results, study="translation", split=records.held_out(results, "translation"),
                          quantity=quantity)
    varying, findings = records.others([record.hyper for record in here]), []
    for _, group in records.grouped(here):
        chosen = claims.nearest({record.hyper["alpha"] for record in group}) if smoothed else 0
        findings += [claims.of_record(record, low, high, varying, [value - shift for value in record.values])
                     for record in records.select(group, alpha=chosen)]
    return findings


CLAIMS: dict[str, claims.Claim] = {
    "smoothing raises BLEU": claims.Claim(
        "Smoothing raises the BLEU of beam search on the held-out sentences (cased, sacrebleu).",
        "[Table 1: 25.3 to 25.8]", "Table 1 and Section 3", 1.0, lambda results: _difference(results, "bleu", low=0.0)),
    "smoothing worsens the likelihood": claims.Claim(
        "With smoothing, the negative log-likelihood of test tokens is higher, each network at its own best "
        "temperature, which is fitted on validation.",
        "[Figure 4, right: the network without smoothing is better at every temperature]", "Section 3 and Figure 4",
        1.0, lambda results: _on_test(results, "nll", ("smoothed", "unsmoothed"), low=0.0)),
    "smoothing calibrates all tokens as temperature scaling does": claims.Claim(
        "On all test tokens, the smoothed network's calibration error exceeds that of the unsmoothed network at its "
        "best temperature, which is fitted on validation, by less than a tenth of the unsmoothed network's own error. "
        f"{RESTS_ON}",
        "[Table 3: 0.018 beside 0.019]", "Section 3 and Table 3", SQUARE_POINTS,
        lambda results: _on_test(results, ERROR, ("unsmoothed",), margin=MARGIN)),
    "scaling raises BLEU": claims.Claim(
        "The unsmoothed network has a higher BLEU at the temperature that calibrates it best than at 1. (The "
        "temperature is chosen on the other held-out split.)",
        "[Figure 4, left: raising the temperature slightly raises BLEU]", "Section 3 and Figure 4", 1.0,
        lambda results: _number(results, "bleu gain of fitted scaling", smoothed=False, low=0.0)),
    "scaling does not reach smoothing's BLEU": claims.Claim(
        "The smoothed network's BLEU at temperature 1 exceeds the unsmoothed network's at its best temperature. (Each "
        "half of the sentences is judged at the temperature that is best on the other half.)",
        "[Figure 4: no temperature takes the network without smoothing to the BLEU of the one with it]",
        "Section 3 and Figure 4",
        1.0, lambda results: _number(results, "bleu over scaling by halves", smoothed=True, low=0.0)),
    "smoothing is best near T = 1": claims.Claim(
        f"The temperature that calibrates the smoothed network best differs from 1 by less than {NEAR_ONE}.",
        "[Figure 4, centre: the smoothed network is best without scaling]", "Section 3 and Figure 4", 1.0, lambda
        results: _number(results, "best temperature by ece", smoothed=True, low=-NEAR_ONE, high=NEAR_ONE, shift=1.0)),
}
