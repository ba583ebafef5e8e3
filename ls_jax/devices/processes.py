"""Several processes, one a host or a GPU: how they find each other, and that the loss of one ends all, with a line that says so."""
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

# Seconds that processes wait for those that do not come, or do not answer: in a collective they would wait for ever. At the end they
# wait long, since process 0 may still be writing its report; one that fails leaves within FAREWELL, which is time for all to fail alike.
PATIENCE = dict(initialization_timeout=300, heartbeat_timeout_seconds=30, shutdown_timeout_seconds=86_400)
FAREWELL = 10
ABSENT = (f"not all processes came within {PATIENCE['initialization_timeout']} s: start the same command on every host, with one "
          "--coordinator that all can reach and the right --processes")
LOST = "another process was lost ({}), and its own log says why; the same command on every host goes on from the last checkpoint"
SIGNS = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "Gloo", "NCCL", "coordination service")  # in errors that say so


def initialize(coordinator: str | None, processes: int | None, process: int | None, *, auto: bool = False) -> None:
    """Join the other processes, before anything asks for a device; without arguments this process is alone.

    `auto` lets JAX find the coordinator from the cluster (Cloud TPU, Slurm, Open MPI, Kubernetes). It is a flag and not a
    guess, since a pod that is wrongly taken for a single host trains as many separate copies as it has hosts.
    """
    if coordinator is None and not auto:
        if processes not in (None, 1):
            raise UserError("--processes needs --coordinator=HOST:PORT, the address of process 0")
        return
    if not auto and (processes is None or process is None or not 0 <= process < processes):
        raise UserError(f"--coordinator needs --processes=N and --process=I with 0 <= I < N, got processes={processes}, process={process}")
    explain_abort(ABSENT)
    jax.distributed.initialize(*() if auto else (coordinator, processes, process), **PATIENCE)
    _preemption()
    explain_abort(LOST.format("or JAX failed: see above"))


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Work that several processes share, as a `with` block: whoever is lost, or fails, ends the others too.

    A process whose peer is lost ends with a line on stderr and the status `os.EX_TEMPFAIL`, 75: try again. One that fails itself ends
    as it would alone, but does not wait for the others.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if jax.process_count() > 1:
            if reason := loss(error):
                sys.stdout.flush()
                give_up(LOST.format(reason))
            status = (2 if isinstance(error, UserError) else 128 + getattr(error, "signal", signal.SIGINT)
                      if isinstance(error, KeyboardInterrupt) else 1)
            leave = threading.Timer(FAREWELL, os._exit, (status,))
            leave.daemon = True
            leave.start()
        raise


def preemption() -> Callable[[int], None]:
    """A function to call with a signal that came: JAX's preemption service then tells the other processes, if any."""
    if jax.process_count() == 1:
        return lambda number: None
    notify = _preemption()
    return lambda number: notify(signal.SIGTERM)


@functools.cache
def _preemption() -> Callable[[int], None]:
    """The service's own handler of SIGTERM, in whose place Python's is put back.

    It would keep SIGTERM for the training loop, which alone asks the service, and it hears of no other signal.
    """
    place = ctypes.CDLL(None).signal
    place.restype, place.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    handler = place(signal.SIGTERM, None)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    return ctypes.CFUNCTYPE(None, ctypes.c_int)(handler)


def loss(error: BaseException | None) -> str:
    """Where an error, or one that it came from, says that another process does not answer, what it says; else ""."""
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
    """Let abort() end this process as `give_up` does.

    JAX calls it from a thread of its own where the others are gone: no exception comes, and a handler of Python's `signal` would wait
    for the main thread, which waits for the others.
    """
    global _handler  # C keeps no reference
    _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: give_up(line))
    ctypes.CDLL(None).signal(signal.SIGABRT, _handler)
