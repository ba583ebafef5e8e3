"""The claims on information, collapse, separation and transfer, their figures and the report's section, on records that are known."""
import math

import numpy as np
import pytest

from ls_jax.studies import registry as paper_claims
from ls_jax.studies.common import records as results
from ls_jax.studies.common.statistics import moments
from ls_jax.studies.information import claims as information_claims
from ls_jax.studies.information import section as information_section
from ls_jax.studies.representation import claims as representation_claims
from ls_jax.studies.representation import records as representation_records
from ls_jax.studies.representation import section as representation_section
from tests.shown import shown

ROWS = [{"alpha": alpha, "seed": seed} for alpha in (0.0, 0.1) for seed in (0, 1, 2)]
STEPS = (0, 10, 20, 30)
CURVES = {0.0: (0.1, 2.5, 2.0, 1.5), 0.1: (0.1, 2.5, 1.0, 0.75)}  # nats


def information(curves):
    records = []
    for step, *values in zip(STEPS, curves[0.0], curves[0.1]):
        for views, outer in ((5, "fresh"), (5, "reused"), (50, "fresh"), (50, "reused")):
            bias = 5 / views if outer == "reused" else 0
            of = [values[row["alpha"] > 0] + 0.01 * row["seed"] * (1 + row["alpha"]) + bias for row in ROWS]
            records += results.summarize(
                "information", "logit information", "train", ROWS, of, draws=views, outer=outer, estimator="gaussian", step=step,
                of_examples=600, classes=["airplane", "dog"], collapsed=math.log(2), bound=math.log(600), examples_interval=[0.0, 1.0])
    return records


def representation(sign):
    rate = lambda row: 10.0 + sign * (5 + row["seed"]) * (row["alpha"] > 0)
    values = lambda row, step: {"nc1": 10 ** (-step / 300 * rate(row)), "nc2 logits": 1 - step / 100 - sign * 0.3 * (row["alpha"] > 0),
                                "class separation": 0.3 + sign * (row["alpha"] > 0) * (0.1 + 0.01 * row["seed"])}
    course = {step: {member: values(row, step) for member, row in enumerate(ROWS)} for step in STEPS}
    probes = results.summarize("transfer", "probe accuracy", "test", ROWS, [
        0.8 - sign * (0.05 + 0.001 * row["seed"]) * (row["alpha"] > 0) for row in ROWS], data="fashion_mnist")
    at_end = [record for split in ("train", "test") for record in representation_records.summarize(course[30], ROWS, split)]
    return at_end + representation_records.of_course(course, ROWS) + probes


def verdicts(claims, records):
    return {name: [(finding.alpha, finding.verdict) for finding in claim.check(records)] for name, claim in claims.items()}


def test_information_claims():
    found = verdicts(information_claims.CLAIMS, information(CURVES))
    assert found == {"information rises": [(0.0, "holds"), (0.1, "holds")], "information then falls": [(0.0, "holds"), (0.1, "holds")],
                     "smoothing erases information": [(0.1, "holds")], "what is left is the class": [(0.0, "fails"), (0.1, "holds")]}
    rising = verdicts(information_claims.CLAIMS, information({0.0: (2.0, 2.0, 2.0, 2.0), 0.1: (0.1, 0.5, 1.0, 2.5)}))
    assert rising == {"information rises": [(0.0, "fails"), (0.1, "holds")], "information then falls": [(0.0, "fails"), (0.1, "fails")],
                      "smoothing erases information": [(0.1, "fails")], "what is left is the class": [(0.0, "fails"), (0.1, "fails")]}
    assert all(each.extra["draws"] == 50 and each.extra["outer"] == "fresh" for each in information_claims.best(information(CURVES)))


@pytest.mark.parametrize("sign, verdict", [(1, "holds"), (-1, "fails")])
def test_representation_claims(sign, verdict):
    found = verdicts(representation_claims.CLAIMS, representation(sign))
    assert {each for findings in found.values() for _, each in findings} == {verdict} and all(found.values())
    assert [finding.split for finding in representation_claims.CLAIMS["classes are more separated"].check(representation(sign))] == [
        "train", "test"]


def test_claims_without_records_say_nothing():
    assert verdicts({**information_claims.CLAIMS, **representation_claims.CLAIMS}, []) == dict.fromkeys(
        [*information_claims.CLAIMS, *representation_claims.CLAIMS], [])


def test_report_section(tmp_path):
    from ls_jax.report import sections
    results.write(tmp_path, [*information(CURVES), *representation(1)])
    records = results.read(tmp_path)
    page = shown(records, tmp_path / "figures")
    text = information_section.section(page) + representation_section.section(page)
    for part in ("airplane and dog", "600 training examples", "NC2 (Guo)", "Classes told apart and nothing else: 0.693"):
        assert part in text
    for name in ("information", "neural_collapse", "separation"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 10_000
    assert "probe fashion_mnist" in sections.claims_section(records)
    empty = shown([], tmp_path / "figures")
    assert information_section.section(empty) == representation_section.section(empty) == ""
    assert set(information_claims.CLAIMS) | set(representation_claims.CLAIMS) < set(paper_claims.claims())


def test_section_of_an_analysis(tmp_path):
    records = [results.Record("representation", name, "test", **moments([value]))
               for name, value in {"nc1": 0.5, "stability": 0.7}.items()]
    assert "as given" in representation_section.section(shown(records, tmp_path)) and not np.any([*tmp_path.glob("figures/*")])
