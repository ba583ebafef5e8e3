"""Sentences of the answer: what smoothing did to one thing, in plain words, with its number and interval.

The verdict of a sentence follows from the 95 % interval of the paired difference, turned so that above 0 is better:

- helped: the interval is above 0;
- harmed: it is below 0;
- no difference larger than X: it contains 0, and its end that is farther from 0, X, is within a tenth of what the
  unsmoothed network has (of its error, for accuracy);
- cannot tell: it contains 0 and is wider. How many more seeds would decide is said where any number would.

A range of a tenth is also the margin of the claims on accuracy and calibration. These sentences are for readers who
want an answer. The claims, with their correction for how many there are, decide what holds of the paper.
"""
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ls_jax.studies.common import claims, records

HELPED, HARMED, SMALL, UNKNOWN = "helped", "harmed", "no difference", "cannot tell"
KINDS = HELPED, HARMED, SMALL, UNKNOWN
MARGIN = 0.1  # of what the unsmoothed network has


class Sentence(NamedTuple):
    """What smoothing did to one thing."""
    about: str                       # "accuracy"
    text: str                        # the sentence
    value: float | None              # of the difference, or what the sentence is about
    interval: Sequence[float] | None  # 95 %
    kind: str                        # one of KINDS
    verdict: str                     # in words: "no difference larger than 0.4 points", "cannot tell: 20 more seeds"
    alpha: float | None = None       # the smoothing in question

    def as_json(self) -> dict[str, Any]:
        """The fields of answer.json."""
        return {"about": self.about, "text": self.text, "value": self.value,
                "interval": None if self.interval is None else list(self.interval), "verdict": self.verdict}


class Measure(NamedTuple):
    """A measure of which a sentence tells.

    Attributes:
        about: what the sentence is about.
        study, quantity: the record of the paired difference, on which the verdict rests.
        higher: whether more of it is better.
        unit: its numbers are shown in multiples of this: 0.01 for %-points.
        noun: its name in the sentence; "" where `about` is enough.
        shown: the quantity that is shown in its place, such as the plain calibration error for the debiased one.
        baseline: the quantity of what it is compared with, if another.
        of: the unsmoothed network's value -> that of which a tenth is a small difference.
        better, worse: the words of the verdict, by default about smoothing.
        sides: the words for the compared networks.
        verdicts: in place of "helped" and "harmed".
        units: the word behind a number.
        places: the least number of decimals of the compared values.
        fields: further fields of the records.
    """
    about: str
    study: str
    quantity: str
    higher: bool = False
    unit: float = 1.0
    noun: str = ""
    shown: str | None = None
    baseline: str | None = None
    of: Callable[[float], float] = abs
    better: str = "smoothing helped"
    worse: str = "smoothing harmed it"
    sides: tuple[str, str] = ("without", "with smoothing")
    verdicts: tuple[str, str] = (HELPED, HARMED)
    units: str = ""
    places: int = 3
    fields: Mapping[str, Any] = {}


def compared(results: Sequence[records.Record], split: str, measure: Measure) -> Sentence | None:
    """The sentence on the smoothing nearest to the paper's, against none; None where that was not measured."""
    results = records.of_smoothing(results)
    ends = {"low": 0.0} if measure.higher else {"high": 0.0}
    found = claims.compare(results, measure.study, measure.quantity, (split,), **ends, **measure.fields)
    if not found:
        return None
    finding, shown = found[0], measure.shown or measure.quantity
    difference, = _records(results, measure, shown, records.DIFFERENCE, split, finding.hyper)
    before = _records(results, measure, measure.baseline or shown, records.VALUE, split, finding.baseline)
    if not before:
        return None
    kind = _kind(finding.interval, difference.interval, measure, before[0].mean)
    numbers = _numbers(difference, before[0].mean, measure)
    verdict, text = _words(kind, finding, difference, measure, numbers)
    return Sentence(measure.about, f"{_capital(measure.about)}: {text}", difference.mean, difference.interval, kind,
                    verdict, finding.alpha)


def of_difference(about: str, finding: claims.Finding, higher: bool, unit: float, units: str, margin: float,
                  better: str, worse: str) -> Sentence:
    """The sentence on a finding whose difference is not that of two records, such as one between students.

    Args:
        about: what the sentence is about.
        finding: its difference and interval.
        higher: whether more is better.
        unit, units: numbers are shown in multiples of `unit`, with the word `units` behind.
        margin: differences within ± this are small.
        better, worse: the words of the verdict.
    """
    measure = Measure(about, "", "", higher, unit, of=lambda _: margin / MARGIN, better=better, worse=worse,
                      units=units)
    kind = _kind(finding.interval, finding.interval, measure, 0.0)
    verdict, text = _words(kind, finding, finding, measure, "")
    return Sentence(about, f"{_capital(about)}: {text}", finding.difference, finding.interval, kind, verdict,
                    finding.alpha)


def decimals(half: float) -> int:
    """So many decimals show an interval's half width with one digit, or two if the first is 3 or less; at most 4."""
    if half <= 0:
        return 2
    exponent = math.floor(math.log10(half))
    return min(4, max(0, int(half < 4 * 10**exponent) - int(exponent)))


def _records(results, measure, quantity, kind, split, hyper):
    found = records.select(results, study=measure.study, quantity=quantity, kind=kind, split=split)
    return [record for record in found if record.hyper == hyper
            and all(record.get(name) in (value, None) for name, value in measure.fields.items())]


def _kind(interval, shown, measure, before):
    if interval is None:
        return UNKNOWN
    low, high = interval
    if low > 0 or high < 0:
        return HELPED if (low > 0) == measure.higher else HARMED
    return SMALL if _larger(shown) <= MARGIN * measure.of(before) else UNKNOWN


def _larger(interval):
    """The end of an interval that is farther from 0."""
    return max(map(abs, interval)) if interval is not None else math.inf


def _numbers(difference, before, measure):
    """Both networks' values: "86.91 % without, 87.41 % with smoothing"."""
    after = before + difference.mean
    half = 0.0 if difference.interval is None else (difference.interval[1] - difference.interval[0]) / 2
    places = max(decimals(half / measure.unit), min(measure.places, 2) if measure.unit == claims.POINTS
                 else measure.places)
    percent = " %" if measure.unit == claims.POINTS and measure.higher else ""
    both = (f"{value / measure.unit:.{places}f}{percent} {side}"
            for value, side in zip((before, after), measure.sides))
    return f"{measure.noun} {', '.join(both)}".strip()


def _words(kind, finding, difference, measure, numbers):
    """(the verdict, the sentence without what it is about); `difference` has `interval` and `mean`."""
    mean = getattr(difference, "mean", finding.difference)
    interval = difference.interval
    half = 0.0 if interval is None else (interval[1] - interval[0]) / 2
    places = decimals(half / measure.unit)
    show = lambda value, sign="": f"{value / measure.unit:{sign}.{places}f}".replace("-", "−")
    behind = f" ({numbers})" if numbers else ""
    if kind in (HELPED, HARMED):
        words, verdict = ((measure.better, measure.verdicts[0]) if kind == HELPED else
                          (measure.worse, measure.verdicts[1]))
        if interval[0] <= 0 <= interval[1]:  # of the quantity that is shown, not of the one that is judged
            return verdict, f"{words} a little, by the {measure.quantity}{behind}."
        ends = sorted(map(abs, interval))
        return verdict, f"{words}, by {show(abs(mean))}{measure.units} [{show(ends[0])}, {show(ends[1])}]{behind}."
    signed = show(mean, "+") + (
        f" [{show(interval[0], '+')}, {show(interval[1], '+')}]" if interval is not None else "")
    if kind == SMALL:
        bound = math.ceil(_larger(interval) / measure.unit * 10**places) / 10**places  # never below the interval's end
        verdict = f"no difference larger than {bound:.{places}f}{measure.units}"
        return verdict, f"{verdict}: {signed}{behind}."
    why = more(finding)
    return f"{UNKNOWN}: {why}", f"{UNKNOWN}. The difference is {signed}{measure.units}{behind}; {why}."


def more(finding: claims.Finding) -> str:
    """What would decide: "about 20 more seeds would decide", "no number of seeds would: the test set is too small"."""
    if finding.interval is None:
        return "an interval needs two seeds or more"
    if finding.too_few_examples:
        return "no number of seeds would decide: the test set is too small"
    if finding.seeds_needed:  # an order of magnitude, of which few seeds are no part
        more_seeds = finding.seeds_needed - (finding.n if finding.seeds_needed < 10 * finding.n else 0)
        return f"about {more_seeds:,} more seeds would decide"
    return f"even {claims.MOST_SEEDS:,} seeds would probably not decide"


def _capital(text):
    return text[0].upper() + text[1:]
