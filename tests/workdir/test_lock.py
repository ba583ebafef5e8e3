"""A workdir belongs to one run at a time: what the second is told, and that a lock never outlives its holder, nor
refuses it."""
import errno
import functools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from ls_jax import report
from ls_jax.errors import UserError
from ls_jax.modes import analyze, experiment, import_timm, reproduce
from ls_jax.workdir import lock, log

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOLD = "import sys, time; from ls_jax.workdir import lock\nwith lock.held(*sys.argv[1:]): print('held', flush=True); {}"
NAMED = (r"is in use by process {} on {} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\S+: "
         r"wait for it to end, stop it, or choose another --workdir")


def environment():
    return {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def holder():
    """Starts a process that holds the lock of workdirs and then does something; ended with the test."""
    started = []

    def start(*workdirs, then="time.sleep(600)"):
        process = subprocess.Popen([sys.executable, "-c", HOLD.format(then), *map(str, workdirs)], env=environment(),
                                   text=True,
                                   stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_second_is_told_who_holds_it_until_that_one_dies(holder, tmp_path):
    first = holder(tmp_path)
    with pytest.raises(UserError, match=NAMED.format(first.pid, re.escape(socket.gethostname()))), lock.held(tmp_path):
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    with lock.held(tmp_path):
        assert json.loads((tmp_path / lock.FILE).read_text())["process"] == os.getpid()
    assert (tmp_path / lock.FILE).read_text() == ""


def test_a_child_does_not_keep_it(holder, tmp_path):
    """Neither a forked process, whose files are its parent's, nor a started one."""
    process = holder(tmp_path, then="import os, subprocess; print(os.fork() or subprocess.Popen(['sleep', '60']).pid, "
                                    "flush=True); "
                                    "time.sleep(60)")
    children = [int(process.stdout.readline()) for _ in range(2)]
    process.kill()
    process.wait()
    try:
        with lock.held(tmp_path):
            pass
    finally:
        for child in filter(None, children):
            os.kill(child, signal.SIGKILL)


def test_blocks_nest_and_follow_each_other(tmp_path, holder):
    for _ in range(2):
        with lock.held(tmp_path), lock.held(tmp_path,
                                            tmp_path / "teachers" / "hard"), lock.held(tmp_path / "."
                                                                                       / "teachers" / "hard"):
            pass
        with pytest.raises(ValueError, match="mine"), lock.held(tmp_path):
            raise ValueError("mine")
    other = holder(tmp_path / "second")
    with pytest.raises(UserError,
                       match=f"second is in use by process {other.pid}"), lock.held(tmp_path, tmp_path / "second"):
        pass
    holder(tmp_path)  # which the refused one had, and gave back


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_used_without(tmp_path, monkeypatch, number):
    def unsupported(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", unsupported)
    with lock.held(tmp_path):
        pass


def test_every_mode_that_writes_asks_for_it(tiny, tmp_path, monkeypatch):
    """Before it writes anything; import_timm and reproduce too."""
    log.write_json(tmp_path / "results.json", [])
    (tmp_path / "checkpoints").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())

    def refuse(workdir):
        raise UserError(f"{workdir.name} is in use")

    monkeypatch.setattr(lock, "_locked", refuse)
    monkeypatch.setattr(import_timm.configs, "load", lambda *_: tiny)
    tiny.sweep.alpha = (0.0,)
    modes = [functools.partial(mode, tiny, tmp_path)
             for mode in (experiment.run, experiment.measure, experiment.train, experiment.study)]
    for mode in (*modes, lambda: experiment.report([tmp_path]), lambda: report.write([tmp_path]),
                 lambda: analyze.run(tmp_path / "a.npz", tmp_path),
                 lambda: analyze.measure(tmp_path / "a.npz", tmp_path),
                 lambda: reproduce.run(tmp_path, "smoke", None), lambda: import_timm.run(["a.safetensors"], tmp_path)):
        with pytest.raises(UserError, match=f"{tmp_path.name} is in use"):
            mode()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def command(workdir, *more):
    return subprocess.Popen([sys.executable, "-m", "ls_jax", "--config=configs/digits_mlp.py:smoke", "--mode=train",
                             f"--workdir={workdir}",
                             "--config.log.writers=()", "--config.batch_size=8", "--config.log.every=10", *more],
                            cwd=ROOT,
                            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_second_run_in_the_workdir_changes_nothing(tmp_path):
    first = command(tmp_path, "--config.steps=2000000")
    try:
        while not log.read_metrics(tmp_path):
            assert first.poll() is None
            time.sleep(0.05)
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()
                 if path.name in ("config.json", "manifest.json", lock.FILE)}
        second = command(tmp_path, "--config.steps=2000000")
        _, told = second.communicate(timeout=120)
        assert second.returncode == 2 and told.count("\n") == 1 and re.search(NAMED.format(first.pid, ".*"), told), told
        assert files == {name: (tmp_path / name).read_bytes() for name in files}
    finally:
        first.kill()
        first.communicate()
    rows = [(row["step"], row["member"], row["split"]) for row in log.read_metrics(tmp_path)]
    assert len(rows) == len(set(rows))


def test_a_refusal_ends_all_processes_of_a_run(tmp_path, holder):
    """Process 0 alone asks. (That they share the lock: runs of two processes are in test_train.py.)"""
    other = holder(tmp_path)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    runs = [command(tmp_path, f"--coordinator=localhost:{port}", "--processes=2", f"--process={i}") for i in (0, 1)]
    told = [run.communicate(timeout=240)[1].splitlines()[-1] for run in runs]
    assert [run.returncode for run in runs] == [2, 2]
    assert f"is in use by process {other.pid}" in told[0]
    assert f"process 0 cannot lock {tmp_path}: see its own log" in told[1]
    assert not (tmp_path / "config.json").exists()


def test_what_a_killed_process_left_is_removed(tmp_path):
    """And nothing else: neither another's unfinished file nor what only looks like one."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = [tmp_path / f"{name}-{dead.pid}" for name in (".manifest.json", ".writable", ".vocabulary.model")]
    kept = [tmp_path / f".report.html-{os.getpid()}", tmp_path / f".notes-{dead.pid}", tmp_path / "manifest.json-1"]
    for path in (*left, *kept):
        path.write_text("x")
    with lock.held(tmp_path):
        assert not any(path.exists() for path in left) and all(path.exists() for path in kept)
