"""The paper's claims on calibration (Table 3, Figure 2), in the form of `studies.common.claims`."""
from collections.abc import Sequence

import numpy as np

from ls_jax.studies.common import claims
from ls_jax.studies.common import records as results

ALPHAS = (0.05, 0.1)  # of Table 3
MARGIN = 0.015  # Table 3's largest excess of smoothing over temperature scaling is 0.013


def _against_scaling(records):
    """Smoothed at T = 1 against hard at its temperature, by the honest fit; on test where there is one, since that fit's split is not."""
    found = results.select(records, study="calibration", quantity="ece against temperature scaling")
    honest = [record for record in found if record.extra["fitted_on"] != "same split"]
    split = "test" if any(record.split == "test" for record in honest) else "validation"
    return claims.compare(honest, "calibration", "ece against temperature scaling", (split,), high=MARGIN, alphas=ALPHAS)


def _of_hard(records: Sequence[results.Record], value, low=-np.inf, high=np.inf):
    """Findings on hard networks alone: `value(records of one of them on one split)` is one number a seed, or None."""
    split = results.held_out(records, "calibration")
    here = [record for record in results.select(records, study="calibration", split=split, kind=results.VALUE)
            if results.is_plain(record.hyper) and record.hyper]
    varying = results.others([record.hyper for record in here])
    values = [(group[0], value(group)) for _, group in results.grouped(here)]
    return [claims.of_record(record, low, high, varying, of_seeds) for record, of_seeds in values if of_seeds is not None]


def _values(records, quantity):
    found = results.select(records, quantity=quantity)
    return found[0].values if len(found) == 1 else None


def _scaling_gain(records):
    scaled = [record for record in results.select(records, quantity="scaled ece", criterion="nll")
              if record.extra["fitted_on"] != "same split"]
    before = _values(records, "ece")
    return None if before is None or len(scaled) != 1 else list(np.subtract(scaled[0].values, before))


CLAIMS: dict[str, claims.Claim] = {
    "hard networks are over-confident": claims.Claim(
        "Without smoothing, held-out confidence exceeds accuracy. (Where it does not, smoothing has nothing to mend: see the "
        "claims below in that light.)",
        "[Figure 2: the curves of hard targets lie below the diagonal]", "Section 3 and Figure 2", 0.01,
        lambda records: _of_hard(records, lambda here: _values(here, "overconfidence"), low=0.0)),
    "temperature scaling calibrates": claims.Claim(
        "A temperature fitted on other examples lowers the hard network's held-out calibration error.",
        "[Table 3: 0.150 to 0.021, 0.071 to 0.022, 0.056 to 0.018]", "Table 3", 0.01,
        lambda records: _of_hard(records, _scaling_gain, high=0.0)),
    "smoothing calibrates": claims.Claim(
        "Smoothing lowers the held-out calibration error, without temperature scaling.",
        "[Table 3: 0.150 to 0.024, 0.071 to 0.035, 0.056 to 0.019]", "Table 3 and Figure 2", 0.01,
        lambda records: claims.compare(records, "calibration", "ece", ("held-out",), high=0.0, alphas=ALPHAS)),
    "smoothing calibrates as temperature scaling does": claims.Claim(
        f"The smoothed network's held-out calibration error is less than {MARGIN} above that of the temperature-scaled hard one. "
        "(Table 3's excesses are 0.003, 0.013 and 0.001.)",
        "[Table 3: 0.021 beside 0.024, 0.022 beside 0.035, 0.018 beside 0.019]", "Section 3 and Table 3", 0.01, _against_scaling),
}
