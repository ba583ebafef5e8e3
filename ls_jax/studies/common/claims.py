"""The paper's claims as checks on records: what is compared, on which split, and whether it holds here.

A claim says in which range the mean paired difference "smoothed minus hard, same seed" lies: (-inf, 0) for "smaller". Its
verdict compares that range with the 95 % interval of the mean over seeds:

- holds: the interval lies in the range;
- fails: the interval lies outside of it;
- undecided: it reaches across an end, or there is one seed. `seeds_needed` then estimates how many would decide.

"Does not change" and "does not lower" can only be shown up to a margin, so these claims name one. The range, and therefore
what would refute the claim, is fixed here, before the numbers are seen.
"""
import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from ls_jax.studies.common import records as results
from ls_jax.studies.common.statistics import t_interval

PAPER_ALPHA = 0.1     # of Table 2 and Figure 1
MOST_SEEDS = 10_000   # beyond, an estimate of the seeds needed is None


@dataclasses.dataclass(frozen=True)
class Finding:
    """Whether a claim holds for one arm on one split."""
    split: str
    alpha: float                       # the smoothing that the claim is about: of a taught student, its teacher's
    range: tuple[float | None, float | None]  # in which the claim says that the mean lies; None: without an end
    difference: float                  # the mean, mostly of differences from the baseline
    interval: Sequence[float] | None   # 95 %, over seeds
    n: int
    verdict: str                       # "holds", "fails" or "undecided"
    seeds_needed: int | None = None    # that would decide, by an estimate
    arm: str = ""                      # its label
    hyper: Mapping[str, Any] = dataclasses.field(default_factory=dict)   # its hyper-parameters
    baseline: Mapping[str, Any] | None = None                            # those of what was subtracted
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)   # what else tells it from the claim's other findings

    @property
    def smoothing(self) -> str:
        """The arm in words: "α = 0.1", or with its name in config.sweep.arms."""
        alpha = f"α = {self.alpha:g}"
        return f"{self.arm} ({alpha})" if results.is_named(self.arm, self.hyper) else alpha


class Claim(NamedTuple):
    """`check(records)` gives a finding per split and arm that the claim is about."""
    statement: str   # what is checked, in full
    quote: str       # the paper's sentence
    place: str       # where it stands
    unit: float      # differences are shown in multiples of this: 0.01 for %-points
    check: Callable[[Sequence[results.Record]], list[Finding]]


def nearest(alphas: Collection[float], wanted: float = PAPER_ALPHA) -> float | None:
    """The α above 0 that is nearest to the paper's; None where there is none."""
    return min((alpha for alpha in sorted(alphas) if alpha > 0), key=lambda alpha: abs(alpha - wanted), default=None)


def compare(records: Sequence[results.Record], study: str, quantity: str, splits: Sequence[str], low: float = -math.inf,
            high: float = math.inf, alphas: Sequence[float] = (PAPER_ALPHA,), **fields: Any) -> list[Finding]:
    """Findings on whether the difference of a quantity from no smoothing lies between `low` and `high`.

    Compared are arms that differ from their baseline by smoothing alone; of several smoothings with all else equal those nearest to the
    paper's, `alphas`. "held-out" among the splits is validation where there is one, as the paper reports, else test.
    """
    differences = [record for record in results.select(records, study=study, quantity=quantity, kind=results.DIFFERENCE, **fields)
                   if record.hyper.get("alpha", 0) > 0 and record.baseline == {**record.hyper, "alpha": 0}]
    varying = results.others([record.hyper for record in differences])
    findings = []
    for split in splits:
        split = results.held_out(differences, study) if split == "held-out" else split
        for _, here in results.grouped(results.select(differences, split=split)):
            chosen = {nearest({record.hyper["alpha"] for record in here}, wanted) for wanted in alphas}
            findings += [of_record(record, low, high, varying) for record in here if record.hyper["alpha"] in chosen]
    return findings


def of_record(record: results.Record, low: float, high: float, names: Sequence[str], values: Sequence[float] | None = None) -> Finding:
    """The finding on a record's values, or on others of its seeds; the hyper-parameters of these names tell it from other findings."""
    return judge(record.values if values is None else values, low, high, split=record.split, alpha=record.hyper["alpha"], arm=record.arm,
                 hyper=record.hyper, baseline=record.baseline, where={name: record.hyper.get(name) for name in names})


def judge(differences: Sequence[float], low: float, high: float, **of: Any) -> Finding:
    """The finding on a few differences, one a seed, and a range for their mean; `of` are its other fields.

    `seeds_needed` is None where the verdict stands, where one seed tells nothing of the spread, and beyond MOST_SEEDS.
    """
    interval = t_interval(differences)
    mean, verdict, needed = float(np.mean(differences)), "undecided", None
    if interval is not None:
        if low < interval[0] and interval[1] < high:
            verdict = "holds"
        elif interval[1] < low or high < interval[0]:
            verdict = "fails"
        else:
            needed = seeds_needed(mean, float(np.std(differences, ddof=1)), low, high)
    ends = tuple(end if math.isfinite(end) else None for end in (low, high))
    return Finding(range=ends, difference=mean, interval=interval, n=len(differences), verdict=verdict, seeds_needed=needed, **of)


def seeds_needed(mean: float, std: float, low: float, high: float, power: float = 0.8) -> int | None:
    """The fewest seeds whose 95 % interval would decide with this probability, were mean and std the true ones.

    A t-test's power at the distance from the mean to the ends of the range (non-central t); inside a range with two ends,
    the bound 1 - (1 - p_low) - (1 - p_high). An estimate from a few seeds is rough: read it as an order of magnitude.
    """
    ends = [end for end in (low, high) if math.isfinite(end)]
    if not low < mean < high:
        ends = [min(ends, key=lambda end: abs(mean - end))]
    if std == 0 or mean in ends:
        return None
    reached = lambda n: 1 - sum(1 - exclusion_probability(abs(mean - end) / std, n) for end in ends) >= power
    most = 2
    while not reached(most):
        if most >= MOST_SEEDS:
            return None
        most = min(2 * most, MOST_SEEDS)
    return next(n for n in range(most // 2, most + 1) if n > 1 and reached(n))


def exclusion_probability(effect: float, n: int, level: float = 0.95) -> float:
    """Power of a paired t-test: that the interval of n differences excludes a value `effect` standard deviations away."""
    return 1 - float(special.nctdtr(n - 1, effect * math.sqrt(n), special.stdtrit(n - 1, (1 + level) / 2)))


def sentence(finding: Finding) -> str:
    """The verdict in words: "holds (n = 5)" or "undecided with 3 seeds; about 12 would decide"."""
    if finding.verdict != "undecided":
        return f"{finding.verdict} (n = {finding.n})"
    seeds = f"{finding.n} seed{'s' if finding.n > 1 else ''}"
    if finding.seeds_needed:
        return f"undecided with {seeds}; about {finding.seeds_needed:,} would decide"
    return f"undecided with {seeds}; " + ("two or more give an interval" if finding.n < 2 else
                                           f"even {MOST_SEEDS:,} would hardly decide")
