"""Label noise, linear probes and the tasks they are for."""
import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax import data
from ls_jax.data import noise
from ls_jax.errors import UserError
from ls_jax.modes import experiment
from ls_jax.studies.common import records
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.transfer import collect as transfer
from ls_jax.studies.transfer import measure as probe
from ls_jax.training import loop

REASON = "compares with a library of the extra: pip install -e '.[peers]'"


def test_symmetric_noise_has_its_rate_and_spares_no_class():
    labels = np.arange(50_000, dtype=np.int32) % 5
    noisy = noise.symmetric(labels, 0.4, 5)
    table = np.histogram2d(labels, noisy, (5, 5))[0] / 10_000
    np.testing.assert_allclose(table, 0.1 + 0.5 * np.eye(5), atol=0.015)
    more = noise.symmetric(labels, 0.6, 5)
    wrong = noisy != labels
    assert (more[wrong] == noisy[wrong]).all() and np.mean(more != labels) == pytest.approx(0.6, abs=0.01)
    assert (noise.symmetric(labels, 0.0, 5) == labels).all()


def test_only_training_labels_are_made_wrong(tiny):
    clean, tiny.data.label_noise = data.load(tiny.data), 0.3
    tiny.data.holdout = 100
    noisy = data.load(tiny.data)
    tiny.data.label_noise = None
    right = data.load(tiny.data)
    assert noisy.changed_labels == np.sum(noisy.splits["train"].labels != right.splits["train"].labels)
    assert noisy.changed_labels / 1197 == pytest.approx(0.3,
                                                        abs=0.05) and right.changed_labels == clean.changed_labels == 0
    for split in ("validation", "test"):
        np.testing.assert_array_equal(noisy.splits[split].labels, right.splits[split].labels)
    np.testing.assert_array_equal(noisy.splits["train"].images, right.splits["train"].images)
    tiny.data.label_noise = 1.0
    with pytest.raises(UserError, match=r"label_noise=1.0 must be None, or lie in \[0, 1\)"):
        configs.validate(tiny)


def blobs(examples=300, classes=4, dimensions=6, scale=1.0):
    rng = np.random.default_rng(0)
    centres = np.random.default_rng(1).normal(size=(classes, dimensions))
    labels = rng.integers(classes, size=examples)
    return (scale * (centres[labels] + rng.normal(size=(examples, dimensions))) + 3).astype(np.float32), labels


@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
def test_the_probe_is_scikit_learns(penalty):
    linear = pytest.importorskip("sklearn.linear_model", reason=REASON)
    features, labels = blobs()
    found = probe.fit_one(features, labels, 4, penalty)
    scaled = (features.astype(np.float64) - found.mean) / found.scale
    expected = linear.LogisticRegression(C=1 / (penalty * len(labels)), tol=1e-8, max_iter=10_000).fit(scaled, labels)
    np.testing.assert_allclose(found.kernel, expected.coef_.T, atol=2e-3 * np.abs(expected.coef_).max())
    assert found.accuracy(features, labels) == pytest.approx(expected.score(scaled, labels), abs=0.005)


def test_probe_ignores_scale_and_learns():
    features, labels = blobs()
    found, small = probe.fit(features, labels, 4), probe.fit(*blobs(scale=1e-4), 4)
    assert found.penalty == small.penalty and found.accuracy(features, labels) > 0.6
    assert small.accuracy(*blobs(scale=1e-4)) == pytest.approx(found.accuracy(features, labels), abs=0.01)
    with pytest.raises(ValueError, match="10 examples or more, not 4"):
        probe.fit(features[:4], labels[:4], 4)


def test_probe_penalty_is_chosen_where_it_matters():
    """Of 200 features two say the class: a weak penalty learns the rest by heart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=150)
    features = rng.normal(size=(150, 200)) + 2.0 * (np.arange(200) < 2) * (2 * labels[:, None] - 1)
    assert probe.fit(features, labels, 2).penalty > probe.PENALTIES[-1]


def other_digits(tmp_path, size=8):
    """The digits as another data set: is it 5 or more?"""
    digits = data.load(configs.default().data)
    arrays = {f"{name}_{what}": value for name, split in digits.splits.items()
              for what, value in (("images", split.images[:, :size, :size]), ("labels", split.labels // 5))}
    np.savez(tmp_path / "halves.npz", **arrays)
    return f"npz:{tmp_path / 'halves.npz'}"


def test_probes_of_a_run(tiny, tmp_path):
    tiny.steps, tiny.data.label_noise = 60, 0.2
    tiny.transfer.update(data=(other_digits(tmp_path),), examples=400)
    experiment.run(tiny, tmp_path / "run")
    results = records.read(tmp_path / "run")
    found = records.select(results, study="transfer", quantity="probe accuracy", kind="value")
    assert [record.hyper["alpha"] for record in found] == [0.0, 0.1] and all(0.7 < record.mean <= 1 for record in found)
    assert {record.extra["probe_examples"] for record in found} == {400}
    assert records.select(results, quantity="probe accuracy", kind="difference")
    changed, = records.select(results, quantity="changed labels")
    assert changed.mean == data.load(tiny.data).changed_labels and changed.extra["rate"] == 0.2


def test_tasks_that_do_not_fit(tiny, tmp_path):
    dataset = data.load(tiny.data)
    tiny.transfer.data = (other_digits(tmp_path, size=6),)
    with pytest.raises(UserError, match=r"images are \(6, 6, 1\); the run's are \(8, 8, 1\)"):
        transfer.tasks(tiny, dataset)
    tiny.transfer.data = ("animals",)
    with pytest.raises(UserError,
                       match="'animals', which needs CIFAR-10's classes: digits has others"):
        transfer.tasks(tiny, dataset)


def test_animals_and_vehicles(tiny):
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    split = data.Split(np.zeros((10, 2, 2, 3), np.uint8), np.arange(10, dtype=np.int32))
    tiny.transfer.data = ("animals",)
    task, = transfer.tasks(tiny, data.Dataset("cifar10", names, {"train": split, "test": split}))
    assert task.splits["test"].labels.tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 0] and task.class_names[1] == "animal"


def test_no_tasks_by_default(tiny, tmp_path):
    run = loop.setup(tiny, data.load(tiny.data))
    assert transfer.collect(Studied(run, [], tmp_path, tmp_path, run.rows)) == []
