"""Several processes end together: what says that one was lost, and that nobody waits. (Runs of two are in
test_train.py.)"""
import os
import pathlib
import subprocess
import sys

import pytest

from ls_jax.devices import processes
from ls_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
ABORTED = """
import os, threading, time
from ls_jax.devices import processes
processes.explain_abort("a line")
threading.Timer(0.1, os.abort).start()
time.sleep(600)
"""
FAILED = """
import atexit, time, jax
from ls_jax.devices import processes
jax.process_count, processes.EXIT_DELAY = lambda: 2, 0.5
atexit.register(time.sleep, 600)  # as JAX waits there for the others
with processes.together():
    raise {error}
"""


def ended(program):
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu"},
                          capture_output=True,
                          text=True, timeout=300)


def test_an_abort_ends_with_a_line_and_status_75():
    """From another thread, while the main one waits: where JAX gives up."""
    result = ended(ABORTED)
    assert (result.stderr, result.returncode) == ("ls_jax: a line\n", 75)


@pytest.mark.parametrize("error,status,line", [
    ("ValueError('UNKNOWN: Gloo AllGather failed: closed by peer')", 75,
     "another process was lost (UNKNOWN: Gloo AllGather failed: closed by peer), and its own log says why"),
    ("processes.UserError('my disk is full')", 2, "my disk is full")])
def test_a_process_that_fails_does_not_wait_for_the_others(error, status, line):
    result = ended(FAILED.format(error=error))
    assert result.returncode == status and line in result.stderr.splitlines()[-1]


def test_a_loss_is_told_from_a_mistake():
    lost = UserError("cannot write checkpoint 7")
    lost.__cause__ = RuntimeError("UNAVAILABLE: the following tasks\nare unhealthy")
    assert processes.loss(lost) == "UNAVAILABLE: the following tasks are unhealthy"
    assert processes.loss(UserError("my disk is full")) == ""


def test_a_process_alone_fails_as_ever():
    with pytest.raises(RuntimeError, match="UNAVAILABLE"), processes.together():
        raise RuntimeError("UNAVAILABLE")
