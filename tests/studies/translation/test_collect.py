"""Figure 4's numbers: against the calibration study's functions, on made-up networks of known answers, and in a run from text to report."""
import json
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax.errors import UserError
from ls_jax.modes import experiment, translate
from ls_jax.studies import calibration
from ls_jax.studies import registry as paper_claims
from ls_jax.studies.calibration import scores
from ls_jax.studies.common import records as results
from ls_jax.studies.translation import bleu
from ls_jax.studies.translation import collect as translation_study
from ls_jax.studies.translation import records as translation_records
from ls_jax.studies.translation.measure import BINS, Curve, Translated

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
    for temperature in (0.5, 1.0, 1.7):
        nll, count, confidence, correct = jax.device_get(jax.jit(translation_study.curve)(
            jnp.asarray(np.where(counted[..., None], logits, 0)), labels, counted, jnp.float32(temperature)))
        flat, of = logits[counted] / temperature, labels[counted]
        curve = Curve("test", {}, np.array([temperature]), nll[None], count[None], confidence[None], correct[None])
        assert count.sum() == counted.sum()
        np.testing.assert_allclose(nll / count.sum(), scores.negative_log_likelihood(flat, of), rtol=1e-5)
        np.testing.assert_allclose(translation_records.expected_calibration_error(curve),
                                   calibration.expected_calibration_error(flat, of, BINS), rtol=1e-5)


def curve(alpha, seed, nll, error):
    """A member with these NLLs and ECEs at the temperatures of GRID, of 100 tokens in one bin."""
    one = np.zeros((len(GRID), BINS))
    one[:, 7] = 100
    correct = np.zeros_like(one)
    correct[:, 7] = 100 * (0.5 - np.array(error))
    return Curve("validation", row(alpha, seed), np.array(GRID, np.float32), 100 * np.array(nll), one, one / 2, correct)


def row(alpha, seed):
    return {"alpha": alpha, "seed": seed, "learning_rate": 2.0, "weight_decay": 0.0}


def translated(alpha, seed, bleu):
    return [Translated("validation", "validation", row(alpha, seed), 4, temperature, 10, {"bleu": value, "length ratio": 1.0})
            for temperature, value in zip(GRID, bleu)]


def records_of(shift):
    """Two networks by three seeds. Hard: calibrated at 2, where BLEU is 26, 1 above that at T = 1. Smoothed: calibrated at 1."""
    curves, found = [], []
    for seed in range(3):
        tiny = 0.01 * seed
        curves += [curve(0.0, seed, (2.0, 1.5, 1.7), (0.2, 0.1, 0.02)), curve(0.1, seed, (2.5, 1.61 + tiny, 1.8 + tiny), (0.2, 0.01, 0.1))]
        found += translated(0.0, seed, (24.0, 25.0 + tiny, 26.0)) + translated(0.1, seed, (24.0, 26.0 + shift + 2 * tiny, 25.0))
    return translation_records.run(curves, found, {"bleu": "nrefs:1"})


def test_claims_follow_from_the_records():
    found = paper_claims.check(records_of(shift=1.0))
    verdicts = {name: [finding.verdict for finding in findings] for name, findings in found.items()}
    assert verdicts == {name: ["holds"] for name in ("smoothing raises BLEU", "smoothing worsens the likelihood", "scaling raises BLEU",
                                                     "scaling does not reach smoothing's BLEU", "smoothing is best near T = 1")}
    assert found["smoothing worsens the likelihood"][0].difference == pytest.approx(0.11, abs=1e-6)
    assert found["scaling raises BLEU"][0].difference == pytest.approx(1 - 0.01, abs=1e-6)
    assert found["scaling does not reach smoothing's BLEU"][0].difference == pytest.approx(1 + 0.02, abs=1e-6)
    worse = paper_claims.check(records_of(shift=-1.0))
    assert worse["scaling does not reach smoothing's BLEU"][0].verdict == "fails"


def test_records_are_by_split_temperature_and_file():
    records = records_of(shift=1.0)
    at = lambda quantity, kind="value", **fields: results.select(records, quantity=quantity, kind=kind, **fields)
    assert [each.mean for each in at("ece", alpha=0.0)] == pytest.approx([0.2, 0.1, 0.02])
    assert at("bleu", alpha=0.1, temperature=2.0)[0].mean == 25.0 and at("bleu", alpha=0.1)[0].extra["signature"] == "nrefs:1"
    assert at("bleu", "difference", temperature=1.0)[0].mean == pytest.approx(2.01)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Counting: "two three" is "zwei drei"."""
    pytest.importorskip("sentencepiece", reason="text needs SentencePiece: pip install -e '.[translation]'")
    pytest.importorskip("sacrebleu", reason="BLEU needs sacrebleu: pip install -e '.[translation]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = list(zip("one two three four five six seven eight nine".split(), "eins zwei drei vier fünf sechs sieben acht neun".split()))
    rng = np.random.default_rng(0)
    for stem, number in (("train", 120), ("val", 8), ("test2016", 6), ("test2017", 5)):
        pairs = [[words[k] for k in rng.integers(0, 9, rng.integers(2, 7))] for _ in range(number)]
        for language, side in (("en", 0), ("de", 1)):
            (tmp_path / f"{stem}.{language}").write_text("".join(" ".join(pair[side] for pair in line) + "\n" for line in pairs))
    return tmp_path


def test_a_missing_sacrebleu_is_told_before_the_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    bleu._metrics.cache_clear()
    translation_study.check(None, types.SimpleNamespace(text=None))
    with pytest.raises(UserError, match="BLEU needs sacrebleu: pip install"):
        translation_study.check(None, types.SimpleNamespace(text="some"))


def test_a_run_from_text_to_report(folder, tmp_path, capsys):
    config = configs.load("configs/multi30k_transformer.py", "smoke")
    config.data.update(name="text:.", dir=str(folder), vocabulary=340, row_length=32, train_examples=None)
    config.translation.update(extra=2, sentences=3)
    config.projection.classes = (("▁eins", "▁zwei", "▁drei"),)
    config.evaluate.every = config.checkpoint.every = 6
    workdir = tmp_path / "run"
    experiment.run(config, workdir)
    records = results.read(workdir)
    studies = {record.study for record in records}
    assert {"accuracy", "calibration", "projection", "representation", "translation"} <= studies
    bleu = results.select(records, quantity="bleu")
    assert {tuple(each.extra[name] for name in ("file", "beams", "temperature")) for each in bleu} == {
        ("validation", 2, 1.0), ("validation", 2, 0.5), ("validation", 1, 1.0), ("test2016", 2, 1.0), ("test2017", 2, 1.0)}
    accuracy, nll = ({each.split: each for each in results.select(records, study=study, quantity="nll", alpha=0, **fields)}
                     for study, fields in (("accuracy", {}), ("translation", {"temperature": 1.0})))
    for split in ("validation", "test"):
        assert nll[split].mean == pytest.approx(accuracy[split].mean, rel=1e-5)
        assert nll[split].extra["tokens"] == accuracy[split].extra["examples"]
    with np.load(workdir / "predictions" / "validation-001.npz") as file:
        np.testing.assert_allclose(file["features"] @ file["kernel"] + file["bias"], file["logits"], atol=1e-4)
        assert file["class_names"][1] == "</s>" and (file["labels"] > 0).all()
    found = {file: (workdir / "translations" / f"{file}-001.de").read_text().splitlines() for file in ("validation", "test2016")}
    assert len(found["validation"]) == 3  # the cap is for the file that is translated again and again
    assert found["test2016"] == translate.Network(workdir, 1)((folder / "test2016.en").read_text().splitlines())
    page = (workdir / "report.html").read_text()
    assert "Temperature (Figure 4)" in page and "Beam width" in page and "projections (Figure 7)" in page
    manifest = json.loads((workdir / "manifest.json").read_text())["sessions"][-1]
    assert len(manifest["data"]["vocabulary"]["sha256"]) == 64 and manifest["data"]["splits"]["train"]["pairs"] == 120
    before = (workdir / "results.json").read_text()
    experiment.study(config, workdir)
    assert (workdir / "results.json").read_text() == before, "the last checkpoint gives the same numbers"
