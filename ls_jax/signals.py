"""SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal closes): the first ends a command in order, a second at once.

A command calls `install` before its other imports. A signal then ends the process with one line and the status 128 +
its number: at once, or, within `unwinding`, by the exception `Interrupted`, so that every `with` block closes what it
has open. A `Hold` delays the first signal. `Hold` also works in programs that import ls_jax: they keep Python's
handlers, and SIGINT is a KeyboardInterrupt.

A signal that is ignored from the start (nohup), or that other code handles, is left alone.
"""
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ls_jax.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PARENT = "LS_JAX_PARENT"  # in the environment: the process that a command does not outlive
REPEAT = 0.25  # seconds; a signal repeated within is the same one: timeout(1) signals the process, then its group

_unwinding = False            # whether a signal is raised as an exception
_first = 0                    # the first signal, as seen by the main thread, which a long call of C may delay
_came: float | None = None    # when it came, as seen by the watching thread
_raised: Interrupted | None = None
_leaving = threading.Lock()
_holding: list["Hold"] = []   # the blocks that are entered, the innermost last
_status: int | None = None    # the process's, once nothing is left to do


def install() -> None:
    """Handle the signals of this process. A command calls it before its slow imports."""
    taken = [number for number in SIGNALS if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)]
    if taken:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
    if parent := os.environ.pop(PARENT, None):
        threading.Thread(target=_follow, args=(int(parent),), name="parent", daemon=True).start()
    for number in taken:
        signal.signal(number, _handle)


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """A `with` block in which a signal raises `Interrupted`, for work that must close what it has open.

    Raises:
        Interrupted: a signal came, even if a library turned it into another exception.
    """
    global _unwinding
    unraisable = sys.unraisablehook

    def raise_again_or_pass(info: "sys.UnraisableHookArgs") -> None:
        if not _raise_again(info.exc_value):
            unraisable(info)

    sys.unraisablehook = raise_again_or_pass
    _unwinding = True
    try:
        yield
    except Exception as error:
        if _first and _raised is not None:
            raise _raised from error
        raise
    finally:
        _unwinding = False
        sys.unraisablehook = unraisable


def decide(status: int) -> None:
    """Fix the exit status of this process, a command that is done.

    Python and JAX take a second to end. A signal in that second ends the process at once, with `status` and no line.
    """
    global _status
    if any(signal.getsignal(number) is _handle for number in SIGNALS):
        _status = status


class Hold:
    """A `with` block that delays the first signal to its end. `signal` is the signal's number, or 0.

    A second signal ends a command at once; in other programs it does what it did before. Only the main thread can hold
    signals.

    Args:
        tell: called with the first signal's number when the main thread sees it.
        notice: printed on stderr after the signal's name, as soon as the first signal comes.
        saved: says in the second signal's line what is saved; called from any thread.
    """

    def __init__(self, tell: Callable[[int], None] = lambda number: None, notice: str = "",
                 saved: Callable[[], str] = lambda: "run the same command again to go on from what is saved"):
        self.signal, self._tell, self._time = 0, tell, 0.0
        self.notice, self.saved = notice, saved
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Hold":
        if threading.current_thread() is threading.main_thread():
            ours = (signal.SIG_DFL, signal.default_int_handler, _handle)
            self._previous = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) in ours}
            for number in self._previous:
                signal.signal(number, self._keep)
            if self._previous:
                _holding.append(self)
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._previous:
            _holding.remove(self)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self.signal and kind is None:
            raise self.interruption()

    def interruption(self, message: str = "") -> KeyboardInterrupt:
        """The exception to raise for the signal, or for a signal that another process got."""
        number = self.signal or signal.SIGTERM
        if self._previous.get(number) is signal.default_int_handler:
            return KeyboardInterrupt(message or _stopped(number))
        return Interrupted(message or _stopped(number), number)

    def _keep(self, number: int, _: Any) -> None:
        global _first
        command = self._previous[number] is _handle
        if not self.signal:
            self.signal, self._time = number, time.monotonic()
            _first = number if command else 0
            if not command and self.notice:  # in a command `_watch` prints it, without waiting for the main thread
                _print(f"{_name(number)}: {self.notice}")
            self._tell(number)
        elif not command and time.monotonic() - self._time > REPEAT:
            if self.notice:
                _print(_at_once(number, self))
            signal.signal(number, self._previous[number])
            signal.raise_signal(number)


def say(line: str) -> None:
    """Write a line to stderr. It is lost if nobody reads stderr: Ctrl-C also ends a `tee` behind this command."""
    with contextlib.suppress(OSError):
        os.write(2, f"ls_jax: {line}\n".encode())


def _print(line: str) -> None:
    """As `say`, through sys.stderr, which a notebook shows."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the signal came while stderr was written to
        print(f"ls_jax: {line}", file=sys.stderr, flush=True)


def _handle(number: int, _: Any) -> None:
    """Handle the first signal in the main thread; `_watch` handles the second."""
    global _first, _raised
    if _first or _status is not None:
        return
    _first = number
    if not _unwinding:
        _leave(_ended(number), number)
    _raised = Interrupted(_stopped(number), number)
    raise _raised


def _raise_again(error: BaseException | None) -> bool:
    """Send the signal again if it was raised where exceptions are lost, as in a callback of the garbage collector."""
    global _first, _came
    if error is None or error is not _raised:
        return False
    number, _first, _came = _first, 0, None
    threading.Timer(0.01, signal.pthread_kill, (threading.main_thread().ident, number)).start()
    return True


def _watch(reader: int) -> None:
    """End the process if it need not unwind, or at a second signal, even while XLA compiles in the main thread."""
    global _came
    while True:
        number = os.read(reader, 1)[0]
        if number not in SIGNALS:
            continue
        hold = _holding[-1] if _holding else Hold()
        if _came is not None and time.monotonic() - _came <= REPEAT:
            continue
        if _status is not None:
            os._exit(_status)
        if _came is not None:
            _leave(_at_once(number, hold), number)
        if _came is None and not _unwinding and not _first:
            _leave(_ended(number), number)
        if _came is None and hold.notice:
            say(f"{_name(number)}: {hold.notice}")
        _came = _came or time.monotonic()


def _follow(parent: int) -> None:
    """Send this process SIGTERM when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(line: str, number: int) -> None:
    if _leaving.acquire(blocking=False):
        say(line)
        os._exit(128 + number)


def _name(number: int) -> str:
    return signal.Signals(number).name


def _at_once(number: int, hold: Hold) -> str:
    return f"ended at once by a second {_name(number)}; {hold.saved()}"


def _ended(number: int) -> str:
    return f"ended by {_name(number)}"


def _stopped(number: int) -> str:
    return f"stopped by {_name(number)}; run the same command again to finish"
