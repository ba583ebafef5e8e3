"""Figure 4's numbers: against the calibration study's functions, on made-up networks of known answers, and in a run
from text to report."""
import json
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax.data import Dataset
from ls_jax.errors import UserError
from ls_jax.modes import experiment, translate
from ls_jax.studies import calibration
from ls_jax.studies import registry as paper_claims
from ls_jax.studies.calibration import scores
from ls_jax.studies.common import records
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.translation import bleu
from ls_jax.studies.translation import collect as translation_study
from ls_jax.studies.translation import records as translation_records
from ls_jax.studies.translation.measure import BINS, Curve, Translated, measured

GRID = (0.5, 1.0, 2.0)


def test_curves_are_what_the_calibration_study_measures():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (6, 5, 11)).astype(np.float32)
    logits[0, 0] = 0
    logits[0, 0, 3] = 200  # a confidence of exactly 1
    labels = rng.integers(0, 11, (6, 5)).astype(np.int32)
    counted = rng.random((6, 5)) < 0.7
    counted[0, 0] = True
    logits[~counted] = np.nan
    group = np.arange(6) % 3  # of the rows
    into = (np.eye(3)[group][:, None] * counted[..., None]).astype(np.float32)
    for temperature in (0.5, 1.0, 1.7):
        found = jax.device_get(jax.jit(translation_study.curve)(
            jnp.asarray(np.where(counted[..., None], logits, 0)), labels, into, jnp.float32(temperature)))
        curve = Curve("test", {}, np.array([temperature]), *(each[None].astype(np.float64) for each in found), 6)
        assert curve.tokens == counted.sum()
        samples = {name: sample for name, (sample,) in measured(curve).items()}
        for left_out, value in ((None, lambda of: of.value), *((one, lambda of, one=one: of.deleted[one])
                                                               for one in range(3))):
            kept = counted & (group != left_out)[:, None]
            flat, of = logits[kept] / temperature, labels[kept]
            root = calibration.expected_calibration_error(flat, of, BINS, norm="l2", debiased=True)
            due = {"nll": scores.negative_log_likelihood(flat, of),
                   "ece": calibration.expected_calibration_error(flat, of, BINS),
                   "debiased squared error": np.sign(root) * root**2}
            assert {name: value(sample) for name, sample in samples.items()} == pytest.approx(due, rel=1e-4)


def curve(alpha, seed, nll, error, split="validation"):
    """A member with these NLLs and ECEs at the temperatures of GRID, of 100 tokens in one bin, in two equal groups."""
    return flat(split, row(alpha, seed), GRID, nll, error)


def flat(split, of, grid, nll, error):
    """A curve with these NLLs and ECEs, the same in two groups of 50 tokens each, all in one bin."""
    one = np.zeros((len(grid), 2, BINS))
    one[..., 7] = 50
    return Curve(split, of, np.array(grid, np.float32), np.tile(50 * np.array(nll)[:, None], 2), one, one / 2,
                 one * (0.5 - np.array(error))[:, None, None], 10)


def row(alpha, seed):
    return {"alpha": alpha, "seed": seed, "learning_rate": 2.0, "weight_decay": 0.0}


def translated(alpha, seed, bleu):
    return [
        Translated("validation", "validation", row(alpha, seed), 4, temperature, 10,
                   {"bleu": Sample(value), "length ratio": Sample(1.0)}, (Sample(value - 1), Sample(value + 1)))
        for temperature, value in zip(GRID, bleu)
    ]


def records_of(shift):
    """Two networks by three seeds. Hard: calibrated at 2, where BLEU is 26, 1 above that at T = 1. Smoothed: calibrated
    at 1."""
    curves, found = [], []
    for seed in range(3):
        tiny = 0.01 * seed
        for split, worse in (("validation", 0.0), ("test", 0.1)):
            curves += [
                curve(0.0, seed, (2.0, 1.5 + worse, 1.7), (0.2, 0.1, 0.02), split),
                curve(0.1, seed, (2.5, 1.61 + tiny + worse, 1.8 + tiny), (0.2, 0.01, 0.1), split)
            ]
        found += translated(0.0, seed, (24.0, 25.0 + tiny, 26.0)) + translated(0.1, seed,
                                                                               (24.0, 26.0 + shift + 2 * tiny, 25.0))
    return translation_records.run(curves, found, {"bleu": "nrefs:1"})


def test_claims_follow_from_the_records():
    found = paper_claims.check(records_of(shift=1.0))
    verdicts = {name: [finding.verdict for finding in findings] for name, findings in found.items()}
    assert verdicts == {
        name: ["holds"] for name in ("smoothing calibrates all tokens as temperature scaling does",
                                    "smoothing raises BLEU", "smoothing worsens the likelihood", "scaling raises BLEU",
                                    "scaling does not reach smoothing's BLEU", "smoothing is best near T = 1")
    }
    assert found["smoothing worsens the likelihood"][0].difference == pytest.approx(0.12, abs=1e-6)
    assert found["scaling raises BLEU"][0].difference == pytest.approx(1 - 0.01, abs=1e-6)
    assert found["scaling does not reach smoothing's BLEU"][0].difference == pytest.approx(1 + 0.02, abs=1e-6)
    worse = paper_claims.check(records_of(shift=-1.0))
    assert worse["scaling does not reach smoothing's BLEU"][0].verdict == "fails"


def test_records_are_by_split_temperature_and_file():
    results = records_of(shift=1.0)
    at = lambda quantity, kind="value", **fields: records.select(results, quantity=quantity, kind=kind, **fields)
    assert [each.mean for each in at("ece", alpha=0.0, split="test")] == pytest.approx([0.2, 0.1, 0.02])
    assert at("bleu", alpha=0.1, temperature=2.0)[0].mean == 25.0 and at("bleu",
                                                                         alpha=0.1)[0].extra["signature"] == "nrefs:1"
    assert at("bleu", "difference", temperature=1.0)[0].mean == pytest.approx(2.01)


def likelihoods(grid, **curves):
    """Records of curves {split: {α: NLL at the temperatures of the grid}} of three equal seeds, with these ECEs too."""
    made = [flat(split, row(alpha, seed), grid, np.array(nll) + 0.001 * seed * (alpha > 0), np.array(nll) / 10)
            for seed in range(3) for split, of in curves.items() for alpha, nll in of.items()]
    scored = Translated("test", "test", row(0.0, 0), 4, 1.0, 1, {"bleu": Sample(1.0)})
    return translation_records.run(made, [scored], {})


def test_each_network_is_judged_at_its_own_best_temperature_of_validation():
    """Not at the grid's end, where all are bad: there, the smoothed one is the better."""
    grid, name = (0.5, 0.8, 1.0, 1.2, 2.0), "smoothing worsens the likelihood"
    validation = {0.0: (3.0, 2.0, 1.7, 1.5, 1.9), 0.1: (2.0, 1.55, 1.6, 1.7, 1.9)}
    test = {0.0: (3.0, 2.1, 1.8, 1.54, 1.5), 0.1: (2.0, 1.59, 1.58, 1.7, 1.4)}  # its own best are 2, as it happens
    finding, = paper_claims.check(likelihoods(grid, validation=validation, test=test))[name]
    assert finding.difference == pytest.approx(1.59 - 1.54 + 0.001) and finding.verdict == "holds"
    assert finding.split == "test"
    assert finding.facts == ("at T = 1 of both: −0.219 [−0.221, −0.217]",)
    calibrated, = paper_claims.check(likelihoods(grid, validation=validation, test=test))[
        "smoothing calibrates all tokens as temperature scaling does"]
    squared = lambda error: error**2 - (0.5 - error) * (0.5 + error) / 99  # debiased, of 100 tokens
    assert calibrated.difference == pytest.approx(squared(0.158) - squared(0.154))
    assert calibrated.verdict == "holds" and calibrated.range[1] == pytest.approx(squared(0.18) / 10)
    ending = {**validation, 0.1: (1.5, 1.55, 1.6, 1.7, 1.9)}
    finding, = paper_claims.check(likelihoods(grid, validation=ending, test=test))[name]
    assert finding.verdict == "not judged" and finding.reason.startswith("a best temperature is an end of the grid")
    assert name not in paper_claims.check(likelihoods(grid, test=test))


def test_the_best_temperature_of_a_half_is_told_on_the_other():
    """BLEU without smoothing at T = 1 and 2, by halves: the best of each half is the worst of the other."""
    halves = {(0.0, 1.0): (30.0, 20.0), (0.0, 2.0): (20.0, 30.0), (0.1, 1.0): (24.0, 25.0)}
    found = [Translated("validation", "validation", row(alpha, seed), 4, temperature, 10, {"bleu": Sample(25.0)},
                        tuple(map(Sample, of)))
             for seed in range(2) for (alpha, temperature), of in halves.items()]
    curves = [curve(alpha, seed, (2.0, 1.5, 1.7), (0.2, 0.1, 0.02)) for seed in range(2) for alpha in (0.0, 0.1)]
    record, = records.select(translation_records.run(curves, found, {}), quantity="bleu over scaling by halves")
    assert record.values == pytest.approx([(24 - 20 + 25 - 20) / 2] * 2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Counting: "two three" is "zwei drei"."""
    pytest.importorskip("sentencepiece", reason="text needs SentencePiece: pip install -e '.[translation]'")
    pytest.importorskip("sacrebleu", reason="BLEU needs sacrebleu: pip install -e '.[translation]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = list(
        zip("one two three four five six seven eight nine".split(),
            "eins zwei drei vier fünf sechs sieben acht neun".split()))
    rng = np.random.default_rng(0)
    for stem, number in (("train", 120), ("val", 8), ("test2016", 6), ("test2017", 5)):
        pairs = [[words[k] for k in rng.integers(0, 9, rng.integers(2, 7))] for _ in range(number)]
        for language, side in (("en", 0), ("de", 1)):
            (tmp_path / f"{stem}.{language}").write_text("".join(" ".join(pair[side] for pair in line) + "\n"
                                                                 for line in pairs))
    return tmp_path


def test_a_missing_sacrebleu_is_told_before_the_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    bleu._metrics.cache_clear()
    config = configs.default()
    translation_study.check(config, mock.Mock(spec=Dataset, text=None))
    with pytest.raises(UserError, match="BLEU needs sacrebleu: pip install"):
        translation_study.check(config, mock.Mock(spec=Dataset, text="some"))


def test_a_run_from_text_to_report(folder, tmp_path, capsys):
    config = configs.load("configs/multi30k_transformer.py", "smoke")
    config.data.update(name="text:.", dir=str(folder), vocabulary=340, row_length=32, train_examples=None)
    config.translation.update(extra=2, sentences=3)
    config.projection.classes = (("▁eins", "▁zwei", "▁drei"),)
    config.evaluate.every = config.checkpoint.every = 6
    workdir = tmp_path / "run"
    experiment.run(config, workdir)
    results = records.read(workdir)
    studies = {record.study for record in results}
    assert {"accuracy", "calibration", "projection", "representation", "translation"} <= studies
    bleu = records.select(results, quantity="bleu")
    assert {tuple(each.extra[name] for name in ("file", "beams", "temperature"))
            for each in bleu} == {("validation", 2, 1.0), ("validation", 2, 0.5), ("validation", 1, 1.0),
                                  ("test2016", 2, 1.0), ("test2017", 2, 1.0)}
    accuracy, nll = ({
        each.split: each for each in records.select(results, study=study, quantity="nll", alpha=0, **fields)
    } for study, fields in (("accuracy", {}), ("translation", {"temperature": 1.0})))
    for split in ("validation", "test"):
        assert nll[split].mean == pytest.approx(accuracy[split].mean, rel=1e-5)
        assert nll[split].extra["tokens"] == accuracy[split].extra["examples"]
    with np.load(workdir / "predictions" / "validation-001.npz") as file:
        np.testing.assert_allclose(file["features"] @ file["kernel"] + file["bias"], file["logits"], atol=1e-4)
        assert file["class_names"][1] == "</s>" and (file["labels"] > 0).all()
    found = {
        file: (workdir / "translations" / f"{file}-001.de").read_text().splitlines()
        for file in ("validation", "test2016")
    }
    assert len(found["validation"]) == 3  # the cap is for the file that is translated again and again
    assert found["test2016"] == translate.Network(workdir, 1)((folder / "test2016.en").read_text().splitlines())
    page = (workdir / "report.html").read_text()
    assert "Temperature (Figure 4)" in page and "Beam width" in page and "projections (Figure 7)" in page
    manifest = json.loads((workdir / "manifest.json").read_text())["sessions"][-1]
    assert len(manifest["data"]["vocabulary"]["sha256"]) == 64 and manifest["data"]["splits"]["train"]["pairs"] == 120
    before = (workdir / "results.json").read_text()
    experiment.study(config, workdir)
    assert (workdir / "results.json").read_text() == before, "the last checkpoint gives the same numbers"
