"""A foreign network's arrays: the same numbers as an experiment's, one clear line for each mistake, and bounded
memory."""
import base64
import json
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from ls_jax.errors import UserError
from ls_jax.modes import analyze
from ls_jax.studies import accuracy, calibration, projection
from ls_jax.studies.common import records as study_records
from ls_jax.studies.common import streaming
from ls_jax.studies.projection import explorer
from ls_jax.workdir import lock, npz_map, predictions


def network(examples=200, classes=5, dimensions=7):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(dimensions, classes)).astype(np.float32)
    labels = rng.integers(0, classes, examples)
    features = (kernel.T[labels] + rng.normal(size=(examples, dimensions))).astype(np.float32)
    bias = rng.normal(size=classes).astype(np.float32)
    return {"logits": features @ kernel + bias, "labels": labels, "features": features, "kernel": kernel, "bias": bias}


def test_analysis_of_a_file(tmp_path):
    arrays = network()
    np.savez(tmp_path / "net.npz", **arrays)
    page = analyze.run(tmp_path / "net.npz", tmp_path / "out")
    records = study_records.read(tmp_path / "out")
    found = {(r.study, r.quantity, str(r.get("classes"))): r.mean for r in records}
    assert found["accuracy", "accuracy", "None"] == pytest.approx(accuracy.accuracy(arrays["logits"], arrays["labels"]))
    assert found["accuracy", "nll",
                 "None"] == pytest.approx(accuracy.negative_log_likelihood(arrays["logits"], arrays["labels"]))
    for quantity, value in projection.numbers(arrays).items():
        assert found["projection", quantity, projection.ALL] == pytest.approx(value)
    for quantity, value in projection.numbers(arrays, (0, 1, 2)).items():
        assert found["projection", quantity, "['class 0', 'class 1', 'class 2']"] == pytest.approx(value)
    assert found["calibration", "ece", "None"] == pytest.approx(
        calibration.expected_calibration_error(arrays["logits"], arrays["labels"]))
    text = page.read_text()
    assert "Calibration, test split" in text and "as given" in text
    assert (tmp_path / "out" / "figures" / "reliability_test.png").exists()
    assert "net.npz</h2>" in text and "200 examples of 5 classes" in text
    assert "Explore the projection" in text and "Figure 1" in text
    assert json.loads((tmp_path / "out" / "analysis.json").read_text())["arrays"]["kernel"] == [7, 5]
    assert not list((tmp_path / "out").glob(".unpacked*"))


def test_logits_and_labels_are_enough_for_accuracy(tmp_path):
    arrays = network()
    np.savez_compressed(tmp_path / "net.npz", logits=arrays["logits"], labels=arrays["labels"])
    text = analyze.run(tmp_path / "net.npz", tmp_path / "out").read_text()
    records = study_records.read(tmp_path / "out")
    assert {record.study for record in records} == {"accuracy", "calibration", "classes", "recalibration", "selective",
                                                    "amplification", "representation"}
    assert not any(record.hyper for record in records)
    assert "the file does not have" in text and "Explore the projection" not in text


def test_an_experiments_predictions_can_be_analyzed(tmp_path):
    arrays = network()
    np.savez(tmp_path / "net.npz", **arrays, index=np.arange(200) + 7, class_names=np.asarray(list("abcde")))
    analyze.run(tmp_path / "net.npz", tmp_path / "out")
    kept = predictions.load(tmp_path / "out", "test", 0)
    assert list(kept["index"]) == list(range(7, 207)) and list(kept["class_names"]) == list("abcde")
    np.testing.assert_array_equal(kept["logits"], arrays["logits"])


def test_keeps_evenly_spaced_examples_of_each_class(tmp_path, monkeypatch):
    monkeypatch.setattr(analyze, "KEPT", 20)
    monkeypatch.setattr(analyze, "KEPT_OF_A_TRIPLE", 10)
    arrays = analyze.check(network())
    analyze._keep(arrays, [(0, 2, 4)], tmp_path)
    kept = predictions.load(tmp_path, "test", 0)
    assert np.bincount(kept["labels"]).tolist() == [10, 4, 10, 4, 10]
    np.testing.assert_array_equal(kept["features"], arrays["features"][kept["index"]])


def spoil(arrays, name, where, value):
    arrays = {key: array.copy() for key, array in arrays.items()}
    arrays[name][where] = value
    return arrays


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


PROBABILITIES = np.exp(network()["logits"]) / np.exp(network()["logits"]).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("change, message", [
    (lambda a: spoil(a, "logits", (17, 3), np.nan), r"logits\[17, 3\] is nan: every number must be finite"),
    (lambda a: spoil(a, "features", (19, 2), np.inf), r"features\[19, 2\] is inf"),
    (lambda a: spoil(a, "kernel", (1, 2), np.nan), r"kernel\[1, 2\] is nan"),
    (lambda a: spoil(a, "bias", 4, -np.inf), r"bias\[4\] is -inf"),
    (lambda a: spoil(a, "labels", 11, 5), r"labels\[11\] is 5: labels must be from 0 to 4"),
    (lambda a: spoil(a, "labels", 12, -1), r"labels\[12\] is -1"),
    (lambda a: {**a, "labels": a["labels"] + 1}, r"is 5: .*do they count from 1\?"),
    (lambda a: {**a, "labels": a["labels"].astype(np.float32)}, "labels has dtype float32: integers are due"),
    (lambda a: {**a, "labels": a["labels"][:-1]}, r"labels has shape \(199,\), but \(200,\) goes with logits .* "
                                                  r"\(200, 5\)"),
    (lambda a: {**a, "logits": a["logits"][0]}, r"logits has shape \(5,\): it must be \[examples, classes\]"),
    (lambda a: {**a, "logits": a["logits"].astype(np.int32)}, "logits has dtype int32: float32 is due"),
    (lambda a: {**a, "features": a["features"][:9]}, r"features has shape \(9, 7\), but \(200, 7\) goes with"),
    (lambda a: {**a, "features": a["features"][:, None]}, r"features has shape \(200, 1, 7\): .*flattened"),
    (lambda a: {**a, "kernel": a["kernel"].T}, r"kernel has shape \(5, 7\), but \(7, 5\) goes .*kernel = weight.T"),
    (lambda a: {**a, "logits": PROBABILITIES}, r"logits\[0\] is not negative and sums to 1, .*before the softmax"),
    (lambda a: {"logits": PROBABILITIES, "labels": a["labels"]}, r"logits\[0\] is not negative and sums to 1"),
    (lambda a: {**a, "features": 2 * a["features"]}, r"logits\[0\] differs from features @ kernel \+ bias by"),
    (lambda a: without(a, "bias"), r"logits\[0\] differs from features @ kernel"),
    (lambda a: without(a, "labels"), "holds no array 'labels', only 'logits', 'features'"),
    (lambda a: {**a, "class_names": np.asarray(["a"])}, r"class_names has shape \(1,\), but \(5,\) goes"),
])
def test_each_mistake_has_its_line(change, message):
    with pytest.raises(UserError, match=message):
        analyze.check(change(network()))


def test_an_array_of_a_similar_name_is_told_and_not_read(capsys):
    """So is a scalar, such as the network's alpha, but in silence."""
    arrays = network()
    arrays["feature"], arrays["alpha"], arrays["index_"] = arrays.pop("features"), np.array(0.1), np.array(3)
    assert "features" not in analyze.check(arrays)
    assert capsys.readouterr().err == "the array 'feature' is not read (did you mean 'features'?)\n"


def test_bad_numbers_are_found_in_any_block(monkeypatch):
    monkeypatch.setattr("ls_jax.studies.common.blocks.BLOCK", 70)
    with pytest.raises(UserError, match=r"logits\[199, 4\] is nan"):
        analyze.check(spoil(network(), "logits", (199, 4), np.nan))
    wrong = network()
    wrong["features"][150:] += 1
    with pytest.raises(UserError, match=r"logits\[1\d\d\] differs from features"):
        analyze.check(wrong)


def test_half_precision_is_taken():
    arrays = {name: array.astype(np.float16) if array.dtype == np.float32 else array
              for name, array in network().items()}
    assert analyze.check(arrays)["class_names"][4] == "class 4"


def test_refuses_a_workdir_that_holds_an_experiment(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds an experiment: choose another --workdir"):
        analyze.run(tmp_path / "net.npz", tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch, save):
    monkeypatch.setattr("ls_jax.studies.common.blocks.BLOCK", 1 << 16)
    monkeypatch.setattr(streaming, "BLOCK", 1 << 15)
    # many classes: intervals keep some numbers of each example, but none of each example and class
    arrays = network(examples=15_000, classes=400, dimensions=16)
    size = sum(array.nbytes for array in arrays.values())
    save(tmp_path / "net.npz", **arrays)
    triples = [(0, 1, 2)]
    expected = projection.numbers(arrays)
    del arrays
    (tmp_path / "scratch").mkdir()
    tracemalloc.start()
    records = analyze.study(analyze.check(npz_map.open_npz(tmp_path / "net.npz", tmp_path / "scratch")), triples)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 4
    assert {r.quantity: r.mean for r in records if r.get("classes") == projection.ALL} == pytest.approx(expected)


# Odd types and values

@pytest.mark.parametrize("dtype", ["i1", "u1", ">i2", "u4", "u8", ">u8"])
def test_labels_of_every_type_give_the_same_records(tmp_path, dtype):
    arrays = network(examples=300, classes=100)
    np.savez(tmp_path / "net.npz", **arrays)
    index = np.arange(300).astype("u2" if "1" in dtype else dtype)
    np.savez(tmp_path / "odd.npz", **{**arrays, "labels": arrays["labels"].astype(dtype)}, index=index)
    assert analyze.measure(tmp_path / "odd.npz", tmp_path / "b") == analyze.measure(tmp_path / "net.npz",
                                                                                    tmp_path / "a")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, ">f4", ">f8", np.float64])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_floats_of_every_type_are_those_of_float32(tmp_path, dtype, save):
    """Also in the explorer, whose confidences were all 0 for half precision."""
    arrays = network()
    arrays["features"], arrays["kernel"] = np.round(4 * arrays["features"]), np.round(4 * arrays["kernel"]) / 32
    arrays["logits"] = np.round(arrays["features"] @ arrays["kernel"])
    arrays["bias"] = np.zeros(5, np.float32)
    arrays["logits"] = (arrays["features"] @ arrays["kernel"]).astype(dtype).astype(np.float32)
    odd = {name: array if name == "labels" else array.astype(dtype) for name, array in arrays.items()}
    save(tmp_path / "odd.npz", **odd)
    np.savez(tmp_path / "net.npz", **arrays)
    found = {name: {(r.study, r.quantity, str(r.get("classes")), str(r.get("fitted_on")),
                     str(r.get("criterion"))): r.mean
                    for r in analyze.measure(tmp_path / f"{name}.npz", tmp_path / name)} for name in ("odd", "net")}
    assert found["odd"] == pytest.approx(found["net"], rel=1e-5)
    seen = [explorer.data(tmp_path / name, [{"alpha": 0.0, "seed": 0}], [(0, 1, 2)]) for name in ("odd", "net")]
    confidence = [np.frombuffer(base64.b64decode(each["members"][0]["splits"]["test"]["confidence"]), "<u2")
                  for each in seen]
    np.testing.assert_allclose(*confidence, atol=1)
    assert confidence[0].min() > 65535 / 6


def test_class_names_are_strings_or_bytes(tmp_path):
    arrays = network()
    np.savez(tmp_path / "net.npz", **arrays, class_names=np.array([b"cat", b"dog", b"Fuchs", "Käfer".encode(), b"ant"]))
    analyze.run(tmp_path / "net.npz", tmp_path / "out")
    assert list(predictions.load(tmp_path / "out", "test", 0)["class_names"]) == ["cat", "dog", "Fuchs", "Käfer", "ant"]


@pytest.mark.parametrize("change, message", [
    (lambda a: {**a, "class_names": np.array([b"\xff"] * 5)}, "class_names holds bytes that are not UTF-8"),
    (lambda a: {**a, "class_names": np.ones(5)}, r"class_names is float64 \(5,\); it must be strings"),
    (lambda a: {**a, "logits": a["logits"].astype(complex)}, "logits has dtype complex128: float32 is due"),
    (lambda a: {**a, "features": a["features"].astype(complex)}, "features has dtype complex128"),
    (lambda a: {**a, "kernel": a["kernel"] > 0}, "kernel has dtype bool"),
    (lambda a: {**a, "labels": a["labels"] > 2}, "labels has dtype bool: integers are due"),
    (lambda a: {**a, "labels": np.full(200, 2**63, np.uint64)}, "labels holds 9223372036854775808, more than int64"),
    (lambda a: {**a, "labels": np.asarray(1)}, r"labels has shape \(\)"),
    (lambda a: {**a, "logits": np.asarray(1.0)}, r"logits has shape \(\)"),
    (lambda a: {**a, "index": np.arange(200.0)}, "index has dtype float64"),
    (lambda a: spoil({**a, "logits": a["logits"].astype(float)}, "logits", (3, 1), 1e200),
     r"logits\[3, 1\] is 1e\+200: .* at most 3.4e\+38"),
    (lambda a: spoil({"logits": a["logits"], "labels": a["labels"]}, "logits", (3, 1), np.inf),
     r"logits\[3, 1\] is inf"),
    (lambda a: spoil(a, "logits", (3, 1), -np.inf), r"logits\[3, 1\] is -inf: every number must be finite"),
    (lambda a: spoil({"logits": a["logits"], "labels": np.zeros(200, int)}, "logits", (3, 0), -np.inf),
     r"logits\[3, 0\] is -inf, which means that the class does not exist for that example, but it is its label"),
])
def test_each_odd_array_has_its_line(change, message):
    with pytest.raises(UserError, match=message) as error:
        analyze.check(change(network()))
    assert "\n" not in str(error.value)


def test_the_largest_finite_logits_have_a_report(tmp_path):
    arrays = network(classes=3)
    logits = np.where(np.eye(3)[arrays["labels"]] > 0, 3e38, -3e38).astype(np.float32)
    np.savez(tmp_path / "net.npz", logits=logits[:, [0, 2, 1]], labels=arrays["labels"])
    assert analyze.run(tmp_path / "net.npz", tmp_path / "out").exists()
    found = {record.quantity: record.mean for record in study_records.read(tmp_path / "out")}
    wrong = np.mean(arrays["labels"] != 0)
    assert found["nll"] == pytest.approx(6e38 * wrong, rel=1e-5) and found["accuracy"] == pytest.approx(1 - wrong)
    assert all(np.isfinite(value) for value in found.values())


def test_a_class_that_does_not_exist_is_taken(tmp_path):
    """Of logits alone: its column leaves what is said of predictions and likelihoods as it was."""
    arrays = network()
    np.savez(tmp_path / "net.npz", logits=arrays["logits"], labels=arrays["labels"])
    np.savez(tmp_path / "more.npz", logits=np.insert(arrays["logits"], 5, -np.inf, axis=1), labels=arrays["labels"])
    records = [{(r.quantity, r.get("fitted_on"), r.get("criterion")): r.mean
                for r in study_records.read(tmp_path / name) if r.study != "recalibration"}  # it needs finite logits
               for name in ("net", "more") if analyze.run(tmp_path / f"{name}.npz", tmp_path / name)]
    for (quantity, *which), value in records[0].items():
        if quantity != "classwise ece":
            assert records[1][quantity, *which] == pytest.approx(value, rel=1e-5), quantity


def test_a_damaged_file_leaves_no_report(tmp_path):
    np.savez(tmp_path / "net.npz", **network())
    content = bytearray((tmp_path / "net.npz").read_bytes())
    content[1000] ^= 0x40
    (tmp_path / "net.npz").write_bytes(content)
    with pytest.raises(UserError, match="net.npz is no npz file that can be read .array 'logits' is damaged: Bad "
                                        "CRC-32"):
        analyze.run(tmp_path / "net.npz", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [lock.FILE]


# Predictions that a workdir holds

@pytest.fixture
def workdir(tmp_path):
    np.savez(tmp_path / "net.npz", **network())
    analyze.run(tmp_path / "net.npz", tmp_path / "out")
    return tmp_path / "out"


READERS = [lambda out: predictions.load(out, "test", 0), lambda out: predictions.mapped(out, "test", 0),
           lambda out: predictions.shown(out, "test", 0), lambda out: predictions.features(out, "test", 0),
           lambda out: list(predictions.every(out, 1))]


@pytest.mark.parametrize("read", READERS)
def test_damaged_predictions_are_told(workdir, read):
    file = predictions.file(workdir, "test", 0)
    read(workdir)
    content = file.read_bytes()
    for position in (1000, len(content) // 2, len(content) - 10):
        changed = bytearray(content)
        changed[position] ^= 0x40
        file.write_bytes(changed)
        with pytest.raises(UserError, match="test-000.npz"):
            read(workdir)
    file.write_bytes(content[:-100])
    with pytest.raises(UserError, match="test-000.npz"):
        read(workdir)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("change, message", [
    (lambda a: spoil(a, "logits", (7, 2), np.nan), r"logits\[7, 2\] is nan"),
    (lambda a: spoil(a, "features", (9, 1), -np.inf), r"features\[9, 1\] is -inf"),
    (lambda a: spoil(a, "kernel", (1, 1), np.inf), r"kernel\[1, 1\] is inf"),
    (lambda a: spoil(a, "labels", 3, 5), "labels must be in 0..4, found 5"),
    (lambda a: {**a, "labels": a["labels"][:-1]}, r"labels have shape \(199,\)"),
    (lambda a: without(a, "index"), "the array 'index' is missing"),
    (lambda a: {**a, "logits": a["logits"].astype(complex)}, "logits has dtype complex"),
])
def test_predictions_that_are_not_what_they_should_be_are_told(workdir, read, change, message):
    file = predictions.file(workdir, "test", 0)
    np.savez(file, **change(predictions.load(workdir, "test", 0)))
    with pytest.raises(UserError, match=f"test-000.npz: .*{message}.*--mode=study predicts again"):
        read(workdir)
