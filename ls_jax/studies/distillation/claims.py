"""The paper's claims about distillation (Figure 5, MNIST), and counter-claims of two follow-ups.

Students that have not learnt their teacher's answers (`conditions.untrained`) decide nothing: a finding that uses them
is not judged.

"At equal γ" compares two students of the same seed whose targets give equal probability to the wrong classes. The other
curve is interpolated linearly in γ between its two neighbouring points, and never beyond its ends. Students with equal
hyper-parameters are one curve, whatever the names of their teacher and group. See `studies.common.claims`.
"""
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ls_jax.studies.common import records
from ls_jax.studies.common.claims import PAPER_ALPHA, Claim, Finding, judge_samples, nearest, not_judged
from ls_jax.studies.common.statistics import paired
from ls_jax.studies.distillation import conditions

MARGIN = 0.005     # for "no better" and "not worse", as for Table 2's claims
LARGEST_ALPHA = 0.6  # the paper: teachers improve up to this α


def _in_each_family(
        check: Callable[[Sequence[records.Record]],
                        list[Finding]]) -> Callable[[Sequence[records.Record]], list[Finding]]:
    """The check, applied to each family of students."""
    return lambda results: [
        dataclasses.replace(finding, hyper={**finding.hyper, **settings}, where={**finding.where, **settings})
        for settings, of_family in conditions.families(results) for finding in check(of_family)]


def _finding(split, values, low, high, hyper, baseline=None):
    """The finding on `values`, a sample for each seed; [] without any value."""
    alpha = hyper["teacher_alpha"] if "teacher_alpha" in hyper else hyper["alpha"]
    where = {"temperature": hyper["temperature"]} if hyper.get("temperature") else {}
    return [judge_samples(values, low, high, split=split, alpha=alpha, arm=records.settings(hyper), hyper=hyper,
                          where=where, baseline=baseline)] if values else []


def _difference(split, one, other, low, high, hyper, **baseline):
    """The finding on paired differences; `baseline` holds the settings in which the baseline differs."""
    return _finding(split, list(paired(one, other).values()), low, high, hyper, {**hyper, **baseline})


def _if_trained(findings: list[Finding], results: Sequence[records.Record],
                *used: conditions.Place | float) -> list[Finding]:
    """The findings, not judged where a student at one of the places `used` was not trained.

    Numbers are the α of students without a teacher, which are always judged.
    """
    lacking = conditions.untrained(results)
    agreements = [lacking[place] for place in used if place in lacking]
    if not agreements:
        return findings
    return [not_judged(finding, f"not trained: agrees with its teacher on {100 * min(agreements):.0f} %")
            for finding in findings]


def _smoothed_against_unsmoothed(name, by_alpha, split, low=-np.inf, high=np.inf):
    """The finding on the α nearest to LARGEST_ALPHA against α = 0; `name` is "alpha" or "teacher_alpha"."""
    alpha = nearest(by_alpha, LARGEST_ALPHA)
    return _difference(split, by_alpha[alpha], by_alpha[0.0], low, high, {name: alpha}, **
                       {name: 0.0}) if alpha and 0.0 in by_alpha else []


@_in_each_family
def _teachers(results: Sequence[records.Record]) -> list[Finding]:
    split = records.held_out(results, "accuracy")
    here = records.select(results, study="distillation", quantity="teacher accuracy", split=split)
    return _smoothed_against_unsmoothed("teacher_alpha",
                                        {record.hyper["teacher_alpha"]: record.samples for record in here}, split,
                                        low=0.0)


@_in_each_family
def _baseline(results):
    split = records.held_out(results, "accuracy")
    here = conditions.sampled(results, split)
    taught = any(condition.teacher_alpha is not None for condition in here)
    return _smoothed_against_unsmoothed("alpha", conditions.baseline(here), split, high=0.0) if taught else []


def _scaled_curve(here, gammas, seed):
    """{place: (γ, accuracy)} of the unsmoothed teacher's students over T."""
    return {(*key, False): (conditions.of_seed(gammas[key], seed), values[seed])
            for key, values in conditions.distilled(here).items()
            if key[0] == 0 and key in gammas and seed in values}


def _baseline_curve(here, gammas, seed):
    """{α: (γ, accuracy)} of the students without a teacher; their γ is α by definition."""
    return {alpha: (alpha, values[seed]) for alpha, values in conditions.baseline(here).items() if seed in values}


def _at_equal_smoothing(chosen: Callable, curve: Callable, low, high):
    """The check of students' accuracy minus `curve(here, gammas, seed)` at equal γ, where chosen(α, T) holds."""
    def check(results: Sequence[records.Record]) -> list[Finding]:
        split = records.held_out(results, "accuracy")
        here, gammas, findings = conditions.sampled(results, split), conditions.smoothings(results), []
        for (alpha, temperature), values in conditions.distilled(here).items():
            if temperature and (alpha, temperature) in gammas and chosen(alpha, temperature):
                differences, used = [], {(alpha, temperature, False)}
                for seed, value in values.items():
                    points = curve(here, gammas, seed)
                    gamma = conditions.of_seed(gammas[alpha, temperature], seed)
                    other = conditions.interpolated(gamma, points) if len(points) > 1 else None
                    if other is not None:
                        differences.append(value - other)
                        used |= {*conditions.around(gamma, points)}
                found = _finding(split, differences, low, high, {"teacher_alpha": alpha, "temperature": temperature})
                findings += _if_trained(found, results, *used)
        return findings

    return _in_each_family(check)


def at_equal_temperature(temperatures: Callable, low=-np.inf, high=np.inf):
    """The check of students of the smoothed teacher (α near 0.1) minus the unsmoothed one's, where temperatures(T)."""
    def check(results: Sequence[records.Record]) -> list[Finding]:
        split = records.held_out(results, "accuracy")
        here, findings = conditions.distilled(conditions.sampled(results, split)), []
        for temperature in sorted({temperature for _, temperature in here if temperatures(temperature)},
                                  key=lambda t: t or 0):
            alpha = nearest({alpha for alpha, t in here if t == temperature})
            if alpha and (0.0, temperature) in here:
                found = _difference(split, here[alpha, temperature], here[0.0, temperature], low, high,
                                    {"teacher_alpha": alpha, "temperature": temperature}, teacher_alpha=0.0)
                findings += _if_trained(found, results, (alpha, temperature, False), (0.0, temperature, False))
        return findings

    return _in_each_family(check)


@_in_each_family
def _diffusion(results: Sequence[records.Record]) -> list[Finding]:
    there, findings = records.select(results, study="distillation", quantity="diffusion"), []
    others = [
        name for name in records.varying([record.hyper for record in there], ())
        if name not in ("teacher_alpha", "temperature")
    ]
    for settings, group in records.grouped(there, others):
        found = {(record.hyper["teacher_alpha"], record.hyper["temperature"]): record for record in group}
        chosen = nearest({alpha for alpha, _ in found})
        findings += [
            dataclasses.replace(finding, where={**finding.where, **settings})
            for (alpha, temperature), record in found.items()
            if alpha == chosen and (0.0, temperature) in found for finding in _if_trained(_difference(
                record.split, record.samples, found[0.0, temperature].samples, 0.0, np.inf,
                {"teacher_alpha": alpha, "temperature": temperature, **settings}, teacher_alpha=0.0),
                results, (alpha, temperature, False), (0.0, temperature, False))
        ]
    return findings


@_in_each_family
def _control(results: Sequence[records.Record]) -> list[Finding]:
    split = records.held_out(results, "accuracy")
    here = conditions.sampled(results, split)
    plain, control = conditions.distilled(here), conditions.distilled(here, control=True)
    return [
        finding for (alpha, temperature), values in control.items() if (alpha, temperature) in plain
        for finding in _if_trained(_difference(
            split, plain[alpha, temperature], values, 0.0, np.inf,
            {"teacher_alpha": alpha, "temperature": temperature, "control": False}, control=True),
            results, (alpha, temperature, False), (alpha, temperature, True))
    ]


@_in_each_family
def _logit_matching(results: Sequence[records.Record]) -> list[Finding]:
    split = records.held_out(results, "accuracy")
    here = conditions.sampled(results, split)
    alone = conditions.baseline(here).get(0.0, {})
    return [
        finding for (alpha, temperature), values in conditions.distilled(here).items()
        if temperature is None and alpha == 0
        for finding in _difference(split, values, alone, 0.0, np.inf, {"teacher_alpha": alpha}, teacher_alpha=None)
    ]


CLAIMS: dict[str, Claim] = {
    "smoothed teachers are more accurate": Claim(
        f"Smoothing raises the teachers' held-out accuracy: the α nearest to {LARGEST_ALPHA} against α = 0.",
        "[Figure 5: teacher accuracy rises with α up to 0.6; MNIST: 0.59 % error with smoothing, 0.67 % with dropout]",
        "Section 4 and Figure 5", 0.01, _teachers),
    "smoothing degrades the student": Claim(
        f"Smoothing lowers the accuracy of the students without a teacher: the α nearest to {LARGEST_ALPHA} against α "
        "= 0.",
        "[Figure 5: the baseline student's accuracy degrades slightly with α]", "Section 4 and Figure 5", 0.01,
        _baseline),
    "an unsmoothed teacher at T > 1 beats smoothing": Claim(
        "Students of the unsmoothed teacher at T > 1 are more accurate than students without a teacher at equal γ.",
        "[Figure 5: every student distilled from the hard teacher with temperature is above the baseline]",
        "Section 4 and Figure 5", 0.01,
        _at_equal_smoothing(lambda alpha, t: alpha == 0 and t > 1, _baseline_curve, 0.0, np.inf)),
    "smoothed teachers distil worse": Claim(
        "Students of smoothed teachers at T = 1 are less accurate than students of the unsmoothed teacher at the T "
        "with equal γ.",
        "[Figure 5: at the same γ, students of smoothed teachers lie below those of the hard teacher with temperature]",
        "Section 4 and Figure 5", 0.01,
        _at_equal_smoothing(lambda alpha, t: alpha > 0 and t == 1, _scaled_curve, -np.inf, 0.0)),
    "smoothed teachers are no better than smoothing": Claim(
        f"Students of smoothed teachers at T = 1 are at most {100 * MARGIN:g} %-points more accurate than students "
        "without a teacher at equal γ.",
        "[Figure 5: students of smoothed teachers are no better, and sometimes worse, than the baseline]",
        "Section 4 and Figure 5", 0.01,
        _at_equal_smoothing(lambda alpha, t: alpha > 0 and t == 1, _baseline_curve, -np.inf, MARGIN)),
    "matching an unsmoothed teacher's logits helps": Claim(
        "Students that match the unsmoothed teacher's logits are more accurate than students without a teacher. (The "
        "paper does not give the latter's error; in Hinton et al. 2015 it is 1.46 % error.)",
        "[MNIST: 0.74 % error for the student of the hard teacher with dropout]", "Section 4, on MNIST", 0.01,
        _logit_matching),
    "matching a smoothed teacher's logits is worse": Claim(
        "Students that match a smoothed teacher's logits are less accurate than those that match the unsmoothed "
        "teacher's.",
        "[MNIST: 0.91 % against 0.74 % error, though the smoothed teacher is the better one]", "Section 4, on MNIST",
        0.01, at_equal_temperature(lambda t: t is None, high=0.0)),
    "dark knowledge helps": Claim(
        "The unsmoothed teacher's students are more accurate than those of its control, which has the same γ but "
        "equal probabilities for all wrong classes. (This tests the paper's explanation of Figure 5; it has no such "
        "control.)",
        "[Section 4: smoothing erases information in the logits about similarities between classes, which "
        "distillation needs]", "Section 4", 0.01, _control),
    "counter-claim: smoothed teachers distil better at T = 1": Claim(
        f"At T = 1, students of a smoothed teacher (the α nearest to {PAPER_ALPHA}) are more accurate than "
        "students of the unsmoothed teacher.",
        "[Shen et al. 2021: 71.8 against 71.4 % on ImageNet, ResNet-50 to ResNet-18, and 78.4 against 77.1 % on CUB]",
        "not the paper: Shen et al. 2021", 0.01, at_equal_temperature(lambda t: t == 1, low=0.0)),
    "counter-claim: smoothed teachers hurt at T > 1": Claim(
        f"At T > 1, students of a smoothed teacher (the α nearest to {PAPER_ALPHA}) are less accurate than "
        "students of the unsmoothed teacher at the same T.",
        "[Chandrasegaran et al. 2022, ImageNet, ResNet-50 to ResNet-18: 68.9 against 71.4 % at T = 2, "
        "67.8 against 69.7 % at T = 3]", "not the paper: Chandrasegaran et al. 2022", 0.01,
        at_equal_temperature(lambda t: t is not None and t > 1, high=0.0)),
    "counter-claim: smoothed teachers do not hurt at T = 1": Claim(
        f"At T = 1, students of a smoothed teacher (the α nearest to {PAPER_ALPHA}) are less than "
        f"{100 * MARGIN:g} %-points less accurate than students of the unsmoothed teacher.",
        "[Chandrasegaran et al. 2022, ImageNet, ResNet-50 to ResNet-18: 71.7 against 71.5 % at T = 1]",
        "not the paper: Chandrasegaran et al. 2022", 0.01, at_equal_temperature(lambda t: t == 1, low=-MARGIN)),
    "counter-claim: smoothed teachers diffuse their students": Claim(
        f"From T = 1 to a higher T, students of a smoothed teacher (the α nearest to {PAPER_ALPHA}) move classes "
        "nearer to similar ones, relative to other classes, by more than students of the unsmoothed teacher do "
        "(`studies.distillation.diffusion`).",
        "[Chandrasegaran et al. 2022: with a smoothed teacher, higher temperatures diffuse the student's penultimate "
        "representations systematically towards similar classes]", "not the paper: Chandrasegaran et al. 2022", 1.0,
        _diffusion),
}
