"""SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal closes): the first ends a command in order, a second at once.

A command calls `install` before its other imports. A signal then ends the process with one line and the status
128 + its number: at once, or, within `unwinding`, by an `Interrupted`, so that every `with` block closes what it has
open. A `Hold` puts the first signal off. It also serves programs that import ls_jax: there Python's handlers stay, and
SIGINT is a KeyboardInterrupt.

A signal that is ignored from the start (nohup), or that somebody else handles, is left alone.
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
# Seconds within which a signal that comes again is the same one: timeout(1) sends it to the process, then to its group.
REPEAT = 0.25

_unwinding = False            # whether a signal is raised
_first = 0                    # the first signal, as the main thread sees it, which may be in a call of C for long
_came: float | None = None    # when it came, as the watching thread sees it
_raised: Interrupted | None = None
_leaving = threading.Lock()
_holding: list["Hold"] = []   # the blocks that are entered, the innermost last
_status: int | None = None    # the process's, once nothing is left to do


def install() -> None:
    """Handle the signals of this process, which is a command."""
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
    """A `with` block that a signal ends by an `Interrupted`, for work that has something to close when it ends.

    Raises:
        Interrupted: a signal came, whatever a library made of it on its way.
    """
    global _unwinding
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda info: _raise_again(info.exc_value) or unraisable(info)
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
    """Let this process, a command that is done, end with `status` also where a signal comes: Python and JAX take a second to end.

    The signal then ends it at once, without a line, as where that end hangs.
    """
    global _status
    if any(signal.getsignal(number) is _handle for number in SIGNALS):
        _status = status


class Hold:
    """A `with` block that the first signal does not end: `signal` is its number, and at the block's end it is raised.

    A second one ends a command at once, and does in other programs what it did before. Only the main thread can hold
    signals.

    Args:
        tell: called with the first signal's number when the main thread sees it.
        notice: said on stderr as soon as the first signal comes, after its name.
        saved: what a second one then loses or not, for its line; called from any thread.
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
        """What to raise for the signal, or for one that another process had."""
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
            if not command and self.notice:  # of a command `_watch` says it, which need not wait for the main thread
                _print(f"{_name(number)}: {self.notice}")
            self._tell(number)
        elif not command and time.monotonic() - self._time > REPEAT:
            if self.notice:
                _print(_at_once(number, self))
            signal.signal(number, self._previous[number])
            signal.raise_signal(number)


def say(line: str) -> None:
    """Write a line to stderr, where anybody reads it: Ctrl-C also ends the `tee` that this command writes to."""
    with contextlib.suppress(OSError):
        os.write(2, f"ls_jax: {line}\n".encode())


def _print(line: str) -> None:
    """As `say`, where a notebook shows it."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the signal came while stderr was written to
        print(f"ls_jax: {line}", file=sys.stderr, flush=True)


def _handle(number: int, _: Any) -> None:
    """The first signal, in the main thread; `_watch` sees to the second."""
    global _first, _raised
    if _first or _status is not None:
        return
    _first = number
    if not _unwinding:
        _leave(_ended(number), number)
    _raised = Interrupted(_stopped(number), number)
    raise _raised


def _raise_again(error: BaseException | None) -> bool:
    """Whether a signal was raised where nothing can be, as in a callback of the garbage collector; it comes again."""
    global _first, _came
    if error is None or error is not _raised:
        return False
    number, _first, _came = _first, 0, None
    threading.Timer(0.01, signal.pthread_kill, (threading.main_thread().ident, number)).start()
    return True


def _watch(reader: int) -> None:
    """End the process where it need not unwind, and at a second signal, even while XLA compiles in the main thread."""
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
