"""The plane against independent derivations, and the closed forms against loops over all triples."""
import itertools

import numpy as np
import pytest

from ls_jax.studies import projection
from ls_jax.studies.common import crossed, records
from ls_jax.studies.projection import records as projection_records
from ls_jax.workdir import predictions
from ls_jax.workdir.predictions import Predictions

CLASSES = (4, 0, 2)


def network(seed=0, examples=60, dimensions=8, classes=6):
    """Random float32 features, labels and output layer, and the logits they give."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(examples, dimensions)).astype(np.float32)
    kernel = rng.normal(size=(dimensions, classes)).astype(np.float32)
    bias = rng.normal(size=classes).astype(np.float32)
    labels = np.arange(examples, dtype=np.int32) % classes
    features += kernel.T[labels]
    return {"features": features, "labels": labels, "kernel": kernel, "bias": bias, "logits": features @ kernel + bias}


def regular(classes=5, dimensions=9, scale=3.0, seed=1):
    """A collapsed regular configuration: activations are their templates, which are a simplex, somewhere in space."""
    rng = np.random.default_rng(seed)
    corners = np.eye(dimensions + 1)[:classes] - 1 / classes
    rotation = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
    kernel = (corners[:, :dimensions] @ rotation).T
    labels = np.arange(20) % classes
    return {"features": scale * kernel.T[labels], "labels": labels, "kernel": kernel, "bias": np.zeros(classes),
            "logits": scale * kernel.T[labels] @ kernel}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("with_bias", [True, False])
def test_basis_is_orthonormal_and_spans_the_differences(seed, with_bias):
    arrays = network(seed)
    bias = arrays["bias"] if with_bias else None
    plane = projection.template_plane(arrays["kernel"], bias, CLASSES)
    assert plane.shape == (8 + with_bias, 2)
    np.testing.assert_allclose(plane.T @ plane, np.eye(2), atol=1e-14)
    rows = projection.templates(arrays["kernel"], bias)
    for a, b in itertools.combinations(CLASSES, 2):
        difference = rows[a] - rows[b]
        np.testing.assert_allclose(plane @ (plane.T @ difference), difference, atol=1e-12)


@pytest.mark.parametrize("bend", [1e-2, 1e-4])
def test_basis_stays_orthonormal_for_templates_close_to_a_line(bend):
    kernel = np.asarray(network()["kernel"], np.float64)
    a, b, c = CLASSES
    kernel[:, a] = 0.3 * kernel[:, b] + 0.7 * kernel[:, c] + bend * kernel[:, 5]
    plane = projection.template_plane(kernel, None, CLASSES)
    np.testing.assert_allclose(plane.T @ plane, np.eye(2), atol=1e-12)
    difference = kernel[:, a] - kernel[:, b]
    np.testing.assert_allclose(plane @ (plane.T @ difference), difference, atol=1e-12)


@pytest.mark.parametrize("kind", ["line", "equal", "float32 line"])
def test_templates_on_a_line_are_refused(kind):
    kernel = np.asarray(network()["kernel"], np.float64)
    a, b, c = CLASSES
    line = 0.3 * kernel[:, b] + 0.7 * kernel[:, c]
    kernel[:, a] = {"line": line, "equal": kernel[:, b], "float32 line": line.astype(np.float32)}[kind]
    with pytest.raises(ValueError, match="classes 4, 0, 2 lie on a line"):
        projection.template_plane(kernel, None, CLASSES)


@pytest.mark.parametrize("classes", [(0, 1), (0, 1, 1), (0, 1, 6), (0, 1, -1)])
def test_what_is_no_triple_is_refused(classes):
    arrays = network()
    with pytest.raises(ValueError, match="three different ids from 0 to 5"):
        projection.template_plane(arrays["kernel"], arrays["bias"], classes)


def test_coordinates_are_scaled_logit_differences():
    arrays = network()
    top, left, right = CLASSES
    plane = projection.template_plane(arrays["kernel"], arrays["bias"], CLASSES)
    x, y = projection.project(arrays["features"], plane).T
    rows, logits = projection.templates(arrays["kernel"], arrays["bias"]), arrays["logits"].astype(np.float64)
    width = np.linalg.norm(rows[right] - rows[left])
    across = (logits[:, right] - logits[:, left]) / width
    np.testing.assert_allclose(x, across, atol=1e-5)
    middle = rows[top] - (rows[left] + rows[right]) / 2
    tilt = middle @ (rows[right] - rows[left]) / width
    up = logits[:, top] - (logits[:, left] + logits[:, right]) / 2 - tilt * across
    np.testing.assert_allclose(y, up / np.sqrt(middle @ middle - tilt ** 2), atol=1e-5)


def test_rotating_the_features_leaves_the_picture():
    arrays = network()
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))[0]
    picture = lambda features, kernel: projection.project(
        features, projection.template_plane(kernel, arrays["bias"], CLASSES))
    np.testing.assert_allclose(picture(arrays["features"] @ rotation, rotation.T @ arrays["kernel"]),
                               picture(arrays["features"], arrays["kernel"]), atol=1e-5)


@pytest.mark.parametrize("derivation", ["qr", "svd"])
def test_same_plane_as_another_derivation(derivation):
    arrays = network()
    rows = projection.templates(arrays["kernel"], arrays["bias"])[list(CLASSES)]
    if derivation == "qr":
        other = np.linalg.qr(np.stack([rows[1] - rows[0], rows[2] - rows[0]], axis=1))[0]
    else:
        other = np.linalg.svd(rows - rows.mean(axis=0))[2][:2].T
    plane = projection.template_plane(arrays["kernel"], arrays["bias"], CLASSES)
    np.testing.assert_allclose(plane @ plane.T, other @ other.T, atol=1e-12)  # a plane is its projector


def test_collapsed_regular_configuration_is_the_upright_triangle():
    arrays = regular()
    plane = projection.template_plane(arrays["kernel"], arrays["bias"], CLASSES)
    points = projection.project(arrays["features"], plane)
    top, left, right = (points[arrays["labels"] == k][0] for k in CLASSES)
    side = 3 * np.sqrt(2)
    np.testing.assert_allclose(top, [0, side / np.sqrt(3)], atol=1e-9)
    np.testing.assert_allclose(left, [-side / 2, -side / np.sqrt(12)], atol=1e-9)
    np.testing.assert_allclose(right, [side / 2, -side / np.sqrt(12)], atol=1e-9)


def test_projects_batches():
    arrays = network()
    plane = projection.template_plane(arrays["kernel"], arrays["bias"], CLASSES)
    np.testing.assert_allclose(projection.project(arrays["features"].reshape(5, 12, 8), plane).reshape(60, 2),
                               projection.project(arrays["features"], plane))


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_collapsed_regular_configuration_has_no_spread(classes):
    found = projection.numbers(regular(), classes)
    np.testing.assert_allclose([found["spread ratio"], found["centroid variation"], found["wrong-class spread"]], 0,
                               atol=1e-6)
    assert found["centroid distance"] == pytest.approx(3 * np.sqrt(2))


def by_definition(arrays, triples, points_of):
    """The quantities with every average written as a loop over triples."""
    within, between, variance, edge, wrong, gap = ([] for _ in range(6))
    rows = projection.templates(arrays["kernel"], arrays["bias"])
    inputs = np.concatenate([arrays["features"], np.ones((len(arrays["features"]), 1))], axis=1)
    for triple in triples:
        points = points_of(triple)
        of = {k: points[arrays["labels"] == k] for k in triple}
        within.append(np.mean([np.mean(np.sum((p - p.mean(axis=0)) ** 2, axis=1)) for p in of.values()]))
        edges = [np.linalg.norm(of[a].mean(axis=0) - of[b].mean(axis=0)) for a, b in itertools.combinations(triple, 2)]
        between.append(np.mean(np.square(edges)))
        variance.append(np.var(edges, ddof=1))
        edge.append(np.mean(edges))
        for own in triple:
            distances = np.sum((inputs[arrays["labels"] == own][:, None] - rows[list(triple)]) ** 2, axis=-1)
            right = distances[:, triple.index(own)]
            others = np.delete(distances, triple.index(own), axis=1)
            wrong.append(np.mean(np.var(others, axis=1, ddof=1)))
            gap.append(np.mean(others.mean(axis=1) - right))
    return {
        "spread ratio": np.sqrt(np.mean(within) / np.mean(between)),
        "centroid variation": np.sqrt(np.mean(variance)) / np.mean(edge),
        "wrong-class spread": np.sqrt(np.mean(wrong)) / np.mean(gap), "centroid distance": np.sqrt(np.mean(between))
    }


def on_plane(arrays, classes=None):
    found = projection.numbers(arrays, classes)
    return {quantity: found[quantity] for quantity in projection.QUANTITIES}


def test_numbers_of_a_triple_are_their_definitions():
    arrays = network()
    plane = projection.template_plane(arrays["kernel"], arrays["bias"], CLASSES)
    expected = by_definition(arrays, [CLASSES], lambda triple: projection.project(arrays["features"], plane))
    assert on_plane(arrays, CLASSES) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [dict(classes=3), dict(classes=6), dict(classes=9, dimensions=4)])
def test_closed_form_is_the_average_over_all_triples(size):
    arrays = network(2, examples=90, **size)
    kept = np.delete(np.arange(90), np.flatnonzero(arrays["labels"] == 1)[3:])  # classes of unequal size
    arrays = {**arrays, **{name: arrays[name][kept] for name in ("features", "labels", "logits")}}
    span = projection.template_span(arrays["kernel"], arrays["bias"])
    assert span.shape[1] == min(size["classes"] - 1, size.get("dimensions", 8) + 1)
    expected = by_definition(arrays, list(itertools.combinations(range(size["classes"]), 3)),
                             lambda triple: projection.project(arrays["features"], span))
    assert on_plane(arrays) == pytest.approx(expected, rel=1e-5)


def test_three_classes_have_one_triple():
    arrays = network(classes=3)
    assert projection.numbers(arrays) == pytest.approx(projection.numbers(arrays, (2, 0, 1)), rel=1e-9)


def test_all_triples_leave_out_classes_without_examples():
    arrays = network()
    kept = arrays["labels"] != 5
    arrays = {**arrays, **{name: arrays[name][kept] for name in ("features", "labels", "logits")}}
    span = projection.template_span(arrays["kernel"], arrays["bias"])
    expected = by_definition(arrays, list(itertools.combinations(range(5), 3)),
                             lambda triple: projection.project(arrays["features"], span))
    assert on_plane(arrays) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="; 5 classes have examples$"):
        projection.numbers(arrays, (0, 1, 5))


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_blocks_do_not_matter(classes, monkeypatch):
    arrays = network()
    whole = projection.numbers(arrays, classes)
    monkeypatch.setattr("ls_jax.studies.common.blocks.BLOCK", 56)  # 7 examples
    assert projection.numbers(arrays, classes) == pytest.approx(whole, rel=1e-12)


def test_numbers_do_not_depend_on_the_scale_of_activations():
    """The three ratios are those of the picture, whatever its size: here activations and logits are four times as
    large."""
    arrays = network()
    arrays["bias"][:] = 0
    arrays["kernel"] /= np.linalg.norm(arrays["kernel"], axis=0)
    small, large = ({**arrays, "features": s * arrays["features"], "logits": s * arrays["features"] @ arrays["kernel"]}
                    for s in (1, 4))
    small, large = projection.numbers(small), projection.numbers(large)
    for quantity in projection.QUANTITIES[:3]:
        assert large[quantity] == pytest.approx(small[quantity], rel=1e-5)
    assert large["centroid distance"] == pytest.approx(4 * small["centroid distance"], rel=1e-5)


def write_predictions(workdir, rows, names, leave_out=()):
    for member in range(len(rows)):
        for split in ("train", "test"):
            arrays = network(seed=10 * member + (split == "test"))
            if member not in leave_out:
                predicted = Predictions(arrays["logits"], arrays["features"], arrays["labels"],
                                        np.arange(60, dtype=np.int32))
                predictions.save(workdir, split, member, predicted, arrays, names)


ROWS = [{"alpha": alpha, "learning_rate": 0.1, "seed": seed} for alpha in (0.0, 0.1) for seed in (0, 1, 2)]
NAMES = tuple("abcdef")


def test_run_gives_records_by_split_smoothing_and_triple(tmp_path):
    write_predictions(tmp_path, ROWS, NAMES, leave_out=(1,))
    results = projection_records.run(tmp_path, ROWS, [CLASSES, (0, 1, 2)])
    means = records.select(results, kind="value")
    assert len(means) == 2 * 2 * 3 * len(projection.QUANTITIES + projection.IN_LOGITS)
    record, = [
        record for record in means if (record.split, record.hyper["alpha"], record.extra["classes"],
                                       record.quantity) == ("test", 0.0, ["e", "a", "c"], "spread ratio")
    ]
    assert record.seeds == [0, 2] and record.study == "projection" and record.hyper["learning_rate"] == 0.1
    assert record.values == [projection.numbers(network(seed), CLASSES)["spread ratio"] for seed in (1, 21)]
    differences = records.select(results, quantity="spread ratio", kind="difference", classes=projection.ALL,
                                 split="train")
    assert [record.seeds for record in differences] == [[0, 2]] and differences[0].baseline["alpha"] == 0.0


def test_run_leaves_out_what_cannot_be_measured(tmp_path):
    arrays = network()
    arrays["kernel"][:] = arrays["bias"][:] = 0
    predicted = Predictions(arrays["logits"] * 0, arrays["features"], arrays["labels"], np.arange(60))
    predictions.save(tmp_path, "test", 0, predicted, arrays, NAMES)
    record, = projection_records.run(tmp_path, ROWS[:1], [CLASSES])
    assert (record.quantity, record.extra["classes"], record.mean) == ("centroid distance", projection.ALL, 0.0)


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_measures_in_logits_are_the_networks_not_the_units_of_its_features(classes):
    """Features times 7 with the kernel over 7 predict the same. The other measures change by 1 % or more."""
    arrays = network()
    other = {**arrays, "features": 7 * arrays["features"].astype(float), "kernel": arrays["kernel"].astype(float) / 7}
    same, moved = projection.numbers(arrays, classes), projection.numbers(other, classes)
    for quantity in projection.IN_LOGITS:
        assert moved[quantity] == pytest.approx(same[quantity], rel=1e-6)
    for quantity in ("centroid variation", "wrong-class spread"):
        assert abs(moved[quantity] / same[quantity] - 1) > 0.01


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_measures_in_logits_as_they_are_written(classes):
    arrays = network(seed=3)
    triples = list(itertools.combinations(range(6), 3)) if classes is None else [classes]
    chosen = sorted({k for triple in triples for k in triple})
    logits = arrays["logits"].astype(float)[:, chosen]
    points = logits - logits.mean(axis=1, keepdims=True)
    centroids = {k: points[arrays["labels"] == k].mean(axis=0) for k in chosen}
    edges = np.array([[np.linalg.norm(centroids[a] - centroids[b]) for a, b in itertools.combinations(triple, 2)]
                      for triple in triples])
    found = projection.numbers(arrays, classes)
    assert found["logit centroid variation"] == pytest.approx(np.sqrt(np.var(edges, axis=1, ddof=1).mean())
                                                              / edges.mean(), rel=1e-5)
    within = np.mean([np.mean(np.sum((points[arrays["labels"] == k] - centroids[k])**2, axis=1)) for k in chosen])
    assert found["logit spread ratio"] == pytest.approx(np.sqrt(within / np.mean(edges**2)), rel=1e-5)
    variance, gap = [], []
    for k in chosen:
        of = logits[arrays["labels"] == k]
        wrong = np.delete(of, chosen.index(k), axis=1)
        variance.append(np.var(wrong, axis=1, ddof=1).mean())
        gap.append(np.mean(of[:, chosen.index(k)] - wrong.mean(axis=1)))
    assert found["logit wrong-class spread"] == pytest.approx(np.sqrt(np.mean(variance)) / np.mean(gap), rel=1e-5)


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_without_each_group_they_are_the_numbers_of_the_other_examples(classes):
    arrays = network(examples=240)
    group, found = crossed.groups(np.arange(240)), projection.samples(arrays, classes)
    for left_out in (0, 3, 19):
        rest = {**arrays, **{name: arrays[name][group != left_out] for name in ("features", "logits", "labels")}}
        # the plane is the network's, not the examples'
        assert {name: of.deleted[left_out] for name, of in found.items()} == pytest.approx(
            projection.numbers(rest, classes))
    assert all(of.examples == 240 and len(of.deleted) == 20 for of in found.values())


def test_held_out_numbers_have_intervals_for_new_examples_and_training_ones_have_not(tmp_path):
    rows = [{"alpha": alpha, "seed": seed} for alpha in (0.0, 0.1) for seed in range(3)]
    for split in ("train", "test"):
        for member in range(6):
            arrays = network(seed=member, examples=240)
            predicted = Predictions(arrays["logits"], arrays["features"], arrays["labels"], np.arange(240))
            predictions.save(tmp_path, split, member, predicted, arrays, NAMES)
    found = projection_records.run(tmp_path, rows, [CLASSES])
    assert {record.covers for record in records.select(found, split="test")} == {records.BOTH}
    assert {record.covers for record in records.select(found, split="train")} == {None, records.SEEDS}
