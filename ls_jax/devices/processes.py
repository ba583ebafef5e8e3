"""Several processes, one per host or GPU: how they connect, and how the loss of one ends all with one line."""
import contextlib
import ctypes
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

import jax

from ls_jax.errors import UserError

# Timeouts in seconds: to connect, between heartbeats, at shutdown. Without them a collective would wait for ever. The
# last is long, since process 0 may still be writing its report.
TIMEOUTS = dict(initialization_timeout=300, heartbeat_timeout_seconds=30, shutdown_timeout_seconds=86_400)
EXIT_DELAY = 10  # seconds until a process that failed exits; the others have time to fail with the same error
ABSENT = (f"not all processes came within {TIMEOUTS['initialization_timeout']} s: start the same command on every "
          "host, with one --coordinator that all can reach and the right --processes")
LOST = ("another process was lost ({}), and its own log says why; fix the cause, then rerun the same command on every "
        "host: training resumes from the last checkpoint")
SIGNS = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "Gloo", "NCCL", "coordination service")  # in such errors


def initialize(coordinator: str | None, processes: int | None, process: int | None, *, auto: bool = False) -> None:
    """Connect to the other processes; call it before anything uses a device. Without arguments this process is alone.

    Args:
        coordinator: HOST:PORT of process 0.
        processes: how many there are.
        process: the index of this one.
        auto: let JAX find them from the cluster (Cloud TPU, Slurm, Open MPI, Kubernetes). It is not guessed: a pod that
        is
            taken for single hosts would train a separate copy on each.

    Raises:
        UserError: the arguments do not go together.
    """
    if coordinator is None and not auto:
        if processes not in (None, 1):
            raise UserError("--processes needs --coordinator=HOST:PORT, the address of process 0")
        return
    if not auto and (processes is None or process is None or not 0 <= process < processes):
        raise UserError(f"--coordinator needs --processes=N and --process=I with 0 <= I < N, got "
                        f"processes={processes}, process={process}")
    explain_abort(ABSENT)
    jax.distributed.initialize(*() if auto else (coordinator, processes, process), **TIMEOUTS)
    _preemption()
    explain_abort(LOST.format("or JAX failed: see above"))


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A context for work that several processes share: if one is lost or fails, the others end too.

    A process whose peer is lost ends with a line on stderr and the status `os.EX_TEMPFAIL`, 75, which means: try again.
    A process that fails itself ends as if it were alone, but does not wait for the others.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if jax.process_count() > 1:
            if reason := loss(error):
                sys.stdout.flush()
                give_up(LOST.format(reason))
            leave = threading.Timer(EXIT_DELAY, os._exit, (_status(error),))
            leave.daemon = True
            leave.start()
        raise


def _status(error):
    """The exit status of a command that ends with this error."""
    if isinstance(error, UserError):
        return 2
    return 128 + getattr(error, "signal", signal.SIGINT) if isinstance(error, KeyboardInterrupt) else 1


def preemption() -> Callable[[int], None]:
    """A function to call with a signal's number, which tells the other processes through JAX's preemption service."""
    if jax.process_count() == 1:
        return _nobody_to_tell
    notify = _preemption()

    def tell(number):
        notify(signal.SIGTERM)

    return tell


def _nobody_to_tell(number):
    """There are no other processes."""


@functools.cache
def _preemption() -> Callable[[int], None]:
    """The preemption service's own handler of SIGTERM; Python's handler is put back in its place.

    With the service's handler, SIGTERM would reach only the training loop, which asks the service; and it handles no
    other signal.
    """
    set_handler = ctypes.CDLL(None).signal
    set_handler.restype, set_handler.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    handler = set_handler(signal.SIGTERM, None)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    return ctypes.CFUNCTYPE(None, ctypes.c_int)(handler)


def loss(error: BaseException | None) -> str:
    """The message of an error, or of one that caused it, that says that another process does not answer; else ""."""
    while error is not None:
        if any(sign in str(error) for sign in SIGNS):
            return " ".join(str(error).split())[:150]
        error = error.__cause__ or error.__context__
    return ""


def give_up(line: str) -> NoReturn:
    """End this process at once with a line on stderr."""
    os.write(2, f"ls_jax: {line}\n".encode())
    os._exit(os.EX_TEMPFAIL)


def explain_abort(line: str) -> None:
    """Make abort() end this process as `give_up` does.

    JAX calls abort() from its own thread when other processes are gone. Then no exception is raised, and a handler of
    Python's `signal` module would wait for the main thread, which waits for the other processes.
    """
    global _handler  # C keeps no reference
    _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: give_up(line))
    ctypes.CDLL(None).signal(signal.SIGABRT, _handler)
