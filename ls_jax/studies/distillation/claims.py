"""The paper's claims on distillation (Figure 5, MNIST) and those of two follow-ups that contradict it, as `studies.common.claims`.

"At equal γ" compares two students of one seed where their teachers' targets move as much probability to the wrong classes: the other
curve is taken between its two neighbouring points, linearly in γ, and never beyond its ends. Students of the same network are one
curve, whichever teacher's name or group they have.
"""
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ls_jax.studies.common import records as results
from ls_jax.studies.common.claims import PAPER_ALPHA, Claim, Finding, judge, nearest
from ls_jax.studies.common.statistics import paired
from ls_jax.studies.distillation import records as of

MARGIN = 0.005     # for "no better" and "not worse", as for Table 2's claims
LARGEST_ALPHA = 0.6  # up to which the paper says that teachers improve


def _in_each_family(check: Callable[[Sequence[results.Record]], list[Finding]]) -> Callable[[Sequence[results.Record]], list[Finding]]:
    """The check of the records of one family, for all that there are."""
    return lambda records: [
        dataclasses.replace(finding, hyper={**finding.hyper, **settings}, where={**finding.where, **settings})
        for settings, of_family in of.families(records) for finding in check(of_family)]


def _finding(split, values, low, high, hyper, baseline=None):
    """A finding, or none where no seed has a value; `values` are one a seed, NaN where there is no comparison."""
    values = [value for value in values if not np.isnan(value)]
    alpha = hyper["teacher_alpha"] if "teacher_alpha" in hyper else hyper["alpha"]
    where = {"temperature": hyper["temperature"]} if hyper.get("temperature") else {}
    return [judge(values, low, high, split=split, alpha=alpha, arm=results.settings(hyper), hyper=hyper, where=where,
                  baseline=baseline)] if values else []


def _difference(split, one, other, low, high, hyper, **baseline):
    """The finding on the paired differences from what has other settings in `baseline`."""
    return _finding(split, list(paired(one, other).values()), low, high, hyper, {**hyper, **baseline})


def _smoothed_against_hard(name, by_alpha, split, low=-np.inf, high=np.inf):
    """The α nearest to where the paper's teachers are best, against α = 0; `name` is whose α it is."""
    alpha = nearest(by_alpha, LARGEST_ALPHA)
    return _difference(split, by_alpha[alpha], by_alpha[0.0], low, high, {name: alpha}, **{name: 0.0}) if alpha and 0.0 in by_alpha else []


@_in_each_family
def _teachers(records: Sequence[results.Record]) -> list[Finding]:
    split = results.held_out(records, "accuracy")
    here = results.select(records, study="distillation", quantity="teacher accuracy", split=split)
    return _smoothed_against_hard("teacher_alpha", {record.hyper["teacher_alpha"]: record.by_seed for record in here}, split, low=0.0)


@_in_each_family
def _baseline(records):
    split = results.held_out(records, "accuracy")
    here = of.students(records, split)
    taught = any(condition.teacher_alpha is not None for condition in here)
    return _smoothed_against_hard("alpha", of.baseline(here), split, high=0.0) if taught else []


def _scaled_curve(here, gammas, seed):
    """(γ, accuracy) of the hard teacher's students over T."""
    return [(of.of_seed(gammas[key], seed), values[seed]) for key, values in of.distilled(here).items()
            if key[0] == 0 and key in gammas and seed in values]


def _baseline_curve(here, seed):
    """(γ, accuracy) of the students without a teacher, whose γ is α by definition."""
    return [(alpha, values[seed]) for alpha, values in of.baseline(here).items() if seed in values]


def _at_equal_smoothing(chosen: Callable, curve: Callable, low, high):
    """A finding for each distilled point that is `chosen` by (α, T): its accuracy less that of `curve(here, gammas, seed)` at its γ."""
    def check(records: Sequence[results.Record]) -> list[Finding]:
        split = results.held_out(records, "accuracy")
        here, gammas, findings = of.students(records, split), of.smoothings(records), []
        for (alpha, temperature), values in of.distilled(here).items():
            if temperature and (alpha, temperature) in gammas and chosen(alpha, temperature):
                curves = {seed: curve(here, gammas, seed) for seed in values}
                differences = [values[seed] - of.interpolated(of.of_seed(gammas[alpha, temperature], seed), points)
                               for seed, points in curves.items() if len(points) > 1]
                findings += _finding(split, differences, low, high, {"teacher_alpha": alpha, "temperature": temperature})
        return findings

    return _in_each_family(check)


def at_equal_temperature(temperatures: Callable, low=-np.inf, high=np.inf):
    """The teacher with the α nearest to the follow-ups' 0.1 against the hard one, at each T of these."""
    def check(records: Sequence[results.Record]) -> list[Finding]:
        split = results.held_out(records, "accuracy")
        here, findings = of.distilled(of.students(records, split)), []
        for temperature in sorted({temperature for _, temperature in here if temperatures(temperature)}, key=lambda t: t or 0):
            alpha = nearest({alpha for alpha, t in here if t == temperature})
            if alpha and (0.0, temperature) in here:
                findings += _difference(split, here[alpha, temperature], here[0.0, temperature], low, high,
                                        {"teacher_alpha": alpha, "temperature": temperature}, teacher_alpha=0.0)
        return findings

    return _in_each_family(check)


@_in_each_family
def _diffusion(records: Sequence[results.Record]) -> list[Finding]:
    there, findings = results.select(records, study="distillation", quantity="diffusion"), []
    others = [name for name in results.varying([record.hyper for record in there], ()) if name not in ("teacher_alpha", "temperature")]
    for settings, group in results.grouped(there, others):
        found = {(record.hyper["teacher_alpha"], record.hyper["temperature"]): record for record in group}
        chosen = nearest({alpha for alpha, _ in found})
        findings += [dataclasses.replace(finding, where={**finding.where, **settings})
                     for (alpha, temperature), record in found.items() if alpha == chosen and (0.0, temperature) in found
                     for finding in _difference(record.split, record.by_seed, found[0.0, temperature].by_seed, 0.0, np.inf,
                                                {"teacher_alpha": alpha, "temperature": temperature, **settings}, teacher_alpha=0.0)]
    return findings


@_in_each_family
def _control(records: Sequence[results.Record]) -> list[Finding]:
    split = results.held_out(records, "accuracy")
    here = of.students(records, split)
    plain, control = of.distilled(here), of.distilled(here, control=True)
    return [finding for (alpha, temperature), values in control.items() if (alpha, temperature) in plain
            for finding in _difference(split, plain[alpha, temperature], values, 0.0, np.inf,
                                       {"teacher_alpha": alpha, "temperature": temperature, "control": False}, control=True)]


@_in_each_family
def _logit_matching(records: Sequence[results.Record]) -> list[Finding]:
    split = results.held_out(records, "accuracy")
    here = of.students(records, split)
    alone = of.baseline(here).get(0.0, {})
    return [finding for (alpha, temperature), values in of.distilled(here).items() if temperature is None and alpha == 0
            for finding in _difference(split, values, alone, 0.0, np.inf, {"teacher_alpha": alpha}, teacher_alpha=None)]


CLAIMS: dict[str, Claim] = {
    "smoothed teachers are more accurate": Claim(
        f"Smoothing raises the teachers' held-out accuracy: the α nearest to {LARGEST_ALPHA} against hard targets.",
        "[Figure 5: teacher accuracy rises with α up to 0.6; MNIST: 0.59 % error with smoothing, 0.67 % with dropout]",
        "Section 4 and Figure 5", 0.01, _teachers),
    "smoothing degrades the student": Claim(
        f"Smoothing lowers the accuracy of the students without a teacher: the α nearest to {LARGEST_ALPHA} against hard targets.",
        "[Figure 5: the baseline student's accuracy degrades slightly with α]", "Section 4 and Figure 5", 0.01, _baseline),
    "a softened hard teacher beats smoothing": Claim(
        "Students of the hard teacher at T > 1 are more accurate than students without a teacher at equal γ.",
        "[Figure 5: every student distilled from the hard teacher with temperature is above the baseline]", "Section 4 and Figure 5", 0.01,
        _at_equal_smoothing(lambda alpha, t: alpha == 0 and t > 1, lambda here, _, seed: _baseline_curve(here, seed), 0.0, np.inf)),
    "smoothed teachers distil worse": Claim(
        "Students of smoothed teachers at T = 1 are less accurate than students of the hard teacher whose T gives equal γ.",
        "[Figure 5: at the same γ, students of smoothed teachers lie below those of the hard teacher with temperature]",
        "Section 4 and Figure 5", 0.01, _at_equal_smoothing(lambda alpha, t: alpha > 0 and t == 1, _scaled_curve, -np.inf, 0.0)),
    "smoothed teachers are no better than smoothing": Claim(
        f"Students of smoothed teachers at T = 1 are at most {100 * MARGIN:g} %-points more accurate than students without a teacher at "
        "equal γ.",
        "[Figure 5: students of smoothed teachers are no better, and sometimes worse, than the baseline]", "Section 4 and Figure 5", 0.01,
        _at_equal_smoothing(lambda alpha, t: alpha > 0 and t == 1, lambda here, _, seed: _baseline_curve(here, seed), -np.inf, MARGIN)),
    "matching a hard teacher's logits helps": Claim(
        "A student that matches the hard teacher's logits is more accurate than one without a teacher. (The paper gives no such "
        "number; in Hinton et al. 2015 it is 1.46 % error.)",
        "[MNIST: 0.74 % error for the student of the hard teacher with dropout]", "Section 4, on MNIST", 0.01, _logit_matching),
    "matching a smoothed teacher's logits is worse": Claim(
        "A student that matches a smoothed teacher's logits is less accurate than one that matches a hard teacher's.",
        "[MNIST: 0.91 % against 0.74 % error, though the smoothed teacher is the better one]", "Section 4, on MNIST", 0.01,
        at_equal_temperature(lambda t: t is None, high=0.0)),
    "dark knowledge helps": Claim(
        "The hard teacher's students are more accurate than those of its control, whose wrong classes are equally likely and whose γ "
        "is the same. (The paper's explanation of Figure 5; it has no such control.)",
        "[Section 4: smoothing erases the information in the logits about resemblances between classes, on which distillation relies]",
        "Section 4", 0.01, _control),
    "counter-claim: smoothed teachers distil better at T = 1": Claim(
        f"At T = 1, students of a smoothed teacher (the α nearest to {PAPER_ALPHA}) are more accurate than those of the hard one.",
        "[Shen et al. 2021 find 71.8 against 71.4 % on ImageNet, ResNet-50 to ResNet-18, and 78.4 against 77.1 % on CUB]",
        "not the paper: Shen et al. 2021", 0.01, at_equal_temperature(lambda t: t == 1, low=0.0)),
    "counter-claim: smoothed teachers hurt at T > 1": Claim(
        f"At T > 1, students of a smoothed teacher (the α nearest to {PAPER_ALPHA}) are less accurate than those of the hard one at "
        "the same T.",
        "[Chandrasegaran et al. 2022, ImageNet, ResNet-50 to ResNet-18: 68.9 against 71.4 % at T = 2, 67.8 against 69.7 % at T = 3]",
        "not the paper: Chandrasegaran et al. 2022", 0.01, at_equal_temperature(lambda t: t is not None and t > 1, high=0.0)),
    "counter-claim: smoothed teachers do not hurt at T = 1": Claim(
        f"At T = 1, students of a smoothed teacher (the α nearest to {PAPER_ALPHA}) are less than {100 * MARGIN:g} %-points less accurate "
        "than those of the hard one.",
        "[Chandrasegaran et al. 2022, ImageNet, ResNet-50 to ResNet-18: 71.7 against 71.5 % at T = 1]",
        "not the paper: Chandrasegaran et al. 2022", 0.01, at_equal_temperature(lambda t: t == 1, low=-MARGIN)),
    "counter-claim: smoothed teachers diffuse their students": Claim(
        f"From T = 1 to a higher T, students of a smoothed teacher (the α nearest to {PAPER_ALPHA}) move classes nearer to similar ones, "
        "relative to other classes, by more than students of the hard one do (`studies.distillation.diffusion`).",
        "[Chandrasegaran et al. 2022: with a smoothed teacher, higher temperatures diffuse the student's penultimate representations "
        "systematically towards similar classes]", "not the paper: Chandrasegaran et al. 2022", 1.0, _diffusion),
}
