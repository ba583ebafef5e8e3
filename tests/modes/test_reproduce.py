"""The paper from one command: what is planned, left out, done already, stopped, and what the page about all of it
says."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from ls_jax.errors import Interrupted, UserError
from ls_jax.modes import reproduce
from ls_jax.report import overview

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
DIGITS = reproduce.PLAN[0]


@pytest.fixture
def nothing_prepared(tmp_path):
    """A folder without TFDS builds."""
    place = tmp_path / "no_data"
    place.mkdir()
    return str(place)


def test_every_config_is_in_the_plan_and_every_item_in_the_overview():
    assert {experiment.name for experiment in reproduce.PLAN} == {path.stem for path in CONFIGS.glob("*.py")}
    assert {item for experiment in reproduce.PLAN for item in experiment.shows} <= set(overview.PAPER)


def test_what_is_not_prepared_is_left_out_with_the_command_that_prepares_it(tmp_path, nothing_prepared):
    steps = {step.experiment.name: step for step in reproduce.plan(tmp_path, "smoke", nothing_prepared)}
    assert steps["digits_mlp"].state == steps["digits_distill"].state == "to do"
    assert steps["cifar10_alexnet"].state.startswith("left out: cifar10 is not prepared in ")
    assert "download_and_prepare()" in steps["cifar10_alexnet"].state
    assert steps["wmt_transformer"].state.startswith("left out: wmt14_translate/de-en is not prepared in ")
    assert re.search("left out: .*multi30k: no such folder", steps["multi30k_transformer"].state)
    short = {step.experiment.name: step.state for step in reproduce.plan(tmp_path, "short", nothing_prepared)}
    # never 300k steps by surprise
    assert short["wmt_transformer"] == "left out: it has no variant 'short'; --scale=paper runs it"


@pytest.mark.parametrize("scale,path", [("smoke", "digits_mlp.py:smoke"), ("short", "digits_mlp.py"),
                                        ("paper", "digits_mlp.py")])
def test_a_scale_is_a_variant_of_the_config(tmp_path, nothing_prepared, scale, path):
    step = reproduce.plan(tmp_path, scale, nothing_prepared)[0]
    assert step.path.endswith(path)
    assert step.minutes == (DIGITS.minutes if scale != "smoke" else 0.5)


def test_minutes_are_scaled_by_the_images_that_all_trainings_read(tmp_path, monkeypatch, nothing_prepared):
    monkeypatch.setattr(reproduce.data, "check", lambda data: None)  # as if everything were prepared
    steps = {step.experiment.name: step for step in reproduce.plan(tmp_path, "paper", nothing_prepared)}
    alexnet = next(each for each in reproduce.PLAN if each.name == "cifar10_alexnet")
    # steps x members
    assert steps["cifar10_alexnet"].minutes == pytest.approx(alexnet.minutes * 390_000 * 10 / (1875 * 6))
    assert steps["mnist_distill"].minutes is None or steps["mnist_distill"].minutes > 60


def test_the_plan_is_shown_before_anything_runs(tmp_path, nothing_prepared):
    text = reproduce.describe(reproduce.plan(tmp_path, "short", nothing_prepared), "short")
    assert "digits_mlp" in text and "Figure 1" in text and "left out: mnist is not prepared" in text
    assert "3 to do, about " in text and "1 of unknown length" in text  # those on the digits


def test_a_failure_does_not_stop_the_others_and_what_is_done_stays_done(tmp_path, monkeypatch, capfd):
    broken = tmp_path / "configs"
    broken.mkdir()
    for name in ("digits_mlp", "broken"):
        text = (CONFIGS / "digits_mlp.py").read_text()
        (broken / f"{name}.py").write_text(text.replace("(128, 128)", "(4, 0)" if name == "broken" else "(4,)"))
    monkeypatch.chdir(tmp_path)  # where configs/ is looked for first
    monkeypatch.setattr(reproduce, "PLAN", (reproduce.Experiment("broken", ("Figure 2",)), DIGITS))
    workdir = tmp_path / "run"
    with pytest.raises(UserError, match="broken did not finish"):
        reproduce.run(workdir, "smoke", None)
    assert (workdir / "digits_mlp" / "report.html").exists()
    assert "One seed decides nothing" in (workdir / "digits_mlp.log").read_text()
    page = (workdir / "report.html").read_text()
    assert '<a href="#run0">digits_mlp</a>' in page and 'id="run0"' in page and "broken</a>" not in page
    written = (workdir / "digits_mlp" / "results.json").stat().st_mtime_ns
    monkeypatch.setattr(reproduce, "PLAN", (DIGITS,))
    capfd.readouterr()
    reproduce.run(workdir, "smoke", None)
    assert "  digits_mlp  Figure 1, Figure 2  done" in capfd.readouterr().out
    assert (workdir / "digits_mlp" / "results.json").stat().st_mtime_ns == written
    with pytest.raises(UserError, match="another scale"):
        reproduce.run(workdir, "paper", None)


def start(workdir):
    process = subprocess.Popen([sys.executable, "-m", "ls_jax.main", "--mode=reproduce", "--scale=smoke",
                                f"--workdir={workdir}",
                                f"--data_dir={workdir}/none"], cwd=CONFIGS.parent, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE,
                               text=True, start_new_session=True)
    while not (workdir / "digits_mlp" / "manifest.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def outcome(workdir):
    return json.loads((workdir / "digits_mlp" / "manifest.json").read_text())["sessions"][-1]["outcome"]


def test_ctrl_c_ends_it_and_its_experiment_which_alone_says_so(tmp_path):
    """Which a terminal sends to the whole process group."""
    process = start(tmp_path / "run")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    lines = [line for line in errors.splitlines() if not line.startswith("step ")]
    assert process.returncode == 130 and lines[-1].startswith("ls_jax: stopped "), errors
    # whether it trains yet
    assert lines[:-1] in ([], ["ls_jax: SIGINT: saving after this step; once more ends at once"]), errors
    assert outcome(tmp_path / "run").startswith("interrupted: stopped ")


def test_its_experiment_does_not_outlive_it(tmp_path):
    process = start(tmp_path / "run")
    process.kill()
    deadline = time.monotonic() + 60
    while not outcome(tmp_path / "run").startswith("interrupted: stopped "):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.communicate()  # which the experiment's stderr is, too


def test_sigterm_reaches_the_experiment(tmp_path):
    child = ("import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); "
             "print('up', flush=True); time.sleep(60)")
    heard = tmp_path / "out"

    def terminate():
        while not heard.exists() or not heard.read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate).start()
    with open(heard, "w") as output, pytest.raises(Interrupted):
        reproduce.call([sys.executable, "-c", child], output)


@pytest.mark.parametrize("arguments,message", [
    (["--config=configs/digits_mlp.py"], "--mode=reproduce takes no --config"),
    (["--distributed"], "is for one process"),
])
def test_flags_that_do_not_fit(tmp_path, arguments, message):
    ended = subprocess.run([sys.executable, "-m", "ls_jax.main", "--mode=reproduce", f"--workdir={tmp_path}",
                            *arguments],
                           capture_output=True, text=True, cwd=CONFIGS.parent)
    assert ended.returncode == 2 and message in ended.stderr and ended.stderr.count("\n") == 1
