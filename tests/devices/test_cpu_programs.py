"""Every program of a run and its studies computes the same under the flags that are chosen and where the library is
given nothing."""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ls_jax.devices import cpu
from ls_jax.studies.common.records import read

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(not cpu._known(cpu.NOTHING), reason="this jaxlib does not have the flag")]
ROOT = pathlib.Path(__file__).resolve().parents[2]
MEASURE = """
import pathlib, sys
import ls_jax
from ls_jax import config as configs
config = configs.load(sys.argv[1], "smoke")
ls_jax.setup(config.model.name)
from ls_jax.modes import experiment
config.data.name = sys.argv[2]
config.checkpoint.keep_every = None if config.get("distill") or config.data.vocabulary else 3
config.data.holdout, config.data.image_size, config.evaluate.split = 0, None, "test"
if config.model.name == "inception_v4":
    config.data.augment, config.sweep.alpha = "none", (0.1,)
experiment.measure(config, pathlib.Path(sys.argv[3]))
"""
KINDS = {  # config -> pictures' shape; None: its own data
    "mnist_mlp": (28, 28, 1), "cifar10_alexnet": (32, 32, 3), "cifar10_resnet56": (32, 32, 3),
    "imagenet_inception": (75, 75, 3),
    "mnist_distill": (28, 28, 1), "digits_distill": None, "multi30k_transformer": None,
}


def source(name, folder):
    """`config.data.name` of random data for a kind of network."""
    rng = np.random.default_rng(0)
    if name == "multi30k_transformer":
        words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(2, 9))) for _ in range(400)]
        for stem, count in (("train", 300), ("val", 20), ("test", 20)):
            for language in ("en", "de"):
                lines = [" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(count)]
                (folder / f"{stem}.{language}").write_text("\n".join(lines) + "\n")
        return f"text:{folder}"
    if KINDS[name] is None:
        return "digits"
    pictures = {f"{split}_{what}": values for split, count in (("train", 300), ("test", 100)) for what, values in (
        ("images", rng.integers(0, 256, (count, *KINDS[name]), np.uint8)),
        ("labels", (np.arange(count) % 10).astype(np.int32)))}
    np.savez(folder / "random.npz", **pictures)
    return f"npz:{folder / 'random.npz'}"


def measure(name, folder, flags):
    """Run a config's :smoke and its studies as a user does, under XLA_FLAGS if they are given; returns the workdir."""
    workdir = folder / ("nothing" if flags else "chosen")
    environment = {key: value for key, value in os.environ.items()
                   if not key.startswith(("XLA_", "JAX_", "LS_JAX_", "OMP_"))}
    done = subprocess.run([sys.executable, "-c", MEASURE, f"configs/{name}.py", source(name, folder), str(workdir)],
                          cwd=ROOT,
                          env={**environment, **flags}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return workdir


@pytest.mark.parametrize("name", KINDS)
def test_programs_agree(name, tmp_path):
    ours, reference = (measure(name, tmp_path, flags) for flags in ({}, {"XLA_FLAGS": f"--{cpu.FLAG}="}))
    rows = [[json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
            for workdir in (ours, reference)]
    assert len(rows[0]) == len(rows[1]) > 0
    for one, other in zip(*rows):
        assert one.keys() == other.keys()
        for key, value in one.items():
            due = pytest.approx(other[key], rel=1e-3,
                                abs=0.02 if key == "accuracy" else 1e-4) if isinstance(value, float) else other[key]
            assert value == due, (key, one["step"])
    files = sorted(path.relative_to(ours) for path in ours.rglob("predictions/**/*.npz"))
    assert files and files == sorted(path.relative_to(reference) for path in reference.rglob("predictions/**/*.npz"))
    for file in files:
        with np.load(ours / file) as one, np.load(reference / file) as other:
            for array in ("logits", "features"):
                if array in one:
                    np.testing.assert_allclose(one[array], other[array], atol=2e-3 * np.abs(other[array]).max(),
                                               err_msg=f"{file} {array}")
    records = [read(workdir) for workdir in (ours, reference)]
    assert len(records[0]) == len(records[1]) > 0
    for one, other in zip(*records):
        # NumPy computes it from the predictions, and of untrained networks it is a ratio of small numbers
        if one.study == "projection":
            continue
        what = {key: one.get(key) for key in ("study", "quantity", "split", "kind", "arm")}
        assert what == {key: other.get(key) for key in what}
        assert one.mean == pytest.approx(other.mean, rel=0.02, abs=0.02), what
