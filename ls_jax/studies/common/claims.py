"""The paper's claims as checks on records: what is compared, on which split, and whether it holds here.

A claim gives a range for the mean paired difference "with smoothing minus without, same seed": (-inf, 0) for "smaller".
Its verdict compares that range with the record's 95 % interval, which is for new seeds and new test examples where
`Record.covers` says so, else for new seeds alone:

- holds: the interval lies in the range;
- fails: the interval lies outside of it;
- undecided: the interval crosses an end of the range, or there is only one seed. `seeds_needed` estimates how many
  seeds would decide;
- not judged: the numbers are there, but they cannot answer the claim. `reason` says why, such as "not trained: agrees
  with its teacher on 53 %".

"Does not change" and "does not lower" can only be shown up to a margin, so these claims name one: a number, or a tenth
of what the unsmoothed network has (`Relative`). The ranges are fixed here, before the numbers are seen; so is what
would refute a claim. A claim with `Words` also answers in words: "improves by 0.68 points, less than the margin".

`families` says which findings are primary, and corrects their verdicts for how many there are.
"""
import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from ls_jax.studies.common import records
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.common.statistics import t_interval

PAPER_ALPHA = 0.1     # of Table 2 and Figure 1
MOST_SEEDS = 10_000   # above this, the estimate of the seeds needed is None
LEVEL = 0.95          # of every interval that is shown
PAPERS = ("Section", "Table", "Figure")  # how the place of the paper's own claims begins
RANKS = PRIMARY, SECONDARY, LATER = "primary", "secondary", "later work"
NOT_JUDGED = "not judged"    # a verdict
POINTS, SQUARE_POINTS = 0.01, 1e-4       # units
UNITS = {POINTS: " points", SQUARE_POINTS: " points²"}


class Words(NamedTuple):
    """The answer in words where the interval excludes 0, such as "improves" and "suffers", and the unit of its
    number."""
    above: str
    below: str
    unit: float = 1.0


class Relative(NamedTuple):
    """A range that depends on the unsmoothed network: ends(mean of its `quantity` on that split) -> (low, high)."""
    quantity: str
    ends: Callable[[float], tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Finding:
    """Whether a claim holds for one arm on one split."""
    split: str
    alpha: float                       # the smoothing in question; for a distilled student, its teacher's
    range: tuple[float | None, float | None]  # the claim's range for the mean; None: unbounded
    difference: float                  # mean over seeds, mostly of differences from the baseline
    interval: Sequence[float] | None   # 95 %; `covers` says over what
    n: int
    verdict: str                       # "holds", "fails", "undecided" or NOT_JUDGED
    seeds_needed: int | None = None    # estimated number of seeds that would decide
    covers: str | None = records.SEEDS  # what the interval is over: `Record.covers`
    too_few_examples: bool = False     # no number of seeds would decide: the test set is too small
    arm: str = ""                      # its label
    hyper: Mapping[str, Any] = dataclasses.field(default_factory=dict)   # its hyper-parameters
    baseline: Mapping[str, Any] | None = None                            # the baseline's hyper-parameters
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)   # further fields that identify the finding
    grade: str = ""                    # the answer in words, where the claim has `Words`
    degrees_of_freedom: float | None = None  # of the interval; None: normal
    rank: str = ""                     # PRIMARY, SECONDARY or LATER; see `families`
    corrected: bool = False            # decided by its interval, and undecided among the run's primary findings
    reason: str = ""                   # why it is not judged
    facts: Sequence[str] = ()          # what a reader must know beside the verdict, such as "still training: α = 0"

    @property
    def smoothing(self) -> str:
        """The arm in words: "α = 0.1", with the arm's name where config.sweep.arms gives one."""
        alpha = f"α = {self.alpha:g}"
        return f"{self.arm} ({alpha})" if records.is_named(self.arm, self.hyper) else alpha

    @property
    def p(self) -> float | None:
        """The smallest level at which the interval lies wholly inside or wholly outside the range; None without one."""
        if self.interval is None or self.verdict == NOT_JUDGED:
            return None
        degrees = math.inf if self.degrees_of_freedom is None else self.degrees_of_freedom
        half = (self.interval[1] - self.interval[0]) / 2
        distance = min(abs(self.difference - end) for end in self.range if end is not None)
        if half == 0:
            return 0.0 if distance else 1.0
        return float(2 * _tail(distance / half * _quantile(degrees), degrees))


class Claim(NamedTuple):
    """A claim: its sentence, its source, and `check(results)`, which returns one finding for each split and arm."""
    statement: str   # what is checked, in full
    quote: str       # the source's sentence; our summary is in [brackets]
    place: str       # section, table or figure of the paper; another source by its name
    unit: float      # differences are shown in multiples of this: 0.01 for %-points
    check: Callable[[Sequence[records.Record]], list[Finding]]
    other_losses: bool = False  # whether it is about arms of other losses than (smoothed) cross-entropy too

    @property
    def of_paper(self) -> bool:
        """Whether the paper makes this claim."""
        return self.place.startswith(PAPERS)

    def findings(self, results: Sequence[records.Record]) -> list[Finding]:
        """`check` of the records that the claim is about."""
        return self.check(results if self.other_losses else records.of_smoothing(results))


def nearest(alphas: Collection[float], wanted: float = PAPER_ALPHA) -> float | None:
    """The α > 0 nearest to `wanted`, by default the paper's; None without one."""
    return min((alpha for alpha in sorted(alphas) if alpha > 0), key=lambda alpha: abs(alpha - wanted), default=None)


def compare(results: Sequence[records.Record], study: str, quantity: str, splits: Sequence[str], low: float = -math.inf,
            high: float = math.inf, alphas: Sequence[float] = (PAPER_ALPHA,), relative: Relative | None = None,
            words: Words | None = None, **fields: Any) -> list[Finding]:
    """Findings on whether a quantity's difference from the unsmoothed baseline lies between `low` and `high`.

    Only arms that differ from their baseline in smoothing alone are compared. Of several smoothings with all else
    equal, those nearest to `alphas` (the paper's) are chosen. The split "held-out" means validation, as in the paper,
    or test where there is no validation split.

    Args:
        results: the records of a run.
        study, quantity, splits: what is compared.
        low, high: the range.
        alphas: the paper's smoothings.
        relative: gives the range instead. A baseline without a record of its quantity has no finding.
        words: for an answer in words.
        fields: further fields of the records.
    """
    differences = [
        record for record in records.select(results, study=study, quantity=quantity, kind=records.DIFFERENCE, **fields)
        if record.hyper.get("alpha", 0) > 0 and record.baseline == {**record.hyper, "alpha": 0}
    ]
    varying = records.others([record.hyper for record in differences])
    findings = []
    for split in splits:
        split = records.held_out(differences, study) if split == "held-out" else split
        for _, here in records.grouped(records.select(differences, split=split)):
            chosen = {nearest({record.hyper["alpha"] for record in here}, wanted) for wanted in alphas}
            for record in here:
                ends = (low, high) if relative is None else _relative_ends(results, record, relative)
                if record.hyper["alpha"] in chosen and ends is not None:
                    findings.append(of_record(record, *ends, varying, words=words))
    return findings


def _relative_ends(results, record, relative):
    """The range that the record's baseline gives; None where its quantity was not measured."""
    found = [each for each in records.select(results, study=record.study, quantity=relative.quantity,
                                             split=record.split, kind=records.VALUE) if each.hyper == record.baseline]
    return relative.ends(found[0].mean) if len(found) == 1 else None


def of_record(record: records.Record, low: float, high: float, names: Sequence[str],
              values: Collection[float] | None = None, words: Words | None = None) -> Finding:
    """The finding on a record's values, or on `values`, one for each of its seeds.

    Args:
        record: gives the arm and the split.
        low, high: the claim's range.
        names: hyper-parameters that identify the finding among others.
        values: replace the record's own.
        words: for an answer in words.
    """
    of = {"split": record.split, "alpha": record.hyper["alpha"], "arm": record.arm, "hyper": record.hyper,
          "baseline": record.baseline, "where": {name: record.hyper.get(name) for name in names}}
    if values is None and record.covers == records.BOTH:
        return judge(record.values, low, high, record.interval, record.variance, record.degrees_of_freedom, words, **of)
    return judge(record.values if values is None else values, low, high, words=words, **of)


def judge_samples(samples: Sequence[Sample], low: float, high: float, **of: Any) -> Finding:
    """`judge` of one sample for each seed: for new seeds and new examples where all tell how they depend on these."""
    values, fields = [sample.value for sample in samples], records.over_examples(samples)
    if len(samples) < 2 or not fields:
        return judge(values, low, high, **of)
    return judge(values, low, high, fields["interval"], fields["variance"], fields["degrees_of_freedom"], **of)


def judge(differences: Collection[float], low: float, high: float, interval: Sequence[float] | None = None,
          variance: Mapping[str, float | None] | None = None, degrees_of_freedom: float | None = None,
          words: Words | None = None, **of: Any) -> Finding:
    """The finding on differences, one for each seed, and a range for their mean.

    `seeds_needed` is None where there is a verdict, with one seed (no spread is known), where no number of seeds would
    decide, and above MOST_SEEDS.

    Args:
        differences: one for each seed.
        low, high: the range.
        interval: for new seeds and new examples; None: Student's, over the seeds.
        variance: its parts, as `Record.variance`.
        degrees_of_freedom: of the interval; None: normal.
        words: for an answer in words.
        of: the finding's other fields.
    """
    mean, verdict, needed, too_few = float(np.mean(differences)), "undecided", None, False
    covers = records.SEEDS if interval is None else records.BOTH
    if interval is None:
        interval, degrees_of_freedom = t_interval(differences), max(len(differences) - 1, 1)
    if interval is not None:
        if low < interval[0] and interval[1] < high:
            verdict = "holds"
        elif interval[1] < low or high < interval[0]:
            verdict = "fails"
        elif covers == records.SEEDS:
            needed = seeds_needed(mean, float(np.std(differences, ddof=1)), low, high)
        else:
            needed, too_few = seeds_needed_beside_examples(mean, len(differences), variance, low, high)
    ends = tuple(end if math.isfinite(end) else None for end in (low, high))
    return Finding(range=ends, difference=mean, interval=interval, n=len(differences), verdict=verdict,
                   seeds_needed=needed, covers=covers, too_few_examples=too_few, degrees_of_freedom=degrees_of_freedom,
                   grade=graded(mean, interval, high, words) if words and interval else "", **of)


def graded(mean: float, interval: Sequence[float], margin: float, words: Words) -> str:
    """The answer in words: "similar", "improves by 0.68 points, less than the margin"; "" where none is decided.

    Args:
        mean, interval: of the difference.
        margin: differences within ± this are small.
        words: for differences that exclude 0.
    """
    low, high = interval
    if low <= 0 <= high:
        return "similar" if -margin < low and high < margin else ""
    answer = f"{words.above if low > 0 else words.below} by {shown(abs(mean), words.unit, '')}"
    least, most = sorted((abs(low), abs(high)))
    if least > margin:
        return answer
    return answer + (", less than the margin" if most < margin else ", perhaps less than the margin")


def shown(value: float, unit: float, sign: str = "+") -> str:
    """A number with its unit: "+0.68 points"; with the sign of negative numbers alone where `sign` is ""."""
    return _number(value, unit, sign) + UNITS.get(unit, "")


def with_interval(mean: float, interval: Sequence[float] | None, unit: float) -> str:
    """A number with its interval and unit: "+0.68 [+0.55, +0.81] points"."""
    if interval is None:
        return shown(mean, unit)
    low, high = (_number(end, unit, "+") for end in interval)
    return f"{_number(mean, unit, '+')} [{low}, {high}]{UNITS.get(unit, '')}"


def _number(value, unit, sign):
    return f"{value / unit:{sign}.{2 if unit < 1 else 3}f}".replace("-", "−")


def not_judged(finding: Finding, reason: str) -> Finding:
    """The finding without a verdict; the numbers stay."""
    return dataclasses.replace(finding, verdict=NOT_JUDGED, reason=reason, seeds_needed=None, too_few_examples=False)


def seeds_needed_beside_examples(mean: float, n: int, variance: Mapping[str, float | None], low: float, high: float,
                                 power: float = 0.8) -> tuple[int | None, bool]:
    """(order of magnitude of the number of seeds that would decide, whether none would: the test set is too small).

    More seeds on the same test set average out all of the variance but V_E - V_R, the examples' own. If the interval
    that this part alone gives still crosses an end of the range, no number of seeds decides. The number is rounded up
    to one digit: it is an estimate from a few seeds.
    """
    distance = min(abs(mean - end) for end in (low, high) if math.isfinite(end))
    seeds, examples, residual = (variance[name] for name in ("seeds", "examples", "residual"))
    lasting = max(examples - residual, 0.0)
    passing = n * max(seeds, examples, seeds + examples - residual) - n * lasting  # of one seed
    if distance <= special.ndtri(0.975) * math.sqrt(lasting):
        return None, True
    luck = special.ndtri(power) * math.sqrt(passing)

    def decides(count: int) -> bool:
        half = special.stdtrit(count - 1, 0.975) * math.sqrt(passing / count) if not lasting else (
            special.ndtri(0.975) * math.sqrt(lasting + passing / count))
        return bool(distance - half >= luck / math.sqrt(count))

    rounded = (digit * 10**zeros for zeros in range(5) for digit in range(1, 10))
    return next((count for count in rounded if n < count <= MOST_SEEDS and decides(count)), None), False


def seeds_needed(mean: float, std: float, low: float, high: float, power: float = 0.8) -> int | None:
    """The smallest number of seeds whose 95 % interval would decide with probability `power`.

    It takes mean and std for the true ones: the power of a t-test at the distance from the mean to the ends of the
    range (non-central t); inside a range with two ends, the bound 1 - (1 - p_low) - (1 - p_high). From few seeds this
    is an order of magnitude only.
    """
    ends = [end for end in (low, high) if math.isfinite(end)]
    if not low < mean < high:
        ends = [min(ends, key=lambda end: abs(mean - end))]
    if std == 0 or mean in ends:
        return None

    def reached(n: int) -> bool:
        return 1 - sum(1 - exclusion_probability(abs(mean - end) / std, n) for end in ends) >= power

    most = 2
    while not reached(most):
        if most >= MOST_SEEDS:
            return None
        most = min(2 * most, MOST_SEEDS)
    return next(n for n in range(most // 2, most + 1) if n > 1 and reached(n))


def exclusion_probability(effect: float, n: int, level: float = 0.95) -> float:
    """Power of a paired t-test: P(the interval of n differences excludes a value `effect` standard deviations away)."""
    return 1 - float(special.nctdtr(n - 1, effect * math.sqrt(n), special.stdtrit(n - 1, (1 + level) / 2)))


def sentence(finding: Finding) -> str:
    """The verdict in words: "holds (n = 5)", "undecided with 3 seeds; about 12 would decide", or why there is none.

    With the answer in words, if any: "holds: improves by 0.68 points, less than the margin (n = 5)".
    """
    if finding.verdict == NOT_JUDGED:
        return finding.reason
    if finding.corrected:
        return f"undecided after correction (p = {f'{finding.p:.2g}'.removeprefix('0')})"
    if finding.verdict != "undecided":
        return f"{finding.verdict}{f': {finding.grade}' if finding.grade else ''} (n = {finding.n})"
    seeds = f"{finding.n} seed{'s' if finding.n > 1 else ''}{f': {finding.grade}' if finding.grade else ''}"
    if finding.too_few_examples:
        return f"undecided with {seeds}; no number of seeds would decide: the test set is too small"
    if finding.seeds_needed:
        return f"undecided with {seeds}; about {finding.seeds_needed:,} would decide"
    return f"undecided with {seeds}; " + ("an interval needs two or more" if finding.n < 2 else
                                           f"even {MOST_SEEDS:,} would probably not decide")


def in_full(finding: Finding) -> str:
    """The verdict in words, and the facts beside it: "holds (n = 5); still training: α = 0"."""
    return "; ".join((sentence(finding), *finding.facts))


def _quantile(degrees):
    """Student's quantile of a two-sided interval of LEVEL; of the normal distribution with infinite degrees of
    freedom."""
    return special.ndtri((1 + LEVEL) / 2) if math.isinf(degrees) else special.stdtrit(degrees, (1 + LEVEL) / 2)


def _tail(t, degrees):
    """P(a Student's variable is above t)."""
    return special.ndtr(-t) if math.isinf(degrees) else special.stdtr(degrees, -t)
