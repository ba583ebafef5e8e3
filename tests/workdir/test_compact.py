"""Compact predictions hold what new statistics need: the storage error of each quantity, the budget, text's
sentences."""
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from ls_jax.data.dataset import TextSplit
from ls_jax.data.text.tokens import Tokens
from ls_jax.errors import UserError
from ls_jax.modes import analyze
from ls_jax.studies import calibration, selective
from ls_jax.studies.accuracy.measure import accuracy, negative_log_likelihood
from ls_jax.studies.calibration import scores
from ls_jax.workdir import compact, npz_map, predictions

N, K, D = 4000, 10, 6


@pytest.fixture
def arrays():
    """A network that is right on four examples of five, with logits as large as over-confident networks have."""
    random = np.random.default_rng(0)
    labels = random.integers(0, K, N)
    features, kernel, bias = random.normal(size=(N, D)) * 4, random.normal(size=(D, K)), random.normal(size=K)
    logits = features @ kernel + bias
    logits[np.arange(N), labels] += 14
    return {"logits": logits.astype(np.float32), "labels": labels, "index": np.arange(N),
            "kernel": kernel.astype(np.float32),
            "bias": bias.astype(np.float32), "class_names": np.array([f"c{k}" for k in range(K)])}


def _saved(tmp_path, arrays, form):
    np.savez_compressed(tmp_path / "small.npz", **compact.reduced(arrays, form))
    return compact.read(tmp_path / "small.npz")


def test_half_precision_changes_each_measure_by_less_than_is_printed(tmp_path, arrays):
    small = _saved(tmp_path, arrays, None)
    labels = arrays["labels"]
    assert small["logits"].dtype == np.float32 and np.array_equal(small["labels"], labels)
    assert abs(accuracy(small["logits"], labels) - accuracy(arrays["logits"], labels)) <= 2 / N
    assert abs(negative_log_likelihood(small["logits"], labels)
               - negative_log_likelihood(arrays["logits"], labels)) < 5e-5
    for measure in (calibration.expected_calibration_error, scores.brier_score):
        assert abs(measure(small["logits"], labels) - measure(arrays["logits"], labels)) < 3e-4
    assert abs(selective.aurc(small["logits"], labels) - selective.aurc(arrays["logits"], labels)) < 3e-4
    fits = [calibration.fit_temperature(each, labels).temperature for each in (small["logits"], arrays["logits"])]
    assert abs(fits[0] - fits[1]) < 1e-3


@pytest.mark.parametrize("k", [1, 4])
def test_the_largest_log_probabilities_are_the_network_s(tmp_path, arrays, k):
    small = _saved(tmp_path, arrays, (k, True))
    scores = log_softmax(arrays["logits"].astype(np.float64), axis=-1)
    assert np.array_equal(small["top_classes"][:, 0], np.argmax(arrays["logits"], axis=-1))
    top = np.sort(scores, axis=-1)[:, ::-1][:, :k]
    np.testing.assert_allclose(small["top_log_probabilities"], top, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(small["label_log_probability"], scores[np.arange(N), arrays["labels"]],
                               rtol=1e-3, atol=1e-6)
    place = int(np.argmin(abs(small["temperatures"] - 2)))
    temperature = small["temperatures"][place]
    scaled = small["label_log_probability"] / temperature - small["log_sum_exp"][:, place]
    exact = log_softmax(arrays["logits"] / np.float64(temperature), axis=-1)[np.arange(N), arrays["labels"]]
    assert abs(np.mean(scaled) - np.mean(exact)) < 1e-4
    np.testing.assert_allclose(small["log_sum_exp"][:, place], logsumexp(scores / temperature, axis=-1),
                               rtol=1e-3, atol=1e-3)


def test_the_budget_chooses_the_form(tmp_path, arrays):
    predicted = predictions.Predictions(arrays["logits"], np.zeros((N, D), np.float32), arrays["labels"],
                                        arrays["index"])
    for member in range(3):
        predictions.save(tmp_path / "run", "test", member, predicted, arrays, tuple(arrays["class_names"]))
    held = {}
    for budget in (3 * N * 2 * K, 3 * N * 2 * K - 1, 3 * N * 6, 1):
        written = compact.keep(tmp_path / "run", tmp_path / str(budget), budget)
        assert [path.name for path in written] == ["test-000.npz", "test-001.npz", "test-002.npz"]
        held[budget] = npz_map.read(written[0])
    sizes = [held[budget]["top_classes"].shape[1] if "top_classes" in held[budget] else None for budget in held]
    assert sizes == [None, 4, 1, 1] and "log_sum_exp" not in held[1]
    assert compact.keep(tmp_path, tmp_path / "none") == [] and not (tmp_path / "none").exists()


def test_numbers_beyond_half_precision_stay_whole(tmp_path, arrays):
    large = {**arrays, "logits": arrays["logits"] * 1e4}
    np.testing.assert_array_equal(_saved(tmp_path, large, None)["logits"], large["logits"])


def test_analyze_reads_what_is_kept(tmp_path, arrays):
    path = tmp_path / "small.npz"
    np.savez_compressed(path, **compact.reduced(arrays))
    found = {(record.study, record.quantity): record.mean for record in analyze.measure(path, tmp_path / "analysis")}
    assert found["accuracy", "accuracy"] == pytest.approx(accuracy(arrays["logits"], arrays["labels"]), abs=2 / N)


def test_a_file_of_another_kind_is_named(tmp_path):
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(UserError, match="other.npz holds no compact predictions: it has images"):
        compact.read(tmp_path / "other.npz")


def test_tokens_know_their_sentence():
    segments = np.array([[1, 1, 2, 0], [1, 2, 2, 3]], np.int32)
    tokens = Tokens(*[segments] * 6)
    split = TextSplit(tokens, np.ones((2, 4), np.int32))
    assert split.sentences(np.array([0, 1, 2, 4, 5, 6, 7])).tolist() == [0, 0, 1, 2, 3, 3, 4]
    assert split.sentences(np.array([5, 6])).tolist() == [0, 0]


def test_a_run_is_kept_with_its_predictions(tmp_path, arrays):
    run = tmp_path / "run"
    predicted = predictions.Predictions(arrays["logits"], None, arrays["labels"], arrays["index"])
    predictions.save(run, "test", 0, predicted, arrays, tuple(arrays["class_names"]))
    (run / "figures").mkdir()
    (run / "figures" / "projection.png").write_bytes(b"png")
    for name in ("config.json", "manifest.json"):
        (run / name).write_text("{}")
    (run / "results.json").write_text("[]")
    script = pathlib.Path(__file__).parents[2] / "results" / "keep.py"
    done = subprocess.run([sys.executable, script, run, tmp_path / "kept"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*")
                  if path.is_file()) == [
        "config.json", "figures/projection.png", "manifest.json", "predictions/test-000.npz", "results.json"]
    (run / "results.json").write_text(json.dumps([]).replace("[]", "{"))
    assert "results.json" in subprocess.run([sys.executable, script, run], capture_output=True, text=True).stderr
