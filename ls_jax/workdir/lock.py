"""One run at a time in a workdir: a lock that names its holder. The kernel releases it when the holder dies.

It is `flock` on WORKDIR/.lock. On a shared disk that supports it (NFSv4, Lustre with `-o flock`) it also works between
hosts. Where locks are not supported, there is none. The file is never removed, since another process may be about to
lock it.
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
from ls_jax.workdir import files

try:
    import fcntl
except ImportError:  # no POSIX
    fcntl = None

FILE = ".lock"
PATIENCE = 0.3  # seconds a new holder has to write its name
_held: dict[pathlib.Path, int | None] = {}  # by this process: its open file, or None if process 0 has the lock


@contextlib.contextmanager
def held(*workdirs: str | pathlib.Path) -> Iterator[None]:
    """Hold the locks of workdirs during a `with` block. Missing workdirs are made.

    Blocks of one process may be nested. With several processes (`jax.distributed`) all enter the block, and process 0
    takes the locks for all.

    Raises:
        UserError: another run holds a lock, or a workdir cannot be written to. All processes raise it.
    """
    with contextlib.ExitStack() as stack:
        for workdir in workdirs:
            path = pathlib.Path(workdir).resolve()
            if path not in _held:
                _held[path] = _take(pathlib.Path(workdir))
                stack.callback(_release, path)
                if _held[path] is not None:
                    files.remove_left_over(path)
        yield


def _take(workdir):
    if not jax.distributed.is_initialized():  # jax.process_index would start the accelerator; a report needs none
        return _locked(workdir)
    file, problem = None, None
    try:
        file = _locked(workdir) if jax.process_index() == 0 else None
    except UserError as error:
        problem = error
    if multihost_utils.process_allgather(np.asarray(problem is not None)).any():
        raise problem or UserError(f"process 0 cannot lock {workdir}: see its own log")
    return file


def _locked(workdir):
    """The open file, locked, with the name of this process in it."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = os.open(workdir / FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise files.unwritable(workdir, error) from error
    try:
        _lock(file, workdir)
        os.ftruncate(file, 0)
        now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        os.pwrite(file, json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": now}).encode(), 0)
        os.fsync(file)  # for other hosts
    except OSError:  # a full disk: the file stays without a name
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
                raise UserError(f"{workdir} is in use by {_holder(workdir)}: wait for it to end, stop it, or choose "
                                "another --workdir") from error
            time.sleep(wait)
        except OSError:  # locks are not supported there
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
    """Close a forked child's copies of the open files, which would keep the locks after the parent's death."""
    for file in _held.values():
        if file is not None:
            os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
