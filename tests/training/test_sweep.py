"""The two axes: a sweep equals its solo runs, whatever the strategy and the mesh."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax import data
from ls_jax.data import memory, order
from ls_jax.devices import mesh
from ls_jax.devices.layout import Layout, over_mesh
from ls_jax.training import loop, sweep


@pytest.fixture
def config(tiny):
    tiny.sweep.alpha, tiny.sweep.seed = (0.0, 0.2), (0, 1)
    tiny.data.augment = "shift"
    tiny.model.dropout = 0.3
    tiny.optimizer.momentum_form = "nesterov"
    return tiny


def run_steps(config, count=3, member=1, shards=1, strategy="unroll", **sweep_fields):
    """The sweep's state [M, ...] after a few steps on a mesh."""
    config = config.copy_and_resolve_references()
    config.mesh.update(member=member, data=shards)
    config.members = strategy
    config.sweep.update(sweep_fields)
    run = loop.setup(config, data.load(config.data))
    step, _ = loop.training_programs(run)
    states = over_mesh(run.step.init, run.layout, (mesh.MEMBER,), mesh.MEMBER)(run.hypers())
    arrays = memory.place(run.dataset.splits["train"], run.layout.mesh)
    for i in range(count):
        ids = order.block(run.examples, config.batch_size, run.hyper["seed"], i, 1)
        states = step(states, run.hypers(), loop.place_ids(run.layout, ids), arrays)
    return mesh.fetch(run.layout.join(states))


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_the_grid_is_the_product_with_the_seed_fastest():
    config = configs.default()
    config.sweep.alpha, config.sweep.seed, config.sweep.learning_rate = (0.0, 0.1), (3, 5), (0.1, 0.2)
    rows = sweep.members(config)
    assert [(row["alpha"], row["learning_rate"], row["seed"]) for row in rows] == [
        (0.0, 0.1, 3), (0.0, 0.1, 5), (0.0, 0.2, 3), (0.0, 0.2, 5), (0.1, 0.1, 3), (0.1, 0.1, 5), (0.1, 0.2, 3),
        (0.1, 0.2, 5)]


def test_split_and_join_are_inverse():
    for devices, strategy in ((1, "unroll"), (2, "unroll"), (4, "unroll"), (2, "vmap")):
        layout = Layout(mesh.make(devices, 1, 4, 8), 4, strategy)
        tree = mesh.put(layout.mesh, mesh.MEMBER, {"x": np.arange(12.0).reshape(4, 3)})
        slots = layout.split(tree)
        for members, slot in zip(layout.member_ids(), slots):
            np.testing.assert_array_equal(slot["x"], np.arange(12.0).reshape(4, 3)[members])
        np.testing.assert_array_equal(layout.join(slots)["x"], tree["x"])


def test_a_member_is_its_solo_run_to_the_last_bit(config):
    together = run_steps(config)
    for member, alpha in ((3, 0.2), (1, 0.0)):
        alone = run_steps(config, alpha=(alpha,), seed=(1,))
        jax.tree.map(np.testing.assert_array_equal, sweep.take(together, member), sweep.take(alone, 0))


@pytest.mark.parametrize("member,shards,strategy", [
    (4, 1, "unroll"), (2, 2, "unroll"), (1, 4, "unroll"), (2, 4, "unroll"), (1, 1, "vmap"), (2, 2, "vmap"),
    (1, 2, "map")])
def test_meshes_and_strategies_agree(config, member, shards, strategy):
    reference = run_steps(config)
    other = run_steps(config, member=member, shards=shards, strategy=strategy)
    assert_close(other.sums, reference.sums, rtol=1e-5)
    assert_close(other.params, reference.params, atol=2e-6)


def test_batch_norm_is_of_the_whole_batch_on_any_mesh(config):
    config.model = dict(name="resnet", blocks=1, widths=(4,), stem=4)
    reference, other = run_steps(config), run_steps(config, member=2, shards=4)
    assert_close(other.stats, reference.stats, rtol=1e-4, atol=1e-5)
    assert_close(other.sums, reference.sums, rtol=1e-4)


def test_members_of_a_seed_start_alike_and_see_the_same_examples(config):
    state = run_steps(config, count=0)
    kernel = jax.tree.leaves(state.params)[-1]
    np.testing.assert_array_equal(kernel[0], kernel[2])  # seed 0 at both α
    assert not np.array_equal(kernel[0], kernel[1])
    ids = order.block(1000, 16, sweep.grid(config)["seed"], 5, 1)
    np.testing.assert_array_equal(ids[0], ids[2])
    assert not np.array_equal(ids[0], ids[1])


def test_the_member_axis_alone_communicates_nothing(config):
    config.mesh.update(member=4, data=1)
    run = loop.setup(config, data.load(config.data))
    step, _ = loop.training_programs(run)
    states = over_mesh(run.step.init, run.layout, (mesh.MEMBER,), mesh.MEMBER)(run.hypers())
    ids = loop.place_ids(run.layout, order.block(run.examples, config.batch_size, run.hyper["seed"], 0, 1))
    arrays = memory.place(run.dataset.splits["train"], run.layout.mesh)
    text = step.lower(states[0], run.hypers()[0], ids[0], arrays).compile().as_text()
    assert not any(f" {name}(" in text for name in ("all-reduce", "all-gather", "all-to-all", "collective-permute"))


def test_one_compilation_serves_the_whole_sweep(config):
    traces = []
    layout = Layout(mesh.make(1, 1, 4, 8), 4, "unroll")

    def double(x):
        traces.append(1)
        return jnp.float32(2) * x

    twice = over_mesh(double, layout, (mesh.MEMBER,), mesh.MEMBER)
    result = layout.join(twice(layout.split(mesh.put(layout.mesh, mesh.MEMBER, np.arange(4, dtype=np.float32)))))
    assert len(traces) == 1 and result.tolist() == [0, 2, 4, 6]
    assert twice.one_slot(jnp.ones(1)).tolist() == [2] and "multiply" in twice.lower(jnp.ones(1)).as_text()
    assert twice.slots == 4
    assert over_mesh(lambda x, y: x if y is None else y, layout, (mesh.MEMBER, mesh.MEMBER), mesh.MEMBER)(
        layout.split(np.arange(4, dtype=np.float32)), None)[2].tolist() == [2]


def test_batch_norm_per_device_is_that_of_as_many_parts(config):
    """Each shard normalises by its own examples, and the running statistics are the shards' mean: the same on two
    devices as in two parts on one; and not what synchronised statistics give."""
    config.model = dict(name="resnet", blocks=1, widths=(4,), stem=4)
    config.sweep.update(alpha=(0.1,), seed=(0,))
    config.batch_norm = "per_device"
    devices = run_steps(config, shards=2)
    config.micro_batches = 2
    assert_close(run_steps(config), devices, atol=1e-5, rtol=1e-4)
    config.update(batch_norm="synchronized", micro_batches=1)
    together = run_steps(config, shards=2)
    difference = np.abs(together.stats["norm"]["var"] - devices.stats["norm"]["var"])
    assert difference.max() > 5e-5
