"""The claims on information, collapse, separation and transfer, their figures and the report's section, on records that
are known."""
import math

import numpy as np
import pytest

from ls_jax.studies import registry as paper_claims
from ls_jax.studies.common import claims, records
from ls_jax.studies.common.statistics import moments
from ls_jax.studies.information import claims as information_claims
from ls_jax.studies.information import records as information_records
from ls_jax.studies.information import section as information_section
from ls_jax.studies.representation import claims as representation_claims
from ls_jax.studies.representation import records as representation_records
from ls_jax.studies.representation import section as representation_section
from tests.shown import shown

ROWS = [{"alpha": alpha, "seed": seed} for alpha in (0.0, 0.1) for seed in (0, 1, 2)]
STEPS = (0, 10, 20, 30)
CURVES = {0.0: (0.1, 2.5, 2.0, 1.5), 0.1: (0.1, 2.5, 1.0, 0.75)}  # nats


def information(curves, mixture=True):
    """Records of every estimator; those of the paper's are wrong by their bias."""
    results = []
    for step, *values in zip(STEPS, curves[0.0], curves[0.1]):
        estimates = [(views, {"outer": outer, "estimator": "gaussian"}) for views in (5, 50)
                     for outer in ("fresh", "reused")]
        for views, estimator in [*estimates, *([(50, {"estimator": "mixture"})] if mixture else [])]:
            bias = (5 / views if estimator.get("outer") == "reused" else
                    0.2 * step / 30 if mixture and estimator["estimator"] == "gaussian" else 0)
            of = [values[row["alpha"] > 0] + 0.01 * row["seed"] * (1 + row["alpha"]) + bias for row in ROWS]
            results += records.summarize("information", "logit information", "train", ROWS, of, draws=views,
                                         **estimator, step=step, of_examples=600,
                                         classes=["airplane", "dog"], collapsed=math.log(2), bound=math.log(600),
                                         examples_interval=[0.0, 1.0])
    return results


def representation(sign):
    rate = lambda row: 10.0 + sign * (5 + 0.3 * row["seed"]) * (row["alpha"] > 0)
    values = lambda row, step: {
        "nc1": 10**(1 - step / 60 * rate(row)), "nc2 logits": 1 - step / 100 - sign * 0.3 * (row["alpha"] > 0),
        "class separation": 0.3 + sign * (row["alpha"] > 0) * (0.1 + 0.01 * row["seed"])
    }
    course = {step: {member: values(row, step) for member, row in enumerate(ROWS)} for step in STEPS}
    probes = records.summarize("transfer", "probe accuracy", "test", ROWS, [
        0.8 - sign * (0.05 + 0.001 * row["seed"]) * (row["alpha"] > 0) for row in ROWS], data="fashion_mnist")
    at_end = [
        record for split in ("train", "test") for record in representation_records.summarize(course[30], ROWS, split)
    ]
    return at_end + representation_records.of_checkpoints(course, ROWS) + probes


def verdicts(claims, results):
    return {
        name: [(finding.alpha, finding.verdict) for finding in claim.check(results)] for name, claim in claims.items()
    }


def test_information_claims():
    found = verdicts(information_claims.CLAIMS, information(CURVES))
    assert found == {
        "information rises": [(0.0, "holds"), (0.1, "holds")], "information then falls": [(0.0, "holds"),
                                                                                          (0.1, "holds")],
        "smoothing erases information": [(0.1, "holds")], "what is left is the class": [(0.0, "fails"), (0.1, "holds")]
    }
    rising = verdicts(information_claims.CLAIMS, information({0.0: (2.0, 2.0, 2.0, 2.0), 0.1: (0.1, 0.5, 1.0, 2.5)}))
    assert rising == {
        "information rises": [(0.0, "fails"), (0.1, "holds")], "information then falls": [(0.0, "fails"),
                                                                                          (0.1, "not judged")],
        "smoothing erases information": [(0.1, "fails")], "what is left is the class": [(0.0, "fails"), (0.1, "fails")]
    }
    assert all(each.extra["draws"] == 50 and each.extra["estimator"] == "mixture"
               for each in information_claims.best(information(CURVES)))
    earlier = information(CURVES, mixture=False)
    assert verdicts(information_claims.CLAIMS, earlier) == found
    assert all(each.extra["draws"] == 50
               and each.extra["outer"] == "fresh" for each in information_claims.best(earlier))


def test_a_fall_that_has_not_begun_is_not_refuted():
    falls = information_claims.CLAIMS["information then falls"]
    curves = {0.0: (0.1, 2.5, 2.5, 2.47), 0.1: (0.1, 0.5, 1.0, 2.5)}
    assert [claims.sentence(finding) for finding in falls.check(information(curves))] == [
        "fails (n = 3)", "not observed yet: the information peaks at the last checkpoint"]


def test_the_mixture_of_a_network_without_spread_is_its_limit():
    means = np.repeat([-1.0, 2.0], 50)
    draws = np.stack([np.stack([means] * 6, axis=1), np.random.default_rng(0).normal(means[:, None], 1e-3, (100, 6))])
    rows = [{"alpha": 0.0, "seed": seed} for seed in (0, 1)]
    found = information_records.run(draws, np.repeat([0, 1], 50), rows, 0, few=5)
    mixture, = records.select(found, estimator="mixture")
    assert mixture.values[0] == pytest.approx(math.log(2)) and mixture.values[1] == pytest.approx(math.log(2), abs=0.15)


@pytest.mark.parametrize("sign, verdict", [(1, "holds"), (-1, "fails")])
def test_representation_claims(sign, verdict):
    found = verdicts(representation_claims.CLAIMS, representation(sign))
    assert {each for findings in found.values() for _, each in findings} == {verdict} and all(found.values())
    assert [
        finding.split
        for finding in representation_claims.CLAIMS["classes are more separated"].check(representation(sign))
    ] == ["train", "test"]


def nc1(courses):
    """Records of NC1 at steps 0, 10 and 20: {(α, seed): values}."""
    rows = [{"alpha": alpha, "seed": seed} for alpha, seed in courses]
    return representation_records.of_checkpoints(
        {step: {member: {"nc1": values[place]} for member, values in enumerate(courses.values())}
         for place, step in enumerate((0, 10, 20))}, rows)


def test_further_is_not_sooner():
    """Smoothed networks end lower, but reach NC1 = 1 later: at a level that both reach by the end they would be
    sooner."""
    courses = {(0.0, 0): (10, 0.5, 0.4), (0.0, 1): (10, 0.6, 0.4), (0.1, 0): (10, 2, 0.1), (0.1, 1): (10, 2.5, 0.1)}
    sooner, = representation_claims.CLAIMS["smoothing collapses sooner"].check(nc1(courses))
    expected = [10 + 10 * math.log(2) / math.log(20) - 10 * math.log(10) / math.log(20),
                10 + 10 * math.log(2.5) / math.log(25) - 10 * math.log(10) / math.log(10 / 0.6)]
    assert sooner.difference == pytest.approx(np.mean(expected)) and sooner.difference > 0
    delays, missing = representation_records.delays(nc1(courses), {"alpha": 0.1}, {"alpha": 0.0}, 1.0)
    assert list(delays.values()) == pytest.approx(expected) and missing == 0
    deeper = {**courses, (0.1, 0): (10, 2, 1e-5)}  # ending lower still does not move the level
    assert representation_records.delays(nc1(deeper), {"alpha": 0.1}, {"alpha": 0.0}, 1.0)[0][1] == delays[1]
    short = {**courses, (0.1, 0): (10, 3, 2)}
    finding, = representation_claims.CLAIMS["smoothing collapses sooner"].check(nc1(short))
    assert claims.sentence(finding) == "not observed yet: NC1 has not fallen to 1 in 1 of 2 pairs of networks"
    assert representation_claims.CLAIMS["smoothing collapses sooner"].check(
        nc1({key: (10, 4, 3) for key in courses})) == []


def test_claims_without_records_say_nothing():
    assert verdicts({**information_claims.CLAIMS, **representation_claims.CLAIMS}, []) == dict.fromkeys(
        [*information_claims.CLAIMS, *representation_claims.CLAIMS], [])


def test_report_section(tmp_path):
    from ls_jax.report import sections
    records.write(tmp_path, [*information(CURVES), *representation(1)])
    results = records.read(tmp_path)
    page = shown(results, tmp_path / "figures")
    text = information_section.section(page) + representation_section.section(page)
    for part in ("airplane and dog", "600 training examples", "NC2 (Guo)",
                 "Reference values: 0.693"):
        assert part in text
    for name in ("information", "neural_collapse", "separation"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 10_000
    assert "probe fashion_mnist" in sections.claims_section(results)
    empty = shown([], tmp_path / "figures")
    assert information_section.section(empty) == representation_section.section(empty) == ""
    assert set(information_claims.CLAIMS) | set(representation_claims.CLAIMS) < set(paper_claims.claims())


def test_section_of_an_analysis(tmp_path):
    results = [records.Record("representation", name, "test", **moments([value]))
               for name, value in {"nc1": 0.5, "stability": 0.7}.items()]
    assert "as given" in representation_section.section(shown(results,
                                                              tmp_path)) and not np.any([*tmp_path.glob("figures/*")])
