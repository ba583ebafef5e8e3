"""The paper's claims on translation (Table 1, Figures 3 and 4), in the form of `studies.common.claims`."""
import math
from collections.abc import Sequence

from ls_jax.studies.common import claims
from ls_jax.studies.common import records as results

NEAR_ONE = 0.15  # of the best temperature: a step of Figure 4's grid, and half of one


def _difference(records: Sequence[results.Record], quantity: str, low: float = -math.inf, high: float = math.inf, **fields):
    """Findings on smoothed less hard at temperature 1, on the first held-out file, with the first beam width."""
    split = results.held_out(records, "translation")
    here = results.select(records, study="translation", split=split, quantity=quantity, temperature=1.0)
    first = {name: here[0].extra[name] for name in ("file", "beams") if here and name in here[0].extra}
    return claims.compare(records, "translation", quantity, (split,), low=low, high=high, temperature=1.0, **first)


def _number(records: Sequence[results.Record], quantity: str, smoothed: bool, low: float = -math.inf, high: float = math.inf,
            shift: float = 0.0):
    """Findings on a quantity that is one number a seed already, less `shift`."""
    here = results.select(records, study="translation", split=results.held_out(records, "translation"), quantity=quantity)
    varying, findings = results.others([record.hyper for record in here]), []
    for _, group in results.grouped(here):
        chosen = claims.nearest({record.hyper["alpha"] for record in group}) if smoothed else 0
        findings += [claims.of_record(record, low, high, varying, [value - shift for value in record.values])
                     for record in results.select(group, alpha=chosen)]
    return findings


CLAIMS: dict[str, claims.Claim] = {
    "smoothing raises BLEU": claims.Claim(
        "With smoothing, beam search translates the held-out sentences with a higher BLEU (cased, sacrebleu).",
        "[Table 1: 25.3 to 25.8]", "Table 1 and Section 3", 1.0, lambda records: _difference(records, "bleu", low=0.0)),
    "smoothing worsens the likelihood": claims.Claim(
        "With smoothing the held-out tokens' negative log-likelihood is higher at every temperature: the smallest difference over the "
        "grid of temperatures is above 0.",
        "[Figure 4, right: the network without smoothing is better at every temperature]", "Section 3 and Figure 4", 1.0,
        lambda records: _number(records, "least nll excess", smoothed=True, low=0.0)),
    "scaling raises BLEU": claims.Claim(
        "The network without smoothing translates with a higher BLEU at the temperature that calibrates it best than at 1.",
        "[Figure 4, left: raising the temperature slightly raises BLEU]", "Section 3 and Figure 4", 1.0,
        lambda records: _number(records, "bleu gain of scaling", smoothed=False, low=0.0)),
    "scaling does not reach smoothing's BLEU": claims.Claim(
        "With smoothing, at temperature 1, BLEU is above that of the network without at its best temperature.",
        "[Figure 4: no temperature takes the network without smoothing to the BLEU of the one with it]", "Section 3 and Figure 4", 1.0,
        lambda records: _number(records, "bleu over scaling", smoothed=True, low=0.0)),
    "smoothing is best near T = 1": claims.Claim(
        f"The temperature that calibrates the smoothed network best is within {NEAR_ONE} of 1.",
        "[Figure 4, centre: the smoothed network is best without scaling]", "Section 3 and Figure 4", 1.0,
        lambda records: _number(records, "best temperature by ece", smoothed=True, low=-NEAR_ONE, high=NEAR_ONE, shift=1.0)),
}
