"""Every config file, at every variant: valid, serialisable, and able to take its steps in :smoke."""
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax import data
from ls_jax.data.batch import Batch
from ls_jax.data.pictures import stream
from ls_jax.data.sources import bitext, tfds
from ls_jax.errors import UserError
from ls_jax.modes import experiment
from ls_jax.studies.common import records
from ls_jax.training import step

FILES = sorted((pathlib.Path(__file__).resolve().parents[1] / "configs").glob("*.py"))
SHAPES = {"mnist": ((28, 28, 1), 10), "fashion_mnist": ((28, 28, 1), 10), "cifar10": ((32, 32, 3), 10),
          "cifar100": ((32, 32, 3), 100),
          "imagenet2012": ((75, 75, 3), 1000)}


def variants(path):
    known = []
    for variant in ("", "short", "small_data", "grid", "fast", "resnet20", "smoke"):
        try:
            known.append((variant, configs.load(path, variant)))
        except UserError:
            assert variant != "smoke"
    return known


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """Random pictures in the shape of the data set, so that a config can run without it."""
    def load(settings, workdir=None):
        name = settings.name
        shape, classes = SHAPES[name]
        rng = np.random.default_rng(0)
        make = lambda n: data.Split(rng.integers(0, 256, (n, *shape), np.uint8),
                                    (np.arange(n) % classes).astype(np.int32))
        train, held_out = (("train", 40),
                           ("validation", 10)) if name == "imagenet2012" else (("train", 10_400), ("test", 100))
        return data.Dataset(name, tuple(str(i) for i in range(classes)),
                            {split: make(count) for split, count in (train, held_out)})
    monkeypatch.setattr(tfds, "load", load)
    monkeypatch.setattr(stream, "load", load)
    monkeypatch.setattr(bitext, "read_folder", lambda path: {"train": pairs(300), "validation": pairs(20),
                                                             "test2016": pairs(20)})
    monkeypatch.setattr(tfds, "load_translation", lambda *_: {"train": pairs(300), "validation": pairs(20),
                                                              "test": pairs(20)})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def pairs(number):
    """Sentences of random words, enough of them for a vocabulary of some hundred pieces."""
    rng = np.random.default_rng(number)
    words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(2, 9))) for _ in range(400)]
    lines = lambda: [" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(number)]
    return data.Sentences(lines(), lines(), np.arange(1, number + 1))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_variant_is_valid_and_says_what_it_is(path):
    for _, config in variants(path):
        configs.validate(config)
        assert configs.differences(configs.plain(config), configs.plain(config)) == []
    text = path.read_text()
    assert f"--config=configs/{path.name}" in text, "the docstring gives the command"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_smoke_runs_from_start_to_records(path, tmp_path, stand_in):
    """Up to what the report is made of, which takes as long again, and which other tests make of each kind of run."""
    config = configs.load(path, "smoke")
    config.sweep.alpha = (0.1,)
    teachers = config.distill.teachers.values() if config.get("distill") else ()
    for each in (config, *teachers):
        each.mesh.update(member=1, data=1)  # several devices have tests of their own
    assert records.select(experiment.measure(config, tmp_path), study="accuracy")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_full_model_has_the_papers_shape(path, stand_in):
    """Built abstractly, at full size: features and logits of the widths that the paper's networks have."""
    import jax
    import jax.numpy as jnp
    config = configs.load(path)
    integers = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.int32)
    if config.data.vocabulary:
        shape, classes, tokens = None, config.data.vocabulary, integers(4, config.data.row_length)
        batch = Batch(data.Tokens(*[tokens] * 6), tokens, integers(4))
    else:
        shape, classes = SHAPES.get(config.data.name, ((8, 8, 1), 10))
        batch = Batch(jax.ShapeDtypeStruct((4, *shape), jnp.uint8), integers(4), integers(4))
    steps = step.build_step(config, classes, shape, axis_name=None)
    from ls_jax.training import sweep
    state = jax.eval_shape(steps.init, sweep.take(sweep.grid(config), 0))
    output = jax.eval_shape(steps.predict, state, batch)
    if config.data.vocabulary:
        assert output.logits.shape == (*tokens.shape, classes)
        assert output.features.shape == (*tokens.shape, config.model.width)
        return
    width = {"mlp": config.model.get("hidden", (0,))[-1], "alexnet": 192,
             "resnet": config.model.get("widths", (0,))[-1], "fastnet": config.model.get("widths", (0,))[-1],
             "inception_v4": 1536}[config.model.name]
    assert output.logits.shape == (4, classes) and output.features.shape == (4, width)


def test_an_installed_package_holds_them(tmp_path):
    pytest.importorskip("setuptools", reason="builds the package with setuptools, which is not here")
    build = [sys.executable, "setup.py", "-q", "egg_info", f"--egg-base={tmp_path}", "build_py",
             f"--build-lib={tmp_path}"]
    subprocess.run(build, cwd=FILES[0].parents[1], check=True, capture_output=True)
    assert sorted(file.name for file in (tmp_path / "ls_jax" / "configs").iterdir()) == [file.name for file in FILES]
    assert (tmp_path / "ls_jax" / "data" / "sources" / "digits.npz").exists()
