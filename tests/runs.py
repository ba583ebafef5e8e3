"""Runs as processes of their own, and what they left compared."""
import os
import pathlib
import time

import numpy as np
import pytest

from ls_jax.workdir import checkpoint, log

ROOT = pathlib.Path(__file__).resolve().parents[1]


def same_states(a, b):
    """Whether two workdirs' last checkpoints are equal to the last bit."""
    (step_a, state_a, _), (step_b, state_b, _) = (checkpoint.Checkpoints(w).load() for w in (a, b))
    import jax
    jax.tree.map(np.testing.assert_array_equal, state_a, state_b)
    return step_a == step_b


def assert_rows_close(ours, theirs, until=60):
    """The same rows, to float tolerance in the first steps (later, rounding has grown by momentum and kinks)."""
    for one, other in zip(log.read_metrics(ours), log.read_metrics(theirs), strict=True):
        assert [one[name] for name in ("step", "member", "split")] == [other[name]
                                                                       for name in ("step", "member", "split")]
        if one["step"] <= until:
            assert one["loss"] == pytest.approx(other["loss"], rel=2e-3)


def environment(devices=1):
    return {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}


def finish(process, code=0, seconds=240):
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == code, output
    return output


def wait_for_step(workdir, step, seconds=120):
    """Until the run has logged `step`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if any(row["step"] >= step for row in log.read_metrics(workdir)):
            return
        time.sleep(0.02)
    raise TimeoutError(f"{workdir} never reached step {step}")
