"""The command line: every mistake gets one line that names it and the fix, before anything is trained or
overwritten."""
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

import ls_jax
from ls_jax import config as configs
from ls_jax import main

ROOT = pathlib.Path(__file__).resolve().parents[1]
DIGITS = f"--config={ROOT}/configs/digits_mlp.py:smoke"


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run the command in this process; returns (exit status, stdout, stderr)."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.environ["JAX_COMPILATION_CACHE_DIR"])

    def call(*arguments, workdir=tmp_path / "run"):
        flags.FLAGS.unparse_flags()
        for name in [name for name in flags.FLAGS if name.startswith("config.")]:
            delattr(flags.FLAGS, name)  # the last call's overrides
        for name in ("config", "workdir", "mode", "coordinator", "processes", "process"):
            flags.FLAGS[name].unparse()
        argv = ["ls_jax", *arguments, *([f"--workdir={workdir}"] if workdir else [])]
        monkeypatch.setattr(sys, "argv", argv)  # config_flags looks there for overrides
        try:
            main.main(main.parse(argv))
            status = 0
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_runs_and_prints_the_table(command):
    status, out, _ = command(DIGITS)
    assert status == 0
    assert "smoothing  accuracy %" in out and "α=0.1" in out and "baseline" in out and "report: " in out


@pytest.mark.parametrize("arguments,message", [
    (["--config.stesp=3"], "--config.stesp: the config has no field 'stesp' (did you mean 'steps'?)"),
    (["--config.alpha=0.1"], "--config.alpha: the config has no field 'alpha' (did you mean 'sweep.alpha'?)"),
    (["--config.steps=None"], "--config.steps=None: this field is not optional; here it is 6"),
    (["--config.sweep.seed=None"], "--config.sweep.seed=None: this field is not optional; here it is (0,)"),
    (["--config.sweep.alpha=1.5"], "config.sweep.alpha holds 1.5: label smoothing must lie in [0, 1)"),
    (["--config.sweep.alpha=-0.1"], "config.sweep.alpha holds -0.1: label smoothing must lie in [0, 1)"),
    (["--config.sweep.seed=(0,0.5)"], "config.sweep.seed holds 0.5: a seed must be a whole number"),
    (["--config.sweep.beta=(0.5,)"], "config.sweep.beta is of students with a teacher"),
    (["--config.sweep.gama=(0.5,)"], "--config.sweep.gama: the config has no field 'sweep.gama'"),
    (["--config.sweep.arms={'a': {'alpha': 0.1}, 'b': {'alpha': 2}}"],
     "config.sweep.arms.b.alpha holds 2: label smoothing must lie in"),
    (["--config.sweep.arms={'a': {'alpha': 0.1}, 'a': {}}"], "config.sweep.arms names 'a' twice"),
    (["--config.sweep.arms={'a': {'max_supression': 0.1}}"],
     "has no field 'max_supression' (did you mean 'max_suppression'?)"),
    (["--config.sweep.max_suppression=(-0.1, 0.0)"],
     "max_suppression holds -0.1: MaxSup's weight must lie in [0, inf)"),
    (["--config.sweep.margin=(6.0,)"],
     "config.sweep.margin means nothing without margin_penalty: set margin_penalty too"),
    (["--config.sweep.baseline={'alpha': 0.05}"], "config.sweep.baseline={'alpha': 0.05} is not in the sweep"),
    (["--config.sweep.arms={'a': {}, 'b': {'alpha': 0.1}}", "--config.sweep.baseline=c"],
     "config.sweep.baseline='c' names no arm"),
    (["--config.sweep.seed=(1,1)"], "config.sweep.seed=(1, 1) holds a value twice"),
    (["--config.steps=many"], "steps"),
    (["--config.loss.convention=unifrom"], "config.loss.convention='unifrom' is unknown (did you mean 'uniform'?)"),
    (["--config.optimizer.schedule=cosine"], "choose from constant, linear, step"),
    (["--config.batch_size=10", "--config.mesh.data=4"], "mesh.data=4 does not divide batch_size=10"),
    (["--config.model.name=mpl"], "config.model.name='mpl' is unknown (did you mean 'mlp'?)"),
    (["--config.model.hidden=(8, 0)"], "config.model.hidden=(8, 0) must be a tuple, each of which must be a whole "
                                       "number of at least 1"),
    (["--config.model.name=alexnet"], "model 'alexnet' has no field 'hidden'; it has none"),
    (["--config.data.image_size=9"], "config.data.image_size=9 is for folder:PATH and a TFDS name: leave it unset for "
                                     "data.name='digits'"),
    (["--config.data.row_length=0"], "config.data.row_length=0 must be a whole number of at least 1"),
    (["--config.data.crop.area=(0.5, 2.0)"], "area that must be a tuple of 2, each of which must be above 0 and at "
                                             "most 1"),
    (["--config.mesh.member=3"], "mesh.member=3 does not divide the sweep's 2 members"),
    (["--config.mesh.member=2", "--config.mesh.data=8"], "needs 16 devices, and there are 8"),
    (["--config.mesh.member=16"], "mesh.member=16 x mesh.data=1 needs 16 devices, and there are 8"),
    (["--config.data.name=digit"], "data.name='digit' is no data set that TFDS knows (did you mean 'digits'?)"),
    (["--config.data.name=npz:/nowhere.npz"], "/nowhere.npz"),
    (["--config.evaluate.split=validation"], "config.evaluate.split='validation': digits has the splits train, test"),
    (["--config.data.holdout=1000000"], "data.holdout=1000000 must be from 0 to 1296: digits has 1297 training "
                                        "examples"),
    (["--processes=2"], "--processes needs --coordinator=HOST:PORT"),
    (["--mode=trian"], "trian"),
    (["extra"], "unexpected argument 'extra'"),
])
def test_a_mistake_gets_one_line_and_nothing_is_written(command, tmp_path, arguments, message):
    status, out, err = command(DIGITS, *arguments)
    line = err.strip().splitlines()
    assert status == 2 and len(line) == 1 and line[0].startswith("ls_jax: ") and message in line[0], err
    assert not (tmp_path / "run" / "config.json").exists() and not out


def test_every_optional_field_takes_none(monkeypatch):
    """Of a field that a config has set, too; a field that is not optional refuses it."""
    optional = [name for name, value in configs.flat(configs.default().to_dict()).items() if value is None]
    assert {"data.train_examples", "steps_per_call", "mesh.member", "sweep.focal", "distill"} <= {*optional}
    config = f"--config={ROOT}/configs/digits_distill.py:smoke"
    argv = ["ls_jax", config, "--config.steps_per_call=3", "--config.distill.teachers.mlp.data.train_examples=None",
            *(f"--config.{name}=None" for name in optional if name != "distill")]
    found, unset = main._without_none(argv)
    assert found == ["ls_jax", config] and len(unset) == len(optional)
    assert all(configs.optional(name) for name in unset)
    others = ("steps", "data.name", "data.holdout", "sweep.seed", "log.writers", "distill.teachers.mlp.steps")
    assert not any(configs.optional(name) for name in others)


def test_what_is_missing_is_asked_for(command, tmp_path, unchecked):
    assert "--config=configs/NAME.py is missing" in command()[2]
    assert "--workdir=DIR is missing" in command(DIGITS, workdir=None)[2]
    assert "--workdir=DIR is missing" in command(DIGITS, "--workdir=", workdir=None)[2]  # "" would be this directory
    assert "--predictions=FILE.npz is missing" in command("--mode=analyze", "--predictions=")[2]
    assert "config file nowhere.py does not exist" in command("--config=nowhere.py")[2]
    assert "this config has no variant 'shrot'" in command(f"--config={ROOT}/configs/mnist_mlp.py:shrot")[2]
    assert "holds no results.json to report" in command("--mode=report")[2]
    assert "holds no checkpoint to study" in command(DIGITS, "--mode=study")[2]
    assert "holds no run, since it has no config.json" in command("--mode=translate")[2]
    assert "--mode=translate takes no --config" in command(DIGITS, "--mode=translate")[2]


def test_configs_are_found_from_anywhere(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = command("--config=configs/digits_mlp.py:smoke", "--config.steps=3")
    assert status == 0 and "report: " in out, err
    (tmp_path / "configs").mkdir()  # but the one that is named comes first
    (tmp_path / "configs" / "digits_mlp.py").write_text("def get_config(): raise ValueError('mine')")
    assert "mine" in command("--config=configs/digits_mlp.py")[2]


def test_an_unwritable_workdir_is_named(command, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = command(DIGITS, workdir=tmp_path / "file" / "run")
    assert status == 2 and "is a file or lies in one: name a directory" in err


def test_a_users_own_arrays(command, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = (rng.integers(0, 120, (120, 6, 6)) + labels[:, None, None] * 60).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    status, out, err = command(DIGITS, f"--config.data.name=npz:{tmp_path}/mine.npz",
                               "--config.data.train_examples=None")
    assert status == 0 and "test split, 120 examples" in out, err


def test_more_processes_than_devices_of_the_mesh(tmp_path):
    port = 20_000 + (os.getpid() + 7) % 20_000
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu"}
    workers = [subprocess.Popen(
        [sys.executable, "-m", "ls_jax.main", DIGITS, f"--workdir={tmp_path}/run", f"--coordinator=localhost:{port}",
         "--processes=2",
         f"--process={i}", "--config.mesh.member=1", "--config.mesh.data=1"], cwd=ROOT, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for i in range(2)]
    for worker in workers:
        _, err = worker.communicate(timeout=120)
        assert worker.returncode == 2 and "2 processes, but the mesh member=1 x data=1 uses devices of 1 only" in err


def test_versions_are_told_before_anything_else(command):
    status, out, _ = command("--version")
    assert status in (0, None) and out.startswith(f"ls_jax {ls_jax.__version__}\n")
    assert re.search(r"jax \d.*\ndevices: 8 × cpu \(cpu\)\nCPU: .* cores\nXLA on the CPU: XLA_FLAGS ", out)


def test_help_shows_every_mode_with_an_example_and_every_config():
    done = subprocess.run([sys.executable, "-m", "ls_jax", "--help"], capture_output=True, text=True,
                          cwd=pathlib.Path(__file__).parents[1])
    for mode in main.MODES:
        assert re.search(rf"^{mode} .*\n +ls_jax .*--workdir=", done.stdout, re.MULTILINE) or mode == "compile"
    assert all(re.search(rf"^{path.stem} +\S", done.stdout, re.MULTILINE) for path in configs.shipped())
    assert max(map(len, done.stdout.splitlines())) <= 125 and "--workdir" in done.stdout


@pytest.mark.parametrize("text, due", [
    ("raise RuntimeError('boom')", "mine.py, line 1: RuntimeError: boom"),
    ("def get_config():\n    raise RuntimeError('boom')", "mine.py, line 2: RuntimeError: boom"),
    ("def get_config(:", "mine.py, line 1: SyntaxError"),
    ("import sys\nsys.exit(3)", "mine.py, line 2: SystemExit: 3"),
    ("import nothing_here", "mine.py, line 1: ModuleNotFoundError: No module named 'nothing_here'"),
    ("def get_config(): return get_config()", "mine.py, line 1: RecursionError"),
    ("def get_config(): return 3", "get_config() returns 3; it must return a config"),
    ("get_config = 3", "mine.py has no function get_config"),
    ("import ml_collections as m\ndef get_config(): return m.ConfigDict({'steps': 3})",
     "the config has no batch_norm, batch_size"),
    ("from ls_jax import config\ndef get_config():\n    c = config.default()\n    c.stepz = 3", "mine.py, line 4: "),
    ("\0", "null bytes"),
])
def test_a_config_file_that_is_none_or_raises(command, tmp_path, text, due):
    (tmp_path / "mine.py").write_text(text)
    status, _, err = command(f"--config={tmp_path}/mine.py")
    assert status == 2 and due in err and err.count("\n") == 1, err
