"""Claims of later work that would explain the paper's distillation result, in the form of `studies.common.claims`."""
import dataclasses

from ls_jax.studies.common import claims
from ls_jax.studies.common import records as results

GUO = "Guo et al. 2024, Cross Entropy versus Label Smoothing, arXiv 2402.03979"
KORNBLITH = "Kornblith et al. 2021, Why Do Better Loss Functions Lead to Less Transferable Features?, arXiv 2010.16402"


def _transfer(records):
    data = dict.fromkeys(record.extra["data"] for record in results.select(records, study="transfer"))
    return [dataclasses.replace(finding, where={**finding.where, "probe": name}) for name in data for finding in claims.compare(
        records, "transfer", "probe accuracy", ("test",), high=0.0, data=name)]


def _representation(quantity, splits, **ends):
    return lambda records: claims.compare(records, "representation", quantity, splits, step=None, **ends)


CLAIMS: dict[str, claims.Claim] = {
    "smoothing collapses further": claims.Claim(
        "At the end of the training smoothing has lowered NC1, within-class over between-class variability on the training set.",
        "[Smoothing reaches neural collapse faster and more strongly.]", GUO, 1.0, _representation("nc1", ("train",), high=0.0)),
    "smoothing collapses sooner": claims.Claim(
        "With smoothing, NC1 reaches the deepest level that both networks reach after fewer steps.",
        "[Smoothing reaches neural collapse faster and more strongly.]", GUO, 1.0,
        _representation("steps at matched nc1", ("train",), high=0.0)),
    "equal collapse is more regular": claims.Claim(
        "Where both networks have that same NC1, the smoothed one's class means and weights are nearer to a simplex (Guo et al.'s NC2).",
        "[At equal NC1, smoothing has the stronger NC2.]", GUO, 1.0, _representation("nc2 logits at matched nc1", ("train",), high=0.0)),
    "classes are more separated": claims.Claim(
        "Smoothing raises the class separation R² of the penultimate layer.",
        "[Higher separation with smoothing: 0.420 against 0.349 on ImageNet.]", KORNBLITH, 1.0,
        _representation("class separation", ("train", "held-out"), low=0.0)),
    "features transfer worse": claims.Claim(
        "Smoothing lowers the accuracy of a linear probe for another task on the frozen penultimate layer.",
        "[Higher class separation goes with worse transfer of fixed features.]", KORNBLITH, 0.01, _transfer),
}
