"""Verdicts on made-up differences whose answer is known, power against published values and simulation, and every claim."""
import math

import numpy as np
import pytest

from ls_jax.studies import projection
from ls_jax.studies import registry as paper_claims
from ls_jax.studies.common import claims
from ls_jax.studies.common import records as results
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
    assert finding == claims.Finding("test", 0.1, (None, 0.0), -3.0, None, 1, "undecided", seeds_needed=None)


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
    return results.summarize(study, quantity, split, rows, values, **({"classes": classes} if classes else {}))


@pytest.mark.parametrize("effect, verdicts", [
    (0.0, ("holds", "holds", "undecided")), (0.006, ("holds", "holds", "holds")), (0.02, ("fails", "holds", "holds")),
    (-0.02, ("fails", "fails", "fails")), (-0.007, ("holds", "fails", "fails")),
])
def test_accuracy_claims_can_hold_and_fail(effect, verdicts):
    found = paper_claims.check(sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.1: effect}))
    names = ("accuracy is similar", "accuracy does not suffer", "accuracy improves")
    assert tuple(found[name][0].verdict for name in names) == verdicts
    assert set(found) == set(names)


@pytest.mark.parametrize("name, quantity", [
    ("clusters are tighter", "spread ratio"), ("triangles are more regular", "centroid variation"),
    ("wrong classes are equidistant", "wrong-class spread"), ("the scale shrinks", "centroid distance"),
])
def test_projection_claims_look_at_all_triples_of_both_splits(name, quantity):
    records = (sweep("projection", quantity, "train", {0.0: 0.0, 0.1: -0.1}, classes=projection.ALL)
               + sweep("projection", quantity, "test", {0.0: 0.0, 0.1: 0.1}, classes=projection.ALL)
               + sweep("projection", quantity, "train", {0.0: 0.0, 0.1: 0.1}, classes=["a", "b", "c"]))
    found = paper_claims.check(records)
    assert set(found) == {name}
    assert [(finding.split, finding.verdict) for finding in found[name]] == [("train", "holds"), ("test", "fails")]


def test_validation_is_the_held_out_split_where_there_is_one():
    records = [record for split in ("validation", "test") for record in
               sweep("accuracy", "accuracy", split, {0.0: 0.0, 0.1: 0.0})]
    assert [finding.split for finding in paper_claims.check(records)["accuracy is similar"]] == ["validation"]


def test_compares_the_smoothing_nearest_to_the_papers():
    records = sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.05: 0.1, 0.09: 0.0, 0.3: 0.1})
    finding, = paper_claims.check(records)["accuracy is similar"]
    assert (finding.alpha, finding.baseline["alpha"], finding.arm, finding.verdict) == (0.09, 0.0, "alpha=0.09", "holds")


def test_several_smoothings_can_be_compared():
    records = sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.05: 0.1, 0.1: -0.1, 0.3: 0.1})
    found = claims.compare(records, "accuracy", "accuracy", ("held-out",), low=0.0, alphas=(0.04, 0.05, 0.12))
    assert [(finding.alpha, finding.verdict) for finding in found] == [(0.05, "holds"), (0.1, "fails")]


def test_each_learning_rate_has_its_finding():
    records = [record for rate, effect in ((0.1, 0.0), (0.3, 0.1))
               for record in sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.1: effect}, learning_rate=rate)]
    found = paper_claims.check(records)["accuracy is similar"]
    assert [(finding.where, finding.verdict) for finding in found] == [
        ({"learning_rate": 0.1}, "holds"), ({"learning_rate": 0.3}, "fails")]


def test_says_nothing_without_a_comparison():
    assert paper_claims.check([]) == {}
    assert paper_claims.check(sweep("accuracy", "accuracy", "test", {0.1: 0.0})) == {}
    assert paper_claims.check(sweep("accuracy", "accuracy", "test", {0.1: 0.0, 0.2: 0.0})) == {}  # no hard targets to compare with


@pytest.mark.parametrize("finding, words", [
    ({"verdict": "holds", "n": 5}, "holds (n = 5)"),
    ({"verdict": "undecided", "n": 3, "seeds_needed": 1200}, "undecided with 3 seeds; about 1,200 would decide"),
    ({"verdict": "undecided", "n": 3, "seeds_needed": None}, "undecided with 3 seeds; even 10,000 would hardly decide"),
    ({"verdict": "undecided", "n": 1, "seeds_needed": None}, "undecided with 1 seed; two or more give an interval"),
])
def test_sentence(finding, words):
    rest = {"split": "test", "alpha": 0.1, "range": (None, 0.0), "difference": 0.0, "interval": None}
    assert claims.sentence(claims.Finding(**rest, **finding)) == words


def test_verdicts_as_lines_of_the_studies_that_the_records_are_of():
    records = sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.1: 0.02})
    records += sweep("projection", "spread ratio", "test", {0.0: 1.0, 0.1: 0.5}, classes=projection.ALL)
    held = "clusters are tighter, test split, α = 0.1: holds (n = 5)"
    assert paper_claims.lines(results.select(records, study="projection")) == [held]
    assert held in paper_claims.lines(records) and len(paper_claims.lines(records)) == 4


@pytest.mark.parametrize("name", paper_claims.claims())
def test_every_claim_is_documented(name):
    claim = paper_claims.claims()[name]
    assert claim.statement.endswith((".", ".)")) and claim.quote and claim.place


def test_claims_on_wrong_labels_are_silent_without_any():
    wrong = [results.Record("data", "changed labels", "train", **moments([400]), extra={"rate": 0.4})]
    students = [{"student": "distilled", "teacher": "mlp", "teacher_alpha": alpha, "temperature": 1.0, "beta": 1.0, "control": False,
                 "alpha": 0.0, "seed": seed} for alpha in (0.0, 0.1) for seed in (0, 1, 2)]
    accuracies = [0.8 + row["teacher_alpha"] * (1 + 0.1 * row["seed"]) for row in students]
    taught = results.summarize("accuracy", "accuracy", "test", students, accuracies)
    records = sweep("accuracy", "accuracy", "test", {0.0: 0.0, 0.1: 0.02, 0.4: 0.05})
    verdicts = lambda records: {name: [finding.verdict for finding in claim.check(records)]
                                for name, claim in noise_claims.CLAIMS.items()}
    assert verdicts(records) == verdicts(taught) == {"smoothing denoises": [], "smoothed teachers distil better from wrong labels": []}
    assert verdicts(records + wrong)["smoothing denoises"] == ["holds", "holds"]
    assert verdicts(taught + wrong)["smoothed teachers distil better from wrong labels"] == ["holds"]
