"""The selective study's records, tables, claims and figure, on made-up networks."""
import dataclasses
from unittest import mock

import numpy as np
import pytest

from ls_jax.studies.common import plots as common_plots
from ls_jax.studies.common import records
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.common.statistics import t_interval
from ls_jax.studies.selective import claims, plots, section, tables
from ls_jax.studies.selective import measure as measures
from ls_jax.studies.selective import records as selective_records
from tests.logits import sample

SEEDS, N = (0, 1, 2), 800


def network(alpha, seed, split):
    """Logits and labels. Smoothing multiplies each example's logits by a factor that its confidence should not depend
    on."""
    logits, labels = sample(N, 6, 2.0, seed={"validation": 7, "test": 8}[split])
    rng = np.random.default_rng((seed, int(10 * alpha), len(split)))
    logits = logits + 0.1 * rng.normal(size=logits.shape)
    return (logits * np.exp(rng.normal(size=(N, 1))) if alpha else logits), labels


def measured(splits=("validation", "test")):
    return [each for alpha in (0.0, 0.1) for seed in SEEDS
            for each in selective_records.measure({"alpha": alpha, "seed": seed},
                                                  {split: network(alpha, seed, split) for split in splits})]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    where = tmp_path_factory.mktemp("records")
    records.write(where, selective_records.run(measured()))
    return records.read(where)


def test_values_are_those_of_the_definitions(results):
    logits, labels = network(0.1, 1, "test")
    norm = measures.best_norm(*network(0.1, 1, "validation"))
    for suffix, of in (("", measures.selective(logits, labels)),
                       (" of normalised logits", measures.selective(logits, labels, norm))):
        for quantity, value in zip(selective_records.QUANTITIES, of):
            record, = records.select(results, quantity=quantity + suffix, split="test", kind="value", alpha=0.1)
            assert record.by_seed[1] == pytest.approx(value) and record.n == 3
    change, = records.select(results, quantity="aurc change by normalisation", split="test", kind="value", alpha=0.1)
    assert change.by_seed[1] == pytest.approx(measures.aurc(logits, labels, norm) - measures.aurc(logits, labels))
    assert change.extra["chosen_on"] == "validation"


def test_without_validation_each_half_gets_the_norm_of_the_other():
    split, = selective_records.measure({"alpha": 0.1, "seed": 0}, {"test": network(0.1, 0, "test")})
    logits, labels = network(0.1, 0, "test")
    halves = [(logits[k::2], labels[k::2]) for k in (0, 1)]
    norms = [measures.best_norm(*half) for half in halves]
    assert list(split.norms) == norms[::-1] and split.chosen_on == "other half"
    due = np.mean([measures.aurc(*halves[0], norms[1]), measures.aurc(*halves[1], norms[0])])
    assert split.samples["aurc of normalised logits"].value == pytest.approx(due)
    plain = np.mean([measures.aurc(*half) for half in halves])  # on the same halves
    assert split.samples["aurc change by normalisation"].value == pytest.approx(due - plain)


def test_intervals_are_for_new_seeds_and_new_examples(results):
    for kind in ("value", "difference"):
        for record in records.select(results, split="test", kind=kind):
            if record.quantity == "risk-coverage":
                continue
            assert record.covers == "seeds and examples" and record.interval_seeds == t_interval(record.values)
            assert record.interval[0] <= record.mean <= record.interval[1]
            assert set(record.variance) == {"seeds", "examples", "residual"} and record.variance["examples"] > 0


def test_the_jackknife_of_the_error_rate_is_its_standard_error():
    """At full coverage risk is the error rate, whose standard error is known."""
    split, = selective_records.measure({"alpha": 0.0, "seed": 0}, {"test": network(0.0, 0, "test")})
    curve = split.curves["confidence"]
    error = curve.value[-1]
    groups = curve.deleted.shape[0]
    spread = np.sqrt((groups - 1) / groups * np.sum(np.square(curve.deleted[:, -1] - curve.deleted[:, -1].mean())))
    assert spread == pytest.approx(np.sqrt(error * (1 - error) / N), rel=0.35)  # of 20 groups


def test_few_examples_and_one(results):
    """Too few for halves: no normalised logits. One example: no interval."""
    logits, labels = network(0.0, 0, "test")
    few = selective_records.run(
        list(selective_records.measure({"alpha": 0.0, "seed": 0}, {"test": (logits[:20], labels[:20])})))
    assert {record.quantity for record in few} == {*selective_records.QUANTITIES, "risk-coverage"}
    one = selective_records.run(
        list(selective_records.measure({"alpha": 0.0, "seed": 0}, {"test": (logits[:1], labels[:1])})))
    assert all(record.interval is None for record in one)


def test_no_interval_has_width_0():
    """Both networks are right about everything: no number varies, which does not say that new examples would not."""
    logits, _ = network(0.0, 0, "test")
    found = selective_records.run([each for alpha in (0.0, 0.1) for seed in SEEDS for each in selective_records.measure(
        {"alpha": alpha, "seed": seed}, {"test": (logits, logits.argmax(-1))})])
    less = records.select(found, kind="difference")
    assert less and all(record.interval is None and record.mean == 0 for record in less)


def test_analysis_of_one_network():
    logits, labels = network(0.0, 0, "test")
    found = selective_records.analyze({"logits": logits, "labels": labels, "index": np.arange(N)}, [])
    area, = records.select(found, quantity="aurc")
    assert area.values == [pytest.approx(measures.aurc(logits, labels))] and area.hyper == {}
    assert area.covers == "examples"


def test_claims(results):
    """The made-up smoothing spoils the scale of the logits, which normalising removes: all four claims hold, on
    validation."""
    for name, claim in claims.CLAIMS.items():
        finding, = claim.check(results)
        assert (finding.verdict, finding.split, finding.alpha) == ("holds", "validation", 0.1), name
        assert finding.range == ((0.0, None) if "degrades selective" in name else (None, 0.0))
        assert "not the paper" in claim.place
    swapped = [dataclasses.replace(record, values=[-value for value in record.values], mean=-record.mean,
                                   interval=None
                                   if record.interval is None else [-end for end in record.interval[::-1]])
               for record in results]
    assert {finding.verdict for claim in claims.CLAIMS.values() for finding in claim.check(swapped)} == {"fails"}


def test_where_accuracy_falls_aurc_is_not_judged(results):
    row = {"alpha": 0.1}
    loss = records.Record("accuracy", "accuracy", "validation", 3, -0.05, 0.01, [-0.05] * 3, "difference", row,
                          "alpha=0.1", {"alpha": 0.0}, [0, 1, 2], [-0.06, -0.04])
    claim = claims.CLAIMS["smoothing degrades selective classification"]
    assert claim.check([*results, loss]) == []
    assert len(claim.check([*results, dataclasses.replace(loss, interval=[-0.06, 0.01])])) == 1


def test_tables(results):
    caption, header, *rows = tables.values(results, "test")
    assert header == ("score", "smoothing", "AURC", "AUGRC", "risk at 80 % coverage", "coverage at 5 % risk")
    assert [row[:2] for row in rows] == [(score, f"α={alpha}") for score in ("confidence", "normalised logits")
                                         for alpha in ("0", "0.1")]
    assert caption.endswith("the norm of the logits is chosen on: validation")
    area, = records.select(results, quantity="aurc", split="test", kind="value", alpha=0.1)
    assert rows[1][2] == f"{area.mean:.4f} ± {area.std:.4f}"
    _, _, *rows = tables.differences(results, "test")
    less, = records.select(results, quantity="aurc", split="test", kind="difference")
    assert rows[0][2] == f"{less.mean:+.4f} [{less.interval[0]:+.4f}, {less.interval[1]:+.4f}]"
    _, _, *rows = tables.change(results, "test")
    assert [row[0] for row in rows] == ["α=0", "α=0.1"]


def test_figure_shows_the_curves_with_their_bands(results):
    figure = plots.risk_coverage(results, "test")
    panels = figure.axes
    assert [axis.get_title() for axis in panels] == ["test split, by confidence", "test split, by normalised logits"]
    record, = records.select(results, quantity="risk-coverage", split="test", score="confidence", alpha=0.1)
    line = panels[0].lines[1]
    assert line.get_label() == "α = 0.1" and list(line.get_ydata()) == record.extra["risk"]
    logits, labels = network(0.1, 0, "test")
    right = logits.argmax(-1) == labels
    assert record.extra["risk"][-1] == pytest.approx(
        np.mean([1 - np.mean(network(0.1, seed, "test")[0].argmax(-1) == labels)
                 for seed in SEEDS]), abs=1e-6)
    assert right.any()
    band = panels[0].collections[1].get_paths()[0].vertices
    for end in record.extra["low"][-1], record.extra["high"][-1]:
        assert np.abs(band - [1.0, end]).sum(axis=1).min() < 1e-6


def test_section(results, tmp_path):
    html = section.section(mock.Mock(spec=Shown, records=results, figures=tmp_path))
    assert html.count("<h3>Selective classification") == 2 and html.count("<img") == 2
    assert common_plots.COLOURS and (tmp_path / "risk_coverage_test.pdf").exists()
    assert section.section(mock.Mock(spec=Shown, records=[], figures=tmp_path)).strip() == ""
