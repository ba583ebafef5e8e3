"""Echoes of an error are not shown within `Quiet`, all else is, and the process's hooks are put back."""
import logging
import sys
import types

import pytest

from ls_jax.workdir import checkpoint_format
from ls_jax.workdir.quiet import Quiet


@pytest.fixture
def shown(monkeypatch):
    found = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: found.append(str(error)))
    monkeypatch.setattr(sys, "unraisablehook", lambda info: found.append(str(info.exc_value)))
    return found


def test_echoes_are_silent_and_all_else_is_shown(shown):
    hooks, filters = (sys.excepthook, sys.unraisablehook), list(logging.getLogger("absl").filters)
    unraisable = lambda error: sys.unraisablehook(types.SimpleNamespace(exc_value=error))
    with Quiet():
        for text in ("Event loop is closed", "another"):
            sys.excepthook(RuntimeError, RuntimeError(text), None)
            unraisable(RuntimeError(text))
        record = lambda path: logging.LogRecord("absl", logging.ERROR, path, 1, "failed", (), None)
        of_orbax = [logging.getLogger("absl").filter(record(f"/packages/{name}/x.py")) for name in ("orbax", "other")]
        assert [bool(passed) for passed in of_orbax] == [False, True]
    assert shown == ["another", "another"]
    assert (sys.excepthook, sys.unraisablehook) == hooks and logging.getLogger("absl").filters == filters
    sys.excepthook(RuntimeError, RuntimeError("Event loop is closed"), None)
    assert shown[2:] == ["Event loop is closed"]


def test_checkpoints_leave_the_process_as_it_is(shown):
    hooks, filters = (sys.excepthook, sys.unraisablehook), list(logging.getLogger("asyncio").filters)
    checkpoint_format.orbax.cache_clear()
    checkpoint_format.orbax()
    assert (sys.excepthook, sys.unraisablehook) == hooks and logging.getLogger("asyncio").filters == filters
