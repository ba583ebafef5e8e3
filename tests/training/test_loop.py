"""The loop: killed and resumed, stopped, diverged, continued elsewhere; the workdir it leaves."""
import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from ls_jax import data
from ls_jax.errors import UserError
from ls_jax.models.mlp import MLP
from ls_jax.modes import experiment
from ls_jax.studies.common.records import read, select
from ls_jax.training import loop
from ls_jax.workdir import checkpoint, log
from tests.runs import ROOT, assert_rows_close, environment, finish, same_states, wait_for_step

COMMAND = [sys.executable, "-m", "ls_jax.main", "--config=configs/digits_mlp.py:smoke", "--config.steps=300",
           "--config.batch_size=8",
           "--config.checkpoint.every=7", "--config.log.every=10", "--config.evaluate.every=50", "--mode=train"]


def start(workdir, *more, devices=1):
    return subprocess.Popen([*COMMAND, f"--workdir={workdir}", *more], cwd=ROOT, env=environment(devices),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    finish(start(workdir))
    return workdir


def test_killed_and_resumed_is_bit_equal(uninterrupted, tmp_path):
    """Kill -9 twice, at whatever step the run is at; the third start finishes as if nothing had been."""
    for step in (30, 120):
        process = start(tmp_path)
        wait_for_step(tmp_path, step)
        process.kill()
        process.wait()
    finish(start(tmp_path))
    assert same_states(tmp_path, uninterrupted)
    assert log.read_metrics(tmp_path) == log.read_metrics(uninterrupted)
    outcomes = [session["outcome"] for session in json.loads((tmp_path / "manifest.json").read_text())["sessions"]]
    assert outcomes == ["killed", "killed", "finished"]


def test_sigterm_saves_and_the_next_start_goes_on(uninterrupted, tmp_path):
    process = start(tmp_path, "--config.checkpoint.every=0")
    wait_for_step(tmp_path, 20)
    process.send_signal(signal.SIGTERM)
    assert "the same command goes on from there" in finish(process, 143)
    assert checkpoint.Checkpoints(tmp_path).steps()
    finish(start(tmp_path))
    assert same_states(tmp_path, uninterrupted)


def test_resumes_on_another_mesh(uninterrupted, tmp_path):
    process = start(tmp_path)
    wait_for_step(tmp_path, 30)
    process.kill()
    process.wait()
    finish(start(tmp_path, "--config.mesh.member=2", "--config.mesh.data=2", devices=4))
    assert_rows_close(tmp_path, uninterrupted)


def start_two(workdir):
    """Both processes of a run, whose members lie on one each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [start(workdir, f"--coordinator=localhost:{port}", "--processes=2", f"--process={i}", "--config.mesh.data=2",
                  "--config.mesh.member=2", "--config.checkpoint.every=60", devices=2) for i in range(2)]


@pytest.fixture(scope="module")
def two_uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("two")
    for process in start_two(workdir):
        finish(process)
    return workdir


def test_two_processes_give_what_one_does(uninterrupted, two_uninterrupted):
    assert_rows_close(two_uninterrupted, uninterrupted)


def test_a_lost_process_ends_the_other_and_both_go_on(two_uninterrupted, tmp_path):
    """With a line, within a minute."""
    processes = start_two(tmp_path)
    wait_for_step(tmp_path, 90)
    processes[1].kill()
    output = finish(processes[0], os.EX_TEMPFAIL, seconds=60)
    assert "ls_jax: another process was lost (" in output
    assert "resumes from the last checkpoint" in output.splitlines()[-1]
    processes[1].communicate()
    for process in start_two(tmp_path):
        finish(process)
    assert same_states(tmp_path, two_uninterrupted)
    assert log.read_metrics(tmp_path) == log.read_metrics(two_uninterrupted)


def test_ctrl_c_at_one_process_saves_and_ends_both(two_uninterrupted, tmp_path):
    processes = start_two(tmp_path)
    wait_for_step(tmp_path, 30)
    processes[1].send_signal(signal.SIGINT)
    lines = {[line for line in finish(process, status).splitlines() if line.startswith("ls_jax: ")][-1]
             for process, status in zip(processes, (143, 130))}
    step = checkpoint.Checkpoints(tmp_path).steps()[-1]
    assert lines == {f"ls_jax: stopped at step {step} of 300; the same command goes on from there"} and step % 60
    for process in start_two(tmp_path):
        finish(process)
    assert same_states(tmp_path, two_uninterrupted)


def test_a_diverged_member_is_told_of_and_left_out(tiny, tmp_path, capsys):
    tiny.sweep.alpha, tiny.sweep.learning_rate = (0.0,), (0.1, 1e30)
    experiment.run(tiny, tmp_path)
    captured = capsys.readouterr()
    assert "learning rate 1e+30) diverged at step 1 and is frozen; the others go on" in captured.err
    assert "excluded, since it diverged at step 1" in captured.out
    records = read(tmp_path)
    accuracies = select(records, study="accuracy", quantity="accuracy", split="test")
    assert [record.hyper["learning_rate"] for record in accuracies] == [0.1]
    diverged, = select(records, quantity="diverged at step")
    assert (diverged.mean, diverged.extra["member"], diverged.arm) == (1, 1, "alpha=0, learning_rate=1e+30")
    assert "diverged at step 1: α=0, learning_rate=1e+30, seed 0" in captured.out
    assert [row["loss"] is None for row in log.read_metrics(tmp_path) if row["step"] == 8] == [False, True] * 2
    assert not (tmp_path / "predictions" / "test-001.npz").exists()


def test_the_workdir_is_what_the_design_says(tiny, tmp_path):
    tiny.log.writers = ("tensorboard",)
    experiment.run(tiny, tmp_path)
    assert {"config.json", "manifest.json", "metrics.jsonl", "checkpoints", "predictions", "results.json", "figures",
            "report.html",
            "tensorboard"} <= {path.name for path in tmp_path.iterdir()}
    with np.load(tmp_path / "predictions" / "test-001.npz") as file:
        assert file["logits"].shape == (500, 10) and len(np.unique(file["index"])) == 500
        np.testing.assert_allclose(file["features"] @ file["kernel"] + file["bias"], file["logits"], atol=1e-4)
        split = data.load(tiny.data).splits["test"]
        np.testing.assert_array_equal(file["labels"], split.labels[file["index"]])
        logged = [row for row in log.read_metrics(tmp_path) if row["split"] == "test" and row["member"] == 1][-1]
        assert np.mean(file["logits"].argmax(1) == file["labels"]) == pytest.approx(logged["accuracy"], abs=1e-6)


def test_study_reads_the_checkpoint_and_report_the_results(tiny, tmp_path):
    experiment.run(tiny, tmp_path)
    before = (tmp_path / "results.json").read_text()
    (tmp_path / "results.json").unlink()
    (tmp_path / "report.html").unlink()
    with pytest.raises(UserError, match="holds no results.json to report: run the experiment first"):
        experiment.report([tmp_path])
    experiment.study(tiny, tmp_path)
    assert (tmp_path / "results.json").read_text() == before and (tmp_path / "report.html").exists()


def test_another_experiments_workdir_is_refused_with_the_difference(tiny, tmp_path):
    experiment.train(tiny, tmp_path)
    tiny.steps, tiny.loss.multiplier = 16, 3.0
    difference = r"holds another experiment \(loss.multiplier: 1.0 -> 3.0; steps: 8 -> 16\): choose another"
    with pytest.raises(UserError, match=difference):
        experiment.train(tiny, tmp_path)
    tiny.steps, tiny.loss.multiplier, tiny.log.every = 8, 1.0, 2
    experiment.train(tiny, tmp_path)  # what does not change the result may differ


def test_steps_per_call_does_not_change_the_result(tiny, tmp_path):
    experiment.train(tiny, tmp_path / "one")
    tiny.steps_per_call = 3
    experiment.train(tiny, tmp_path / "three")
    (_, one, _), (_, three, _) = (checkpoint.Checkpoints(tmp_path / name).load() for name in ("one", "three"))
    np.testing.assert_allclose(one["params"]["head"]["kernel"], three["params"]["head"]["kernel"], atol=1e-5)


@pytest.mark.parametrize("step,per_call,expected", [(0, 4, 4), (8, 4, 1), (9, 4, 1), (10, 4, 4), (0, 20, 1)])
def test_calls_end_where_something_is_due(tiny, step, per_call, expected):
    tiny.steps, tiny.log.every, tiny.steps_per_call = 100, 10, per_call
    assert loop.steps_to_take(tiny, step) == expected


def test_the_model_declares_how_its_members_share_an_accelerator(monkeypatch, tiny):
    assert loop.strategy(tiny, "gpu") == "vmap" and loop.strategy(tiny, "cpu") == "unroll"
    monkeypatch.setattr(MLP, "VMAP_MEMBERS", False)
    assert loop.strategy(tiny, "gpu") == "unroll"
    tiny.members = "map"  # a user's choice is taken
    assert loop.strategy(tiny, "gpu") == "map"
