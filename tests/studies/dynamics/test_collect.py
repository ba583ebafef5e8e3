"""The training's course: which checkpoints are read, what is drawn there, and the records that come of it."""
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ls_jax import data
from ls_jax.data import memory
from ls_jax.devices import mesh
from ls_jax.devices.layout import over_mesh
from ls_jax.errors import UserError
from ls_jax.modes import experiment
from ls_jax.studies import representation
from ls_jax.studies.common import records, triples
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.dynamics import collect
from ls_jax.studies.information import records as information_records
from ls_jax.studies.representation import records as representation_records
from ls_jax.training import loop, rng, sweep
from tests.logits import CLASSES, collapsed_draws


@pytest.fixture
def shifted(tiny):
    tiny.data.augment = "shift"
    tiny.checkpoint.update(every=2, keep=1, keep_every=4)
    tiny.information.update(examples=20, draws=3, views=8)
    return tiny


def started(config):
    run = loop.setup(config, data.load(config.data))
    states = over_mesh(run.step.init, run.layout, (mesh.MEMBER,), mesh.MEMBER)(run.hypers())
    return run, states, memory.place(run.dataset.splits["train"], run.layout.mesh)


def studied(config, workdir, **more):
    run, states, _ = started(config)
    return Studied(run, states, workdir, workdir, records.arms(run.rows, run.partners), **more)


@pytest.mark.parametrize("member, shards, batch_size", [(1, 1, 500), (1, 1, 7), (2, 4, 8), (1, 8, 16)])
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_draws_are_the_networks_on_augmented_images(shifted, monkeypatch, member, shards, batch_size, backend):
    """Alone and outside the mesh, view by view; whatever the mesh, the batches and the number of views in a call."""
    shifted.mesh.update(member=member, data=shards)
    shifted.evaluate.batch_size = batch_size
    run, states, arrays = started(shifted)
    index = collect.examples_of((3, 5), run.dataset.splits["train"].labels, 20)
    program = collect.Views(run, (3, 5))
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    draws = program(states, index, arrays, 4)
    assert draws.shape == (2, 20, 4)
    batch = memory.gather(arrays, jnp.asarray(index))
    for m in range(2):
        state = sweep.take(run.layout.join(states), m)
        for view in range(4):
            logits = run.step.view(state, batch, rng.per_example(rng.key(0, "information", view), batch.ids)).logits
            np.testing.assert_allclose(draws[m, :, view], logits[:, 3] - logits[:, 5], atol=1e-5)
    assert np.std(draws, axis=2).min() > 0


def test_a_call_holds_one_batch_of_views(shifted):
    """What the compiled loop keeps grows with the views by their results alone."""
    run, states, arrays = started(shifted)
    program = collect.Views(run, (0, 1))
    ids = lambda views: (jnp.arange(views), jnp.zeros((views, 64), jnp.int32))
    lowered = lambda views: program._program.lower(states[0], program._hypers[0], *ids(views), arrays)
    small, large = (lowered(views).compile().memory_analysis().temp_size_in_bytes for views in (2, 50))
    assert large - small < 10 * 48 * 64 * 4


def test_examples_are_half_of_each_class():
    labels = np.tile(np.arange(10), 50)
    chosen = collect.examples_of((2, 7), labels, 60)
    assert len(set(chosen)) == 60 and np.bincount(labels[chosen]).tolist() == [0, 0, 30, 0, 0, 0, 0, 30]
    assert len(collect.examples_of((2, 7), labels, 1000)) == 100


def test_the_course_of_a_run(shifted, tmp_path):
    experiment.run(shifted, tmp_path)
    results = records.read(tmp_path)
    steps = {record.extra["step"] for record in results if "step" in record.extra}
    assert steps == {0, 4, 8} and sorted(int(path.stem) for path in (tmp_path / "course").iterdir()) == [0, 4, 8]
    for alpha in (0.0, 0.1):
        one, = records.select(results, study="information", quantity="logit information", step=8, kind="value",
                              alpha=alpha, draws=3, outer="fresh")
        assert one.extra["estimator"] == "gaussian" and one.extra["classes"] == ["0", "1"
                                                                                 ] and one.extra["of_examples"] == 20
        assert one.extra["bound"] == pytest.approx(math.log(20)) and one.extra["collapsed"] == pytest.approx(
            math.log(2))
        with np.load(tmp_path / "course" / "8.npz") as kept:
            assert kept["draws"].shape == (2, 20, 9)
    # the last checkpoint is the network whose predictions are studied at the end
    nc1 = dict(study="representation", quantity="nc1", split="train", kind="value", alpha=0.1)
    at_end = {name: records.select(results, **nc1, step=step)[0].mean
              for name, step in (("checkpoint", 8), ("predictions", None))}
    assert at_end["checkpoint"] == pytest.approx(at_end["predictions"], rel=1e-5)
    initial, = records.select(results, study="representation", quantity="nc1", kind="difference", step=0)
    assert initial.mean == 0  # members of one seed start alike
    hard, smoothed = (np.load(tmp_path / "predictions" / f"test-{member:03d}.npz")["features"] for member in (0, 1))
    aligned, = records.select(results, study="representation", quantity="cka with hard", split="test")
    assert aligned.hyper["alpha"] == 0.1 and aligned.mean == pytest.approx(representation.linear_cka(hard, smoothed))
    text = (tmp_path / "report.html").read_text()
    assert "(Figure 6)" in text and "20 training examples of 0 and 1" in text
    assert "Penultimate-layer representation" in text


def test_nothing_is_read_where_none_is_kept_and_no_views_where_nothing_is_augmented(tiny, shifted, tmp_path):
    shifted.checkpoint.keep_every = None
    assert collect.collect(studied(shifted, tmp_path)) == []
    shifted.checkpoint.keep_every, shifted.data.augment = 4, "none"
    found = collect.collect(studied(shifted, tmp_path, left_out=frozenset({1})))
    assert {record.study for record in found} == {"representation"} and {record.hyper["alpha"]
                                                                         for record in found} == {0.0}
    assert {record.extra["step"] for record in found} == {0}


def test_pairs_of_classes():
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog")
    assert triples.resolve_pair((), "cifar10", names) == (0, 5) and triples.resolve_pair(
        (), "mnist", tuple("0123")) == (0, 1)
    assert triples.resolve_pair(("cat", 2), "cifar10", names) == (3, 2)
    for classes, message in ((("cat", "dgo"), "information.classes holds 'dgo'.*did you mean 'dog'"),
                             ((1, 1), "two different"), ((0, 9), "from 0 to 5")):
        with pytest.raises(UserError, match=message):
            triples.resolve_pair(classes, "cifar10", names)


def test_information_records_of_known_draws():
    """The hard members separate all examples, the smoothed ones have collapsed."""
    rows = [{"alpha": alpha, "learning_rate": 0.1, "seed": seed} for alpha in (0.0, 0.1) for seed in (0, 1)]
    collapsed = np.concatenate([collapsed_draws(50, seed=i)[0][None] for i in range(2)])
    separated = np.random.default_rng(0).normal(100.0 * np.arange(600)[:, None], 1.0, (2, 600, 50))
    found = information_records.run(np.concatenate([separated, collapsed]), CLASSES, rows, 4000, 5)
    pick = lambda alpha, **fields: records.select(found, quantity="logit information", kind="value", alpha=alpha, **
                                                  fields)[0]
    for fields in ({"draws": 5, "outer": "fresh"}, {"draws": 49, "outer": "reused"}, {"estimator": "mixture"},
                   {"estimator": "nearest neighbours"}):
        assert pick(0.0, **fields).mean == pytest.approx(math.log(600), abs=0.02) and pick(0.0, **fields).n == 2
    assert pick(0.1, draws=5, outer="reused").mean == pytest.approx(0.801, abs=0.08)
    assert pick(0.1, draws=49, outer="fresh").mean == pytest.approx(0.683, abs=0.08)
    difference, = records.select(found, quantity="logit information", kind="difference", draws=49, outer="fresh")
    low, high = difference.extra["examples_interval"]
    assert low < difference.mean < high and difference.extra["step"] == 4000
    low, high = pick(0.1, draws=49, outer="fresh").extra["examples_interval"]
    assert 0.01 < high - low < 0.2


def test_repeated_views_leave_out_nearest_neighbours_and_without_spread_the_mixture_is_its_limit():
    rows = [{"alpha": 0.0, "seed": 0}]
    repeated = np.random.default_rng(0).normal(size=(1, 40, 3))[:, :, np.arange(21) % 3]
    kinds = lambda draws: {
        record.extra["estimator"] for record in information_records.run(draws, CLASSES[280:320], rows, 0, 5)
    }
    assert kinds(repeated) == {"gaussian", "mixture"} and kinds(repeated[:, :, [0] * 6]) == {"gaussian", "mixture"}
    limit, = records.select(information_records.run(repeated[:, :, [0] * 6], CLASSES[280:320], rows, 0, 5),
                            estimator="mixture")
    assert limit.mean == pytest.approx(math.log(40))


def test_networks_are_compared_where_they_are_equally_collapsed():
    rows = [{"alpha": alpha, "seed": seed} for alpha in (0.0, 0.1) for seed in (0, 1)]
    values = lambda nc1, nc2: {"nc1": nc1, "nc2 logits": nc2}
    # log10 NC1 is -step/10 of the unsmoothed network and -step/5 of the smoothed; NC2 falls by 0.1 in ten steps of both
    training = {
        step: {
            member: values(10**(-step / (5 if row["alpha"] else 10)), 1 - step / 100) for member, row in enumerate(rows)
        } for step in (0, 20, 40)
    }
    found = {record.quantity: record for record in representation_records.matched(training, rows)}
    later = found["nc2 logits at matched nc1"]
    assert later.values == pytest.approx([0.2, 0.2]) and later.extra["nc1_levels"] == pytest.approx([1e-4, 1e-4])
    assert (later.kind, later.hyper["alpha"], later.baseline["alpha"]) == ("difference", 0.1, 0.0)
    assert set(found) == {"nc2 logits at matched nc1"}  # steps at this level would tell who collapses further
    training[40][2] = values(10**-3.0,
                             0.6)  # between its checkpoints 20 (-4) and ...: the level is hard's -4, reached at 20
    assert representation_records.matched(training, rows)[0].seeds == [0, 1]
    training = {0: training[0], 40: training[40]}  # of -8 at 40 the level -4 is half way
    halfway = representation_records.matched(training, rows)
    assert halfway[0].values[1] == pytest.approx((1 - 20 / 100) - (1 - 40 / 100))
