"""The paper's claims about calibration (Table 3, Figure 2); see `studies.common.claims`.

Verdicts rest on the debiased squared error, whose differences are not biased where one network is calibrated. The
differences of the plain ECE and of the NLL stand beside each. Records without the debiased squared error have no
findings.
"""
import dataclasses
import math
from collections.abc import Callable, Sequence

from ls_jax.studies.calibration.records import AGAINST_SCALING, BY_SCALING
from ls_jax.studies.common import claims, records
from ls_jax.studies.common.claims import POINTS, SQUARE_POINTS

ALPHAS = (0.05, 0.1)  # of Table 3
MARGIN = 0.1  # of the unsmoothed network's debiased squared error
ERROR = "debiased squared error"
BESIDE = {"ece": ("ECE", POINTS), "nll": ("NLL", 1.0)}  # what stands beside a verdict: its name and unit


def _against_scaling(results):
    """Smoothed networks at T = 1 against unsmoothed ones at their cross-fitted temperature.

    The test split is preferred, since temperatures are fitted on validation. Of text, the tokens whose logits are saved
    are a part of all: `translation.claims` compares all of them.
    """
    if records.select(results, study="translation"):
        return []
    found = [record for record in records.select(results, study="calibration", kind=records.DIFFERENCE)
             if AGAINST_SCALING in record.quantity and record.extra["fitted_on"] != "same split"]
    split = "test" if any(record.split == "test" for record in found) else "validation"
    values = records.select(results, study="calibration", kind=records.VALUE)
    findings = claims.compare(
        [*found, *values], "calibration", f"{ERROR} {AGAINST_SCALING}", (split,), alphas=ALPHAS,
        relative=claims.Relative(ERROR, lambda error: (-math.inf, MARGIN * max(error, 0.0))),
        words=claims.Words("scaling is better", "smoothing is better", SQUARE_POINTS))
    return _with_others_beside(findings, found, AGAINST_SCALING)


def _against_unsmoothed(results):
    """Smoothed networks against unsmoothed ones, both at T = 1."""
    findings = claims.compare(results, "calibration", ERROR, ("held-out",), high=0.0, alphas=ALPHAS)
    return _with_others_beside(findings, records.select(results, study="calibration", kind=records.DIFFERENCE))


def _with_others_beside(findings, found, suffix=""):
    """The findings with the same arm's difference in the ECE and the NLL as facts."""
    def beside(finding: claims.Finding) -> list[str]:
        others = [(shown, [record for record in records.select(found, quantity=f"{name} {suffix}".strip(),
                                                               split=finding.split) if record.hyper == finding.hyper])
                  for name, shown in BESIDE.items()]
        return [f"{name} {claims.with_interval(here[0].mean, here[0].interval, unit)}"
                for (name, unit), here in others if len(here) == 1]

    return [dataclasses.replace(finding, facts=(*finding.facts, *beside(finding))) for finding in findings]


def _of_unsmoothed(results: Sequence[records.Record], value: Callable[..., records.Record | None],
                   low: float = -math.inf, high: float = math.inf) -> list[claims.Finding]:
    """Findings on unsmoothed networks alone; `value(an arm's records)` is the record that is judged, or None."""
    split = records.held_out(results, "calibration")
    here = [record for record in records.select(results, study="calibration", split=split, kind=records.VALUE)
            if record.plain and record.hyper]
    varying = records.others([record.hyper for record in here])
    found = [value(group) for _, group in records.grouped(here)]
    return [claims.of_record(each, low, high, varying) for each in found if each is not None]


def _only(results, quantity):
    found = [record for record in records.select(results, quantity=quantity)
             if record.extra.get("fitted_on") != "same split"]
    return found[0] if len(found) == 1 else None


def _scaling(results):
    findings = _of_unsmoothed(results, lambda here: _only(here, f"{ERROR} {BY_SCALING}"), high=0.0)
    found = [record for record in records.select(results, study="calibration", kind=records.VALUE)
             if record.extra.get("fitted_on") != "same split"]
    return _with_others_beside(findings, found, BY_SCALING)


RESTS_ON = "Judged by the debiased squared error over 15 bins."

CLAIMS: dict[str, claims.Claim] = {
    "unsmoothed networks are over-confident": claims.Claim(
        "Without smoothing, held-out confidence exceeds accuracy. (Smoothing can improve calibration "
        "only where this holds.)",
        "[Figure 2: the curves of networks trained with hard targets lie below the diagonal]", "Section 3 and Figure 2",
        POINTS, lambda results: _of_unsmoothed(results, lambda here: _only(here, "overconfidence"), low=0.0)),
    "temperature scaling calibrates": claims.Claim(
        "A temperature fitted on other examples lowers the unsmoothed network's held-out calibration error. "
           f"{RESTS_ON}",
        "[Table 3: 0.150 to 0.021, 0.071 to 0.022, 0.056 to 0.018]", "Table 3", SQUARE_POINTS, _scaling),
    "smoothing calibrates": claims.Claim(
        f"Smoothing lowers the held-out calibration error, without temperature scaling. {RESTS_ON}",
        "[Table 3: 0.150 to 0.024, 0.071 to 0.035, 0.056 to 0.019]", "Table 3 and Figure 2", SQUARE_POINTS,
        _against_unsmoothed),
    "smoothing calibrates as temperature scaling does": claims.Claim(
        "The smoothed network's held-out calibration error exceeds that of the temperature-scaled unsmoothed network "
        f"by less than a tenth of the unsmoothed network's own error. {RESTS_ON} (Squares of Table 3's ECE exceed each "
        "other by 1.35, 7.41 and 0.37 points², where a tenth is 22.50, 5.04 and 3.14: this margin is narrower than the "
        "paper's difference on ImageNet.)",
        "[Table 3: 0.021 beside 0.024, 0.022 beside 0.035, 0.018 beside 0.019]", "Section 3 and Table 3", SQUARE_POINTS,
        _against_scaling),
}
