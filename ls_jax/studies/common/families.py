"""Which findings of a run are primary, and their verdicts corrected for how many there are.

The primary findings of a run are those that answer the paper's question of this data set and network: of the claims
that `ls_jax.paper.PRIMARY` names, on the held-out split where the claim looks at one, at the smoothing nearest to the
paper's. All other findings on the paper's claims are secondary, and those on claims of later work are apart.

Each finding has a p, the smallest level at which it is decided (`Finding.p`). Holm (1979) at 5 % over the primary
findings bounds the probability that any of their verdicts is wrong. A primary finding that its own interval decides
and the correction does not is undecided. Intervals are not corrected: they are 95 %.
"""
import dataclasses
from collections.abc import Mapping, Sequence

from ls_jax.studies.common.claims import LATER, LEVEL, NOT_JUDGED, PRIMARY, SECONDARY, Claim, Finding, nearest

MIXED = "mixed"  # of a claim whose findings have different verdicts


def ranked(found: Mapping[str, Sequence[Finding]], claims: Mapping[str, Claim],
           primary: Mapping[str, float | None]) -> dict[str, list[Finding]]:
    """The findings with their ranks, the primary ones corrected; the first ones first.

    Args:
        found: {claim's name: findings} of one run.
        claims: {name: claim}.
        primary: {claim's name: the paper's smoothing; None: every one}.
    """
    of_rank = {name: _ranked(findings, claims[name], name in primary, primary.get(name))
               for name, findings in found.items()}
    family = [finding for findings in of_rank.values() for finding in findings
              if finding.rank == PRIMARY and finding.verdict != NOT_JUDGED]
    limit = largest_decided([1.0 if finding.p is None else finding.p for finding in family])
    return {name: [_corrected(finding, limit) for finding in findings] for name, findings in of_rank.items()}


def largest_decided(values: Sequence[float], level: float = 1 - LEVEL) -> float:
    """The largest p that Holm's procedure rejects among these at a level; -1 where it rejects none."""
    largest = -1.0
    for place, p in enumerate(sorted(values)):
        if p > level / (len(values) - place):
            break
        largest = p
    return largest


def of_rank(found: Mapping[str, Sequence[Finding]], rank: str) -> dict[str, list[Finding]]:
    """{claim's name: its findings of a rank} for the claims that have any."""
    chosen = {name: [finding for finding in findings if finding.rank == rank] for name, findings in found.items()}
    return {name: findings for name, findings in chosen.items() if findings}


def verdict(findings: Sequence[Finding]) -> str:
    """The verdict that a claim's findings share, or MIXED."""
    different = {finding.verdict for finding in findings}
    return different.pop() if len(different) == 1 else MIXED


def _ranked(findings, claim, is_primary, alpha):
    if not claim.of_paper:
        return [dataclasses.replace(finding, rank=LATER) for finding in findings]
    held_out = [finding for finding in findings if finding.split != "train"] or findings
    chosen = nearest({finding.alpha for finding in held_out}, alpha) if alpha is not None else None
    first = lambda finding: is_primary and finding in held_out and (chosen is None or finding.alpha in (0.0, chosen))
    found = [dataclasses.replace(finding, rank=PRIMARY if first(finding) else SECONDARY) for finding in findings]
    return sorted(found, key=lambda finding: finding.rank != PRIMARY)


def _corrected(finding, limit):
    if finding.rank != PRIMARY or finding.verdict in ("undecided", NOT_JUDGED) or finding.p <= limit:
        return finding
    return dataclasses.replace(finding, verdict="undecided", corrected=True)
