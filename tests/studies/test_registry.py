"""What refutes a claim is fixed: every claim's range, typed here once more, and what its statement says of it."""
import inspect
import pathlib

import pytest

from ls_jax.studies import registry
from ls_jax.studies.common import records as results

ROOT = pathlib.Path(__file__).resolve().parents[2]
RANGES = {  # of the mean difference or value: above, below
    "accuracy is similar": (-0.01, 0.01),
    "accuracy does not suffer": (-0.005, None),
    "accuracy improves": (0, None),
    "clusters are tighter": (None, 0),
    "triangles are more regular": (None, 0),
    "wrong classes are equidistant": (None, 0),
    "the scale shrinks": (None, 0),
    "hard networks are over-confident": (0, None),
    "temperature scaling calibrates": (None, 0),
    "smoothing calibrates": (None, 0),
    "smoothing calibrates as temperature scaling does": (None, 0.015),
    "smoothed teachers are more accurate": (0, None),
    "smoothing degrades the student": (None, 0),
    "a softened hard teacher beats smoothing": (0, None),
    "smoothed teachers distil worse": (None, 0),
    "smoothed teachers are no better than smoothing": (None, 0.005),
    "matching a hard teacher's logits helps": (0, None),
    "matching a smoothed teacher's logits is worse": (None, 0),
    "dark knowledge helps": (0, None),
    "counter-claim: smoothed teachers distil better at T = 1": (0, None),
    "counter-claim: smoothed teachers hurt at T > 1": (None, 0),
    "counter-claim: smoothed teachers do not hurt at T = 1": (-0.005, None),
    "counter-claim: smoothed teachers diffuse their students": (0, None),
    "information rises": (0.1, None),
    "information then falls": (None, -0.1),
    "smoothing erases information": (None, 0),
    "what is left is the class": (-0.1, 0.2),
    "smoothing raises BLEU": (0, None),
    "smoothing worsens the likelihood": (0, None),
    "scaling raises BLEU": (0, None),
    "scaling does not reach smoothing's BLEU": (0, None),
    "smoothing is best near T = 1": (-0.15, 0.15),
    "smoothing collapses further": (None, 0),
    "smoothing collapses sooner": (None, 0),
    "equal collapse is more regular": (None, 0),
    "classes are more separated": (0, None),
    "features transfer worse": (None, 0),
    "smoothing denoises": (0, None),
}
NO_RUN_YET = {"smoothed teachers distil better from wrong labels"}  # common/test_claims.py makes its records up
STATED = {  # the margin in the statement's words
    "accuracy is similar": "less than 1 %-point",
    "accuracy does not suffer": "less than 0.5 %-points",
    "smoothing calibrates as temperature scaling does": "less than 0.015 above",
    "smoothed teachers are no better than smoothing": "at most 0.5 %-points more",
    "counter-claim: smoothed teachers do not hurt at T = 1": "less than 0.5 %-points less",
    "information rises": "more than 0.1 nats larger",
    "information then falls": "more than 0.1 nats smaller",
    "what is left is the class": "at most 0.1 nats below and 0.2 above",
    "smoothing is best near T = 1": "within 0.15 of 1",
}


@pytest.fixture(scope="module")
def measured():
    """{claim: its findings on all runs in results/}."""
    found = {}
    for file in sorted((ROOT / "results").glob("*/results.json")):
        for name, findings in registry.check(results.read(file.parent)).items():
            found.setdefault(name, []).extend(findings)
    return found


def test_every_claim_has_a_range():
    assert set(RANGES) | NO_RUN_YET == set(registry.claims())


@pytest.mark.parametrize("name", RANGES)
def test_findings_are_judged_by_the_claims_range(measured, name):
    """And the verdict is what the range makes of the interval."""
    low, high = RANGES[name]
    for finding in measured[name]:
        assert tuple(finding.range) == (low, high)
        left, right = finding.interval
        inside = (low is None or low < left) and (high is None or right < high)
        outside = (low is not None and right < low) or (high is not None and high < left)
        assert finding.verdict == ("holds" if inside else "fails" if outside else "undecided")


def test_a_margin_is_stated():
    """A claim whose range has an end other than zero says so."""
    assert {name for name, ends in RANGES.items() if any(ends)} == set(STATED)
    assert {name: words for name, words in STATED.items() if words not in registry.claims()[name].statement} == {}


@pytest.mark.parametrize("study", registry.STUDIES, ids=lambda study: study.name)
def test_a_studys_parts_are_as_the_protocol_says(study):
    assert study.parts
    for name in (part.rpartition(".")[2] for part in study.parts):
        part = study.part(name)
        if name == name.upper():
            assert part and all(isinstance(key, str) for key in part)
        else:
            due = list(inspect.signature(getattr(registry.Parts, name)).parameters)[1:]
            assert list(inspect.signature(part).parameters) == due and part.__doc__


def test_the_protocol_names_every_part():
    own = {name for name in vars(registry.Parts) if not name.startswith("_")} | registry.Parts.__annotations__.keys()
    assert own == set(registry.PARTS)


def test_a_part_that_no_study_has_is_refused():
    with pytest.raises(TypeError, match="study 'mine': records.colect is no part of a study; these are "):
        registry.Study("mine", "records.colect")
    assert registry.Study("mine", "records.collect").part("CLAIMS") is None


def test_the_papers_claims_come_first():
    later = {name for study in registry.STUDIES if study.later for name in study.part("CLAIMS") or ()}
    names = list(registry.claims())
    assert later and set(names[-len(later):]) == later
