"""Claims of later work that may explain the paper's distillation result; see `studies.common.claims`."""
import dataclasses
import math

from ls_jax.studies.common import claims, records
from ls_jax.studies.representation import records as of_records

GUO = "Guo et al. 2024, Cross Entropy versus Label Smoothing, arXiv 2402.03979"
KORNBLITH = "Kornblith et al. 2021, Why Do Better Loss Functions Lead to Less Transferable Features?, arXiv 2010.16402"


def _transfer(results):
    data = dict.fromkeys(record.extra["data"] for record in records.select(results, study="transfer"))
    return [
        dataclasses.replace(finding, where={**finding.where, "probe": name}) for name in data
        for finding in claims.compare(results, "transfer", "probe accuracy", ("test",), high=0.0, data=name)
    ]


# of NC1: the classes vary within as much as between; training starts above and a collapsing network passes it
LEVEL = 1.0


def _sooner(results):
    """Smoothed minus unsmoothed steps until NC1 first falls to LEVEL, paired by seed."""
    # chooses arms; its verdict is not used
    compared = claims.compare(results, "representation", "nc1", ("train",), step=0)
    findings = []
    for finding in compared:
        delays, missing = of_records.delays(results, finding.hyper, finding.baseline, LEVEL)
        if delays:
            of = {name: getattr(finding, name) for name in ("split", "alpha", "arm", "hyper", "baseline", "where")}
            found = claims.judge(list(delays.values()), -math.inf, 0.0, **of)
            reason = (
                f"not observed yet: NC1 has not fallen to {LEVEL:g} in {missing} of {missing + len(delays)} pairs "
                         "of networks")
            findings.append(claims.not_judged(found, reason) if missing else found)
    return findings


def _representation(quantity, splits, **ends):
    return lambda results: claims.compare(results, "representation", quantity, splits, step=None, **ends)


CLAIMS: dict[str, claims.Claim] = {
    "smoothing collapses further": claims.Claim(
        "After training, smoothing has lowered NC1, within-class over between-class variability, on the training set.",
        "[Smoothing reaches neural collapse faster and more strongly.]", GUO, 1.0,
        _representation("nc1", ("train",), high=0.0)),
    "smoothing collapses sooner": claims.Claim(
        f"With smoothing, NC1 takes fewer steps to fall to {LEVEL:g} on the training set, a level fixed beforehand: a "
        "level that depends on where networks end would give the answer of “collapses further”. (Between checkpoints, "
        "log NC1 is interpolated. Not judged where a network does not reach the level.)",
        "[Smoothing reaches neural collapse faster and more strongly.]", GUO, 1.0, _sooner),
    "equal collapse is more regular": claims.Claim(
        "At the lowest NC1 that both networks reach, the smoothed network's class means and weights are nearer to a "
        "simplex (NC2 of Guo et al.).",
        "[At equal NC1, smoothing has the stronger NC2.]", GUO, 1.0,
        _representation("nc2 logits at matched nc1", ("train",), high=0.0)),
    "classes are more separated": claims.Claim("Smoothing raises the class separation R² of the penultimate layer.",
                                               "[Higher separation with smoothing: 0.420 against 0.349 on ImageNet.]",
                                               KORNBLITH, 1.0,
                                               _representation("class separation", ("train", "held-out"), low=0.0)),
    "features transfer worse": claims.Claim(
        "Smoothing lowers the accuracy of a linear probe for another task on the frozen penultimate layer.",
        "[Higher class separation goes with worse transfer of fixed features.]", KORNBLITH, 0.01, _transfer),
}
