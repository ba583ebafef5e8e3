"""Claims of later work about selective classification; see `studies.common.claims`."""
from collections.abc import Sequence

from ls_jax.studies.common import claims, records
from ls_jax.studies.selective.records import CHANGE

XIA = "not the paper: Xia, Laurent, Franchi and Bouganis (2025)"
TRAUB = "not the paper: Xia et al. (2025), by the measure of Traub et al. (2024)"


def _where_accuracy_is_kept(results, quantity):
    """Findings on "smoothing raises this measure", for arms whose accuracy has not fallen (its interval is not below
    0)."""
    losing = [(record.split, record.hyper) for record in records.select(
        results, study="accuracy", quantity="accuracy", kind=records.DIFFERENCE) if record.interval
              and record.interval[1] < 0]
    found = claims.compare(results, "selective", quantity, ("held-out",), low=0.0)
    return [finding for finding in found if (finding.split, finding.hyper) not in losing]


def _repair(results: Sequence[records.Record]):
    """Findings on each smoothed arm's own change of AURC by normalisation, for the arms that `claims.compare`
    chooses."""
    quantity = "aurc" + CHANGE
    chosen = claims.compare(results, "selective", quantity, ("held-out",))
    varying = [*(chosen[0].where if chosen else ())]
    return [claims.of_record(record, -float("inf"), 0.0, varying) for finding in chosen
            for record in records.select(results, study="selective", quantity=quantity, split=finding.split,
                                         kind=records.VALUE, hyper=finding.hyper)]


CLAIMS: dict[str, claims.Claim] = {
    "smoothing degrades selective classification": claims.Claim(
        "At equal or better accuracy, smoothing raises the area under the risk-coverage curve (AURC): its confidence "
        "ranks the errors worse. (Not tested where held-out accuracy falls, since AURC then rises for that reason "
           "too.)",
        "we first demonstrate empirically across an extended range of large-scale tasks and architectures that LS "
        "consistently degrades SC.", XIA, 0.01, lambda results: _where_accuracy_is_kept(results, "aurc")),
    "smoothing degrades selective classification by AUGRC too": claims.Claim(
        "At equal or better accuracy, smoothing raises the area under the generalised risk-coverage curve (AUGRC), "
        "which does not weigh the most confident errors more than others. (Not tested where held-out accuracy falls.)",
        "[AURC puts too much weight on errors of high confidence; AUGRC is the mean probability of an undetected "
           "error]",
        TRAUB, 0.01, lambda results: _where_accuracy_is_kept(results, "augrc")),
    "normalising logits improves the ranking of smoothed networks": claims.Claim(
        "Ranked by normalised logits, a smoothed network's predictions have a smaller AURC than ranked by confidence. "
        "(The norm is chosen on other examples.)",
        "We then demonstrate the empirical effectiveness of post-hoc logit normalisation for recovering lost SC "
        "performance caused by LS.", XIA, 0.01, _repair),
    "normalising logits repairs what smoothing degrades": claims.Claim(
        "Smoothing changes AURC by less with normalised logits than with confidence: the change of AURC by "
        "normalisation is lower with smoothing than without.",
        "[logit normalisation recovers what smoothing loses, and does less for networks trained without it]", XIA, 0.01,
        lambda results: claims.compare(results, "selective", "aurc" + CHANGE, ("held-out",), high=0.0)),
}
