"""Which findings are primary, their p against Student's t, and Holm's correction by hand and in a simulation."""
import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from ls_jax import paper
from ls_jax.studies import registry
from ls_jax.studies.common import claims, families


def finding(p=0.01, verdict="holds", split="test", alpha=0.1, n=5):
    """A finding of this p on "above 0": the interval of n seeds whose distance to 0 has it."""
    half = stats.t.ppf(0.975, n - 1)
    mean = stats.t.isf(p / 2, n - 1) * (1 if verdict != "fails" else -1)
    found = claims.Finding(split, alpha, (0.0, None), mean, (mean - half, mean + half), n, verdict,
                           degrees_of_freedom=n - 1)
    assert found.p == pytest.approx(p)
    return found


CLAIMS = {"of the paper": claims.Claim("A.", "a", "Section 2", 1.0, list),
          "also": claims.Claim("B.", "b", "Table 2", 1.0, list),
          "of another": claims.Claim("C.", "c", "not the paper: an example", 1.0, list)}


@pytest.mark.parametrize("mean, low, high", [(1.0, 0.0, math.inf), (-1.0, 0.0, math.inf), (0.2, -1.0, 1.0),
                                             (1.3, -1.0, 1.0), (-0.4, -0.5, math.inf)])
def test_p_is_the_level_at_which_the_interval_ends_at_the_range(mean, low, high):
    values = mean + np.array([-0.5, 0.1, 0.0, 0.3, 0.1])
    found = claims.judge(values, low, high, split="test", alpha=0.1)
    half = stats.t.ppf(1 - found.p / 2, 4) * stats.sem(values)
    nearest = min((end for end in (low, high) if math.isfinite(end)), key=lambda end: abs(end - mean))
    assert abs(np.mean(values) - nearest) == pytest.approx(half)
    assert (found.p < 0.05) == (found.verdict != "undecided")


def test_p_of_an_interval_for_new_seeds_and_examples_has_its_degrees_of_freedom():
    half = stats.t.ppf(0.975, 7.3) * 0.1
    found = claims.judge([0.2, 0.3, 0.4], 0.0, math.inf, [0.3 - half, 0.3 + half], {"seeds": 0.01}, 7.3, split="test",
                         alpha=0.1)
    assert found.p == pytest.approx(2 * stats.t.sf(3.0, 7.3))
    normal = dataclasses.replace(found, degrees_of_freedom=None, interval=(0.3 - 1.959964, 0.3 + 1.959964))
    assert normal.p == pytest.approx(2 * stats.norm.sf(0.3))


def test_holm_on_an_example():
    """By hand: .005 < .05/4, .01 < .05/3, .03 > .05/2."""
    assert families.largest_decided([0.01, 0.04, 0.03, 0.005]) == 0.01
    assert families.largest_decided([0.01, 0.02, 0.03]) == 0.03
    assert families.largest_decided([0.03]) == 0.03 and families.largest_decided([0.2, 0.06]) == -1.0
    assert families.largest_decided([]) == -1.0


def test_holm_bounds_the_probability_of_any_wrong_verdict():
    """Ten differences whose truth is at the end of the range: each interval alone is wrong in 5 %."""
    rng = np.random.default_rng(0)
    wrong = {True: 0, False: 0}
    for _ in range(500):
        found = {"of the paper": [claims.judge(rng.normal(size=5), 0.0, math.inf, split="test", alpha=0.1)
                                  for _ in range(10)]}
        after = families.ranked(found, CLAIMS, {"of the paper": None})
        for corrected, of in ((False, found), (True, after)):
            wrong[corrected] += any(each.verdict != "undecided" for each in of["of the paper"])
    assert wrong[False] > 150 and 5 < wrong[True] < 45


def test_what_the_correction_does_not_decide_says_so_with_its_p():
    found = families.ranked({"of the paper": [finding(0.03)], "also": [finding(0.04, "fails")],
                             "of another": [finding(0.04)]}, CLAIMS, {"of the paper": 0.1, "also": 0.1})
    first, = found["of the paper"]
    assert first.verdict == "undecided" and claims.sentence(first) == "undecided after correction (p = .03)"
    assert claims.sentence(found["also"][0]) == "undecided after correction (p = .04)"
    later, = found["of another"]
    assert later.rank == "later work" and later.verdict == "holds", "not of the family"
    alone = families.ranked({"of the paper": [finding(0.03)], "also": [finding(0.04)]}, CLAIMS, {"of the paper": 0.1})
    assert [each.verdict for name in alone for each in alone[name]] == ["holds", "holds"]


def test_primary_is_the_held_out_split_at_the_papers_smoothing():
    of = [finding(split="train"), finding(alpha=0.05), finding(), finding(alpha=0.0)]
    ranks = lambda alpha: {(each.split, each.alpha): each.rank for each in families.ranked(
        {"of the paper": of}, CLAIMS, {"of the paper": alpha})["of the paper"]}
    assert ranks(0.11) == {("test", 0.1): "primary", ("test", 0.0): "primary", ("train", 0.1): "secondary",
                           ("test", 0.05): "secondary"}
    assert ranks(None)["test", 0.05] == "primary"
    only = families.ranked({"of the paper": [finding(split="train")]}, CLAIMS, {"of the paper": 0.1})
    assert only["of the paper"][0].rank == "primary", "a claim on training examples"


def test_what_is_not_judged_is_not_of_the_family():
    untrained = claims.not_judged(finding(0.5, "undecided"), "not trained")
    found = families.ranked({"of the paper": [untrained], "also": [finding(0.04)]}, CLAIMS,
                            {"of the paper": 0.1, "also": 0.1})
    assert found["of the paper"][0].verdict == "not judged" and found["of the paper"][0].p is None
    assert found["also"][0].verdict == "holds"


def test_the_papers_experiments_name_claims_that_there_are():
    of_paper = {name for name, claim in registry.claims().items() if claim.of_paper}
    for experiment, named in paper.PRIMARY.items():
        assert experiment in paper.TITLES or experiment == ("cifar10", "resnet")
        assert set(named) <= of_paper, experiment
        assert paper.primary(experiment, of_paper) == named
        assert paper.primary(experiment, ["another"]) == {"another": 0.1}, "none of them can be tested"
    assert set(paper.primary(("digits", "mlp"), of_paper)) == set(paper.primary(None, of_paper)) == of_paper
