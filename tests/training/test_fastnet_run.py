"""Runs of the network of the speed records: filters measured on training pictures, alternating flips, Muon, members,
resumption."""
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax import data
from ls_jax.data.batch import Batch
from ls_jax.data.pictures import augment
from ls_jax.models import fastnet
from ls_jax.training import loop, step
from ls_jax.workdir import checkpoint, log
from tests.runs import ROOT, environment, finish, same_states, wait_for_step

FILE = """
from ls_jax import config as configs
def get_config(variant=""):
    config = configs.load("configs/cifar10_fast.py", "smoke")
    config.data.update(name="npz:{path}", holdout=0, train_examples=None)
    config.evaluate.update(split="test", every=40, batch_size=30)
    config.model.widths = (3, 5, 16)
    config.sweep.alpha = (0.0, 0.1)
    config.steps, config.batch_size, config.data.flip_period = 40, 8, 15
    config.checkpoint.every, config.log.every = 7, 10
    return config
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A config file on 120 smooth random pictures of 10 x 11 pixels."""
    folder = tmp_path_factory.mktemp("fast")
    rng = np.random.default_rng(0)
    make = lambda count: np.cumsum(rng.integers(0, 30, (count, 10, 11, 3)), axis=1).clip(0, 255).astype(np.uint8)
    np.savez(folder / "p.npz", train_images=make(120), train_labels=np.arange(120) % 10,
             test_images=make(30), test_labels=np.arange(30) % 10)
    (folder / "config.py").write_text(FILE.format(path=folder / "p.npz"))
    return folder / "config.py"


@pytest.fixture
def config(path):
    config = configs.load(path)
    config.steps, config.log.writers = 2, ()
    config.mesh.update(member=1, data=1)
    return config


def trained(config, workdir, **changes):
    """The final state [M, ...] on the host."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.update(changes)
    dataset = data.load(config.data)
    run = loop.setup(config, dataset)
    workdir.mkdir()
    return jax.device_get(run.layout.join(loop.train(run, workdir)))


def close(one, other, atol=1e-3):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol, rtol=atol), (one.params, one.stats),
                 (other.params, other.stats))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_members_agree_whatever_the_strategy(config, tmp_path, dtype):
    config.dtype = dtype
    one, *others = (trained(config, tmp_path / members, members=members) for members in ("unroll", "map", "vmap"))
    for other in others:
        close(one, other, 1e-3 if dtype == "float32" else 0.1)
    assert one.diverged.tolist() == [-1, -1]


def test_filters_are_measured_on_the_normalised_training_pictures_and_stay(config, tmp_path):
    """The same for every member, on every mesh, to the last bit."""
    images = jnp.asarray(data.load(config.data).splits["train"].images)
    expected = fastnet.whitening(np.asarray(augment.evaluate(images, "reflect_crop", "standardize")))
    one = trained(config, tmp_path / "one")
    meshes = trained(config, tmp_path / "meshes", mesh=dict(member=2, data=2))
    for state in (one, meshes):
        for kernel in state.stats["whiten"]["kernel"]:
            np.testing.assert_array_equal(kernel, expected)
    close(one, meshes)


def test_a_resumed_run_does_not_measure_again(config, tmp_path, monkeypatch):
    state = trained(config, tmp_path / "run")
    monkeypatch.setattr(fastnet.FastNet, "statistics", None)
    run = loop.setup(config, data.load(config.data))
    taken, states = loop.restore_or_init(run, checkpoint.Checkpoints(tmp_path / "run", 2, None))
    assert taken == 2
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(run.layout.join(states)).stats, state.stats)


def test_the_bias_of_the_first_layer_trains_for_its_share_of_the_steps(config, tmp_path):
    config.optimizer.layer_shares = {"whiten": 0.5}
    early = trained(config, tmp_path / "early")
    config.optimizer.layer_shares = {"whiten": 0.1}
    frozen = trained(config, tmp_path / "frozen")
    assert early.params["whiten"]["bias"].any() and not frozen.params["whiten"]["bias"].any()


def test_flips_are_drawn_once_and_then_alternate(config):
    """Half of the pictures are mirrored in the first period, the others in the second: by seed and example, not by
    place in the batch."""
    config.data.update(flip_period=5, augment="none")
    images = jax.random.randint(jax.random.key(0), (64, 10, 11, 3), 0, 256).astype(jnp.uint8)
    plain, reverse = (augment.evaluate(x, "none", "standardize") for x in (images, images[:, :, ::-1]))

    def mirrored(ids, step_number, seed=0):
        batch = Batch(images[ids], jnp.zeros(len(ids), jnp.int32), jnp.asarray(ids))
        seen = step.augmented(batch, jnp.int32(seed), jnp.int32(step_number), config.data, "standardize")
        is_plain, is_reverse = ((np.abs(seen - x[ids]) < 1e-5).all((1, 2, 3)) for x in (plain, reverse))
        assert (is_plain ^ is_reverse).all()
        return is_reverse

    ids = np.arange(64)
    first = mirrored(ids, 0)
    assert 16 < first.sum() < 48
    for at, expected in ((4, first), (5, ~first), (9, ~first), (10, first), (15, ~first)):
        np.testing.assert_array_equal(mirrored(ids, at), expected)
    np.testing.assert_array_equal(mirrored(ids[::-1][:20], 0), first[::-1][:20])
    assert (mirrored(ids, 0, seed=1) != first).any()


def test_views_are_mirrored_by_their_own_keys(config):
    built = step.build_step(config, 10, (10, 11, 3), axis_name=None)
    hyper = {"seed": jnp.int32(0), "learning_rate": jnp.float32(0.1), "weight_decay": jnp.float32(0.0),
             "alpha": jnp.float32(0.1)}
    images = jax.random.randint(jax.random.key(0), (1, 10, 11, 3), 0, 256).astype(jnp.uint8)
    batch = Batch(jnp.repeat(images, 200, axis=0), jnp.zeros(200, jnp.int32), jnp.arange(200))
    logits = jax.jit(built.view)(built.init(hyper), batch, jax.random.split(jax.random.key(1), 200)).logits
    assert 25 < len(np.unique(np.asarray(logits).round(4), axis=0)) <= 50  # 25 windows, each in two directions


def test_killed_and_resumed_is_bit_equal(path, tmp_path):
    command = [sys.executable, "-m", "ls_jax.main", f"--config={path}", "--mode=train"]
    start = lambda workdir: subprocess.Popen([*command, f"--workdir={workdir}"], cwd=ROOT, env=environment(), text=True,
                                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    finish(start(tmp_path / "whole"))
    process = start(tmp_path / "killed")
    wait_for_step(tmp_path / "killed", 20)
    process.kill()
    process.wait()
    assert checkpoint.Checkpoints(tmp_path / "killed").steps()[-1] < 40
    finish(start(tmp_path / "killed"))
    assert same_states(tmp_path / "killed", tmp_path / "whole")
    assert log.read_metrics(tmp_path / "killed") == log.read_metrics(tmp_path / "whole")
