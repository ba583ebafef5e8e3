"""A workdir belongs to one run at a time: a lock that names its holder, and that the kernel releases when the holder dies.

It is `flock` on WORKDIR/.lock, which also holds between the hosts of a shared disk where that supports it (NFSv4, Lustre with `-o flock`).
Where locks are not supported, everything goes on without. The file stays, since another process may be about to lock it.
"""
import contextlib
import datetime
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from ls_jax.errors import UserError

try:
    import fcntl
except ImportError:  # no POSIX
    fcntl = None

FILE = ".lock"
PATIENCE = 0.3  # seconds that a new holder has to write its name
_held: dict[pathlib.Path, int | None] = {}  # by this process: its open file, or None where process 0 has the lock


@contextlib.contextmanager
def held(*workdirs: str | pathlib.Path) -> Iterator[None]:
    """Hold the locks of workdirs, which are made, for the length of a `with` block.

    Blocks may be nested: a process never waits for itself, nor refuses itself. Of several processes (`jax.distributed`), which all enter
    the block, process 0 takes the locks for all.

    Raises:
        UserError: another run holds one, on every process; or a workdir cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        for workdir in workdirs:
            path = pathlib.Path(workdir).resolve()
            if path not in _held:
                _held[path] = _take(pathlib.Path(workdir))
                stack.callback(_release, path)
        yield


def _take(workdir):
    if not jax.distributed.is_initialized():  # jax.process_index would start the accelerator, which a report does not need
        return _locked(workdir)
    file, problem = None, None
    try:
        file = _locked(workdir) if jax.process_index() == 0 else None
    except UserError as error:
        problem = error
    if multihost_utils.process_allgather(np.asarray(problem is not None)).any():
        raise problem or UserError(f"process 0 cannot have {workdir}: its own log says why")
    return file


def _locked(workdir):
    """The open file, locked, with this process's name in it."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = os.open(workdir / FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written to: {error.strerror}") from error
    try:
        _lock(file, workdir)
        os.ftruncate(file, 0)
        now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        os.pwrite(file, json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": now}).encode(), 0)
        os.fsync(file)  # for other hosts
    except OSError:  # a full disk: the name is missing
        pass
    except BaseException:
        os.close(file)
        raise
    return file


def _lock(file, workdir):
    for wait in (PATIENCE, None):
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if wait is None:
                raise UserError(f"{workdir} is in use by {_holder(workdir)}: wait for it to end, stop it, or choose another "
                                "--workdir") from error
            time.sleep(wait)
        except OSError:  # not supported there
            return


def _holder(workdir):
    try:
        named = json.loads((workdir / FILE).read_text())
        return f"process {named['process']} on {named['host']} since {named['since']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"


def _release(path):
    file = _held.pop(path)
    if file is not None:
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
        os.close(file)


def _forget():
    """In a forked child: its copies of the open files would keep the locks after the parent's death."""
    for file in _held.values():
        if file is not None:
            os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
