"""Representation measures against direct computation over all pairs of examples, and on a constructed simplex."""
import math
import tracemalloc

import numpy as np
import pytest
from scipy.spatial import distance
from scipy.special import softmax

from ls_jax.studies import representation
from ls_jax.studies.common import class_statistics
from ls_jax.studies.representation import neural_collapse
from ls_jax.workdir import npz_map


def network(examples=120, classes=5, dimensions=7, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(dimensions, classes)).astype(np.float32)
    frequency = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()
    labels = np.concatenate([np.arange(classes), rng.choice(classes, examples - classes, p=frequency)])
    features = (0.05 + np.maximum(kernel.T[labels] + noise * rng.normal(size=(examples, dimensions)), 0)).astype(
        np.float32)
    return {
        "logits": features @ kernel, "labels": labels, "features": features, "kernel": kernel,
        "bias": np.zeros(classes, np.float32)
    }


def simplex(classes=6, dimensions=9, each=4, scale=3.0, shift=2.0):
    """Features collapsed to a regular simplex about any point, and the classifier that is its dual."""
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(dimensions, dimensions)))
    corners = (np.eye(classes) - 1 / classes) @ rotation[:classes]
    labels = np.tile(np.arange(classes), each)
    features = scale * corners[labels] + shift
    kernel = 0.7 * corners.T
    bias = -shift * kernel.sum(axis=0)
    return {"logits": features @ kernel + bias, "labels": labels, "features": features, "kernel": kernel, "bias": bias}


@pytest.fixture(params=[None, 21, 64], ids=["whole", "rows by threes", "blocks"])
def arrays(request, monkeypatch):
    if request.param:
        monkeypatch.setattr("ls_jax.studies.common.blocks.BLOCK", request.param)
    return network()


def grouped(arrays):
    return [arrays["features"][arrays["labels"] == k].astype(np.float64) for k in np.unique(arrays["labels"])]


def test_statistics_are_those_of_the_whole_array(arrays):
    statistics, groups = class_statistics.of_features(arrays["features"], arrays["labels"]), grouped(arrays)
    np.testing.assert_allclose(statistics.means, [group.mean(axis=0) for group in groups], atol=1e-12)
    np.testing.assert_allclose(statistics.within, np.mean([np.cov(group.T, bias=True) for group in groups], axis=0),
                               atol=1e-12)
    assert statistics.count.tolist() == [len(group) for group in groups]


def test_neural_collapse_is_the_dense_computation(arrays):
    found, groups = representation.measure_all(arrays), grouped(arrays)
    means = np.stack([group.mean(axis=0) for group in groups])
    centred = means - means.mean(axis=0)
    within = np.mean([(group - mean).T @ (group - mean) / len(group) for group, mean in zip(groups, means)], axis=0)
    between = sum(np.outer(row, row) for row in centred) / len(groups)
    assert found["nc1"] == pytest.approx(np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / len(groups))
    weights = arrays["kernel"].T.astype(np.float64)
    for name, vectors in (("nc2", centred), ("nc2 weight", weights)):
        norms = [np.linalg.norm(vector) for vector in vectors]
        cosines = [vectors[a] @ vectors[b] / norms[a] / norms[b] for a in range(5) for b in range(a)]
        assert found[f"{name} norms"] == pytest.approx(np.std(norms) / np.mean(norms))
        assert found[f"{name} angles"] == pytest.approx(np.std(cosines))
        assert found[f"{name} simplex"] == pytest.approx(np.mean([abs(cosine + 1 / 4) for cosine in cosines]))
    logits = weights @ centred.T
    target = (np.eye(5) - np.ones((5, 5)) / 5) / 2
    assert found["nc2 logits"] == pytest.approx(np.linalg.norm(logits / np.linalg.norm(logits) - target))
    assert found["nc3"] == pytest.approx(
        np.linalg.norm(weights / np.linalg.norm(weights) - centred / np.linalg.norm(centred)))
    nearest = np.argmin(distance.cdist(arrays["features"], means), axis=1)
    assert found["nc4"] == pytest.approx(np.mean(nearest != arrays["logits"].argmax(axis=1)))


def test_separation_is_that_of_all_pairs(arrays):
    groups = grouped(arrays)
    mean_distance = lambda a, b: np.mean(distance.cdist(a, b, "cosine"))
    within = np.mean([mean_distance(group, group) for group in groups])
    total = np.mean([[mean_distance(a, b) for a in groups] for b in groups])
    assert representation.measure_all(arrays)["class separation"] == pytest.approx(1 - within / total)


def test_a_feature_vector_of_zeros_is_at_distance_1_from_all():
    features, labels = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [0.0, 3.0]]), np.array([0, 0, 1, 1])
    separation = representation.class_separation(class_statistics.of_features(features, labels))
    within, total = np.mean([3 / 4, 0]), np.mean([[3 / 4, 1], [1, 0]])
    assert separation == pytest.approx(1 - within / total)


def test_stability_is_shens(arrays):
    probabilities, labels = softmax(arrays["logits"].astype(np.float64), axis=1), arrays["labels"]
    spread = [
        np.mean([np.sum((p - probabilities[labels == k].mean(axis=0))**2) for p in probabilities[labels == k]])
        for k in range(5)
    ]
    assert representation.measure_all(arrays)["stability"] == pytest.approx(1 - np.mean(spread))


def test_rank_within_classes_is_that_of_the_weighted_differences(arrays):
    differences = np.concatenate([(group - group.mean(axis=0)) / math.sqrt(len(group)) for group in grouped(arrays)])
    sizes = np.linalg.svd(differences, compute_uv=False)
    expected = math.exp(-sum(s / sizes.sum() * math.log(s / sizes.sum()) for s in sizes))
    assert representation.measure_all(arrays)["rank within classes"] == pytest.approx(expected)


def test_effective_rank_of_known_matrices():
    assert representation.effective_rank(np.eye(7)) == pytest.approx(7)
    assert representation.effective_rank(np.outer([1.0, 2.0], [3.0, 4.0, 5.0])) == pytest.approx(1)
    assert math.isnan(representation.effective_rank(np.zeros((3, 3))))


@pytest.mark.parametrize("scale, shift", [(3.0, 2.0), (1e-3, 0.0), (100.0, 50.0)])
def test_a_simplex_is_collapsed(scale, shift):
    arrays = simplex(scale=scale, shift=shift)
    found = representation.measure_all(arrays)
    for name, value in found.items():
        if name.startswith("nc"):
            assert value == pytest.approx(0, abs=1e-9), name
    assert found["rank of class means"] == pytest.approx(5)
    assert found["stability"] == pytest.approx(1) and len([name for name in found if name.startswith("nc")]) == 10
    if shift == 0:
        assert found["class separation"] == pytest.approx(1)


def test_noise_leaves_collapse_and_lowers_separation():
    found = [representation.measure_all(network(examples=1000, noise=noise)) for noise in (0.1, 1.0)]
    for name in ("nc1", "nc4", "class separation", "stability"):
        lower, higher = (found[::-1] if name in ("class separation", "stability") else found)
        assert lower[name] < higher[name], name


def test_a_small_spread_about_large_means_is_measured():
    arrays = simplex(each=50, shift=1e4)
    arrays["features"] = arrays["features"] + 1e-6 * np.random.default_rng(0).normal(size=arrays["features"].shape)
    expected = 1e-12 * 5 / 9  # Σ_W = 1e-12 I, and Σ_B has K - 1 eigenvalues scale²/K: (K-1) 1e-12 K / scale² / K
    assert representation.measure_all(arrays)["nc1"] == pytest.approx(expected, rel=0.15)


def test_linear_cka_is_that_of_the_kernels(arrays):
    x, y = arrays["features"].astype(np.float64), network(dimensions=4, seed=2)["features"].astype(np.float64)
    centring = np.eye(len(x)) - 1 / len(x)
    own, other = (centring @ each @ each.T @ centring for each in (x, y))
    expected = np.sum(own * other) / np.linalg.norm(own) / np.linalg.norm(other)
    assert representation.linear_cka(x, y) == pytest.approx(expected)
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(7, 7)))
    assert representation.linear_cka(x, 3 * x @ rotation + 5) == pytest.approx(1)
    with pytest.raises(ValueError, match="120 and 119 examples"):
        representation.linear_cka(x, y[1:])


def test_classes_without_examples_are_left_out():
    arrays = network(classes=5)
    kept = arrays["labels"] != 2
    some = {**arrays, **{name: arrays[name][kept] for name in ("logits", "labels", "features")}}
    columns = [0, 1, 3, 4]
    fewer = {
        "logits": some["logits"][:, columns], "labels": np.searchsorted(columns, some["labels"]),
        "features": some["features"], "kernel": arrays["kernel"][:, columns]
    }
    found, expected = representation.measure_all(some), representation.measure_all(fewer)
    assert {name: value for name, value in found.items() if name != "stability"} == pytest.approx(
        {name: value for name, value in expected.items() if name != "stability"})


def test_what_cannot_be_measured_is_left_out():
    arrays = network()
    assert set(representation.measure_all({name: arrays[name] for name in ("logits", "labels")})) == {"stability"}
    without = representation.measure_all({name: arrays[name] for name in ("logits", "labels", "features")})
    assert "nc1" in without and not {"nc3", "nc2 logits", "nc2 weight norms"} & set(without)
    constant = {**arrays, "features": np.ones_like(arrays["features"])}
    assert not [name for name in representation.measure_all(constant) if name.startswith("nc")]
    with pytest.raises(ValueError, match="two classes with different means"):
        neural_collapse.measure(constant, class_statistics.of_features(constant["features"], constant["labels"]))


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("ls_jax.studies.common.blocks.BLOCK", 1 << 14)
    arrays = network(examples=20_000, classes=20, dimensions=24)
    np.savez(tmp_path / "net.npz", **arrays)
    size, expected = arrays["features"].nbytes + arrays["logits"].nbytes, representation.measure_all(arrays)
    mapped = npz_map.open_npz(tmp_path / "net.npz", tmp_path)
    mapped = {name: array if name in ("features", "logits") else np.asarray(array) for name, array in mapped.items()}
    del arrays
    tracemalloc.start()
    found = representation.measure_all(mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == pytest.approx(expected) and peak < size / 2
