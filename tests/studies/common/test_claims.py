"""Verdicts on made-up differences whose answer is known, power against published values and simulation, and every
claim."""
import dataclasses
import math
import re

import numpy as np
import pytest

from ls_jax.studies import projection
from ls_jax.studies import registry as paper_claims
from ls_jax.studies.common import claims, records
from ls_jax.studies.common.statistics import moments, t_interval
from ls_jax.studies.noise import claims as noise_claims

SEEDS = range(5)


def differences(mean, std, n=5):
    """n numbers of exactly this mean and sample standard deviation."""
    steps = np.linspace(-1, 1, n)
    return mean + std * steps / np.std(steps, ddof=1)


@pytest.mark.parametrize("mean, std, low, high, verdict", [
    (-1.0, 0.1, -math.inf, 0.0, "holds"), (1.0, 0.1, -math.inf, 0.0, "fails"), (-0.1, 1.0, -math.inf, 0.0, "undecided"),
    (0.1, 1.0, -math.inf, 0.0, "undecided"), (1.0, 0.1, 0.0, math.inf, "holds"), (-1.0, 0.1, 0.0, math.inf, "fails"),
    (0.0, 0.1, -1.0, 1.0, "holds"), (2.0, 0.1, -1.0, 1.0, "fails"), (-2.0, 0.1, -1.0, 1.0, "fails"),
    (0.9, 0.5, -1.0, 1.0, "undecided"), (1.1, 0.5, -1.0, 1.0, "undecided"), (0.0, 9.0, -1.0, 1.0, "undecided"),
])
def test_verdict_compares_the_interval_with_the_range(mean, std, low, high, verdict):
    found = claims.judge(differences(mean, std), low, high, split="test", alpha=0.1)
    assert found.verdict == verdict and found.difference == pytest.approx(mean) and found.n == 5
    assert (found.seeds_needed is not None) == (verdict == "undecided")
    if verdict == "undecided":
        assert found.seeds_needed > 5


def test_one_seed_decides_nothing():
    finding = claims.judge([-3.0], -math.inf, 0.0, split="test", alpha=0.1)
    assert finding == claims.Finding("test", 0.1, (None, 0.0), -3.0, None, 1, "undecided", seeds_needed=None,
                                     degrees_of_freedom=1) and finding.p is None


@pytest.mark.parametrize("effect, needed", [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_equal_published_sample_sizes(effect, needed):
    """Paired t-test, two-sided 5 %, power 80 %: Cohen's effect sizes as in G*Power's and R's power.t.test answers."""
    assert claims.seeds_needed(-effect, 1.0, -math.inf, 0.0) == needed
    assert claims.seeds_needed(3 * effect, 3.0, 0.0, math.inf) == needed
    assert claims.seeds_needed(1 + effect, 1.0, -1.0, 1.0) == needed  # outside, only the near end matters


@pytest.mark.parametrize("mean, low, high", [(0.7, 0.0, math.inf), (0.0, -0.6, 0.6), (0.2, -0.6, 0.6)])
def test_seeds_needed_decide_as_often_as_they_should(mean, low, high):
    n = claims.seeds_needed(mean, 1.0, low, high)
    intervals = [t_interval(draw) for draw in np.random.default_rng(0).normal(mean, 1.0, (2000, n))]
    decided = np.mean([low < lower and upper < high for lower, upper in intervals])
    assert 0.77 < decided < 0.87


def test_seeds_needed_has_an_end():
    assert claims.seeds_needed(0.001, 1.0, 0.0, math.inf) is None
    assert claims.seeds_needed(0.0, 1.0, 0.0, math.inf) is None
    assert claims.seeds_needed(0.0, 0.0, 0.0, math.inf) is None


def sweep(study, quantity, split, effects, std=0.001, classes=None, **hyper):
    """Records of a sweep in which each smoothing shifts a quantity by its effect, with a little noise per seed."""
    rng = np.random.default_rng(0)
    rows = [{"alpha": alpha, **hyper, "seed": seed} for alpha in effects for seed in SEEDS]
    values = [0.5 + effects[row["alpha"]] + std * rng.normal() for row in rows]
    return records.summarize(study, quantity, split, rows, values, **({"classes": classes} if classes else {}))


@pytest.mark.parametrize("effect, verdict, grade", [
    (0.0, "holds", "similar"), (0.006, "holds", "improves by 0.6. points, less than the margin"),
    (-0.007, "holds", "suffers by 0.6. points, less than the margin"), (0.2, "fails", "improves by 20.0. points"),
    (-0.2, "fails", "suffers by 19.9. points"),
    (0.05, "undecided", "improves by 5.0. points, perhaps less than the margin"),
])
def test_accuracy_has_one_graded_answer(effect, verdict, grade):
    """The unsmoothed network's error is 50 %, so that the margin is 5 points."""
    results = sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.1: effect})
    found = paper_claims.check(results)
    assert set(found) == {"accuracy is similar"}
    finding, = found["accuracy is similar"]
    assert finding.range == pytest.approx((-0.05, 0.05), abs=2e-4)
    assert finding.verdict == verdict and re.fullmatch(grade, finding.grade)
    assert f"{finding.grade}" in claims.sentence(finding)


def test_where_nothing_is_decided_there_is_no_grade():
    finding, = paper_claims.check(sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.1: 0.0},
                                        std=0.2))["accuracy is similar"]
    assert finding.verdict == "undecided" and finding.grade == ""


def test_a_margin_without_its_measure_has_no_finding():
    results = records.select(sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.1: 0.0}), kind="difference")
    assert paper_claims.check(results) == {}


@pytest.mark.parametrize("mean, interval, margin, words", [
    (0.02, (0.01, 0.03), 0.1, "up by 2.00 points, less than the margin"),
    (0.2, (0.11, 0.29), 0.1, "up by 20.00 points"),
    (-0.2, (-0.29, -0.11), 0.1, "down by 20.00 points"), (0.02, (-0.01, 0.05), 0.1, "similar"),
    (-0.1, (-0.15, -0.05), 0.1, "down by 10.00 points, perhaps less than the margin"), (0.0, (-0.2, 0.2), 0.1, ""),
    (0.02, (0.01, 0.03), 0.0, "up by 2.00 points"), (0.0, (-0.01, 0.01), 0.0, ""),
])
def test_answers_in_words(mean, interval, margin, words):
    assert claims.graded(mean, interval, margin, claims.Words("up", "down", claims.POINTS)) == words


@pytest.mark.parametrize("name, quantity", [
    ("clusters are tighter", "spread ratio"), ("triangles are more regular", "logit centroid variation"),
    ("wrong classes are equidistant", "logit wrong-class spread"), ("the scale shrinks", "centroid distance"),
])
def test_projection_claims_look_at_all_triples_of_both_splits(name, quantity):
    results = (sweep("projection", quantity, "train", {0.0: 0.0, 0.1: -0.1}, classes=projection.ALL)
               + sweep("projection", quantity, "test", {0.0: 0.0, 0.1: 0.1}, classes=projection.ALL)
               + sweep("projection", quantity, "train", {0.0: 0.0, 0.1: 0.1}, classes=["a", "b", "c"]))
    found = paper_claims.check(results)
    assert set(found) == {name}
    assert [(finding.split, finding.verdict) for finding in found[name]] == [("test", "fails"), ("train", "holds")]


def test_validation_is_the_held_out_split_where_there_is_one():
    results = [record for split in ("validation", "test") for record in
               sweep("accuracy", "accuracy", split, {0.0: 0.0, 0.1: 0.0})]
    assert [finding.split for finding in paper_claims.check(results)["accuracy is similar"]] == ["validation"]


def test_compares_the_smoothing_nearest_to_the_papers():
    results = sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.05: 0.1, 0.09: 0.0, 0.3: 0.1})
    finding, = paper_claims.check(results)["accuracy is similar"]
    assert (finding.alpha, finding.baseline["alpha"], finding.arm, finding.verdict) == (0.09, 0.0, "alpha=0.09",
                                                                                        "holds")


def test_several_smoothings_can_be_compared():
    results = sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.05: 0.1, 0.1: -0.1, 0.3: 0.1})
    found = claims.compare(results, "accuracy", "accuracy", ("held-out",), low=0.0, alphas=(0.04, 0.05, 0.12))
    assert [(finding.alpha, finding.verdict) for finding in found] == [(0.05, "holds"), (0.1, "fails")]


def test_each_learning_rate_has_its_finding():
    results = [record for rate, effect in ((0.1, 0.0), (0.3, 0.1))
               for record in sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.1: effect}, learning_rate=rate)]
    found = paper_claims.check(results)["accuracy is similar"]
    assert [(finding.where, finding.verdict) for finding in found] == [
        ({"learning_rate": 0.1}, "holds"), ({"learning_rate": 0.3}, "fails")]


def test_says_nothing_without_a_comparison():
    assert paper_claims.check([]) == {}
    assert paper_claims.check(sweep("accuracy", "accuracy", "test", {0.1: 0.0})) == {}
    assert paper_claims.check(sweep("accuracy", "accuracy", "test",
                                    {0.1: 0.0, 0.2: 0.0})) == {}  # no hard targets to compare with


@pytest.mark.parametrize("finding, words", [
    ({"verdict": "holds", "n": 5}, "holds (n = 5)"),
    ({"verdict": "fails", "n": 5, "grade": "improves"}, "fails: improves (n = 5)"),
    ({"verdict": "undecided", "n": 3, "grade": "improves", "seeds_needed": 7},
     "undecided with 3 seeds: improves; about 7 would decide"),
    ({"verdict": "undecided", "n": 3, "seeds_needed": 1200}, "undecided with 3 seeds; about 1,200 would decide"),
    ({"verdict": "undecided", "n": 3, "seeds_needed": None},
     "undecided with 3 seeds; even 10,000 would probably not decide"),
    ({"verdict": "undecided", "n": 1, "seeds_needed": None}, "undecided with 1 seed; an interval needs two or more"),
])
def test_sentence(finding, words):
    rest = {"split": "test", "alpha": 0.1, "range": (None, 0.0), "difference": 0.0, "interval": None}
    assert claims.sentence(claims.Finding(**rest, **finding)) == words


def test_what_cannot_answer_a_claim_gets_a_reason_in_place_of_a_verdict():
    undecided = claims.judge(differences(-0.1, 1.0), -math.inf, 0.0, split="test", alpha=0.1)
    finding = claims.not_judged(undecided, "not trained: agrees with its teacher on 53 %")
    assert (finding.verdict, finding.seeds_needed, finding.difference) == ("not judged", None, undecided.difference)
    assert claims.sentence(finding) == "not trained: agrees with its teacher on 53 %"
    held = dataclasses.replace(claims.judge(differences(-1.0, 0.1), -math.inf, 0.0, split="test", alpha=0.1),
                               facts=("still training: α = 0",))
    assert claims.in_full(held) == "holds (n = 5); still training: α = 0"


def test_verdicts_as_lines_of_the_studies_that_the_records_are_of():
    results = sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.1: 0.02})
    results += sweep("projection", "spread ratio", "test", {0.0: 1.0, 0.1: 0.5}, classes=projection.ALL)
    held = "clusters are tighter, test split, α = 0.1: holds (n = 5)"
    assert paper_claims.lines(records.select(results, study="projection")) == [held]
    assert held in paper_claims.lines(results) and len(paper_claims.lines(results)) == 2
    scaling = records.summarize("calibration", "overconfidence", "test", [
        {"alpha": 0.0, "seed": seed} for seed in SEEDS], [0.1, 0.11, 0.12, 0.13, 0.14])
    of_cifar = paper_claims.lines([*results, *scaling], ("cifar10", "alexnet"))  # whose question is not calibration
    assert "unsmoothed networks are over-confident (secondary), test split, α = 0: holds (n = 5)" == of_cifar[-1]


@pytest.mark.parametrize("name", paper_claims.claims())
def test_every_claim_is_documented(name):
    claim = paper_claims.claims()[name]
    assert claim.statement.endswith((".", ".)")) and claim.quote and claim.place


def test_claims_on_wrong_labels_are_silent_without_any():
    wrong = [records.Record("data", "changed labels", "train", **moments([400]), extra={"rate": 0.4})]
    students = [{
        "student": "distilled", "teacher": "mlp", "teacher_alpha": alpha, "temperature": 1.0, "beta": 1.0,
        "control": False, "alpha": 0.0, "seed": seed
    } for alpha in (0.0, 0.1) for seed in (0, 1, 2)]
    accuracies = [0.8 + row["teacher_alpha"] * (1 + 0.1 * row["seed"]) for row in students]
    taught = records.summarize("accuracy", "accuracy", "test", students, accuracies)
    results = sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.1: 0.02, 0.4: 0.05})
    verdicts = lambda results: {name: [finding.verdict for finding in claim.check(results)]
                                for name, claim in noise_claims.CLAIMS.items()}
    assert verdicts(results) == verdicts(taught) == {
        "smoothing denoises": [], "smoothed teachers distil better from wrong labels": []
    }
    assert verdicts(results + wrong)["smoothing denoises"] == ["holds", "holds"]
    assert verdicts(taught + wrong)["smoothed teachers distil better from wrong labels"] == ["holds"]


VARIANCE = {"seeds": 1e-6, "examples": 2.4e-5, "residual": 1e-6}


def two_sources(mean, variance=VARIANCE, half=0.01, n=5):
    """A difference's record with an interval for new seeds and new examples; Student's over its seeds is a tenth as
    wide."""
    record, = records.difference("accuracy", "accuracy", "test", {"alpha": 0.1}, {"alpha": 0.0},
                                  dict(enumerate(differences(mean, 0.0008, n) if n > 1 else [mean])))
    return dataclasses.replace(record, interval=[mean - half, mean + half], variance=variance)


def test_a_verdict_is_by_the_records_interval():
    over_seeds = claims.judge(two_sources(0.005).values, 0.0, math.inf, split="test", alpha=0.1)
    assert over_seeds.verdict == "holds" and over_seeds.covers == "seeds"
    found = claims.of_record(two_sources(0.005), 0.0, math.inf, ())
    assert (found.verdict, found.covers, found.interval) == ("undecided", "seeds and examples", [-0.005, 0.015])
    assert claims.of_record(two_sources(0.02), 0.0, math.inf, ()).verdict == "holds"
    assert claims.of_record(two_sources(-0.02), 0.0, math.inf, ()).verdict == "fails"


def test_no_number_of_seeds_decides_where_the_test_set_is_too_small():
    found = claims.of_record(two_sources(0.005), 0.0, math.inf, ())
    assert found.too_few_examples and found.seeds_needed is None
    assert claims.sentence(
        found) == "undecided with 5 seeds; no number of seeds would decide: the test set is too small"


def test_seeds_needed_beside_examples_are_an_order_of_magnitude():
    """The seeds' part is that of a t-test where examples add nothing."""
    variance = {"seeds": 0.2, "examples": 0.0, "residual": 0.0}
    needed, too_few = claims.seeds_needed_beside_examples(-0.5, 5, variance, -math.inf, 0.0)
    assert needed == 40 and not too_few and claims.seeds_needed(-0.5, 1.0, -math.inf, 0.0) == 34
    more, _ = claims.seeds_needed_beside_examples(-0.5, 5, {**variance, "examples": 0.04}, -math.inf, 0.0)
    assert 40 < more < 10_000
    assert claims.seeds_needed_beside_examples(-0.5, 5, {**variance, "examples": 0.07}, -math.inf, 0.0) == (None, True)


def test_one_seed_with_an_interval_over_examples_decides_nothing():
    record = dataclasses.replace(two_sources(0.02, n=1), variance={"seeds": None, "examples": 2e-5, "residual": None})
    assert record.covers == "examples"
    found = claims.of_record(record, 0.0, math.inf, ())
    assert found.verdict == "undecided" and found.interval is None
