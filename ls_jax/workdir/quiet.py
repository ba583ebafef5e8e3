"""What Orbax and TensorStore print of an error that reaches the caller as an exception: silent in a command, which tells it in a line."""
import logging
import pathlib
import sys
import traceback
import warnings
from typing import Any

LOGGERS = ("absl", "asyncio")
LOOP_CLOSED = "Event loop is closed"  # what TensorStore's threads run into after an error


class Quiet:
    """A context within which an error of reading or writing a checkpoint is an exception and nothing else.

    Orbax and TensorStore also log it, and their threads print tracebacks, about a closed event loop and tasks that nobody awaits, some
    time later, also while the interpreter ends: a command enters this context and never leaves it. It replaces `sys.excepthook` and
    `sys.unraisablehook` by functions that pass on everything else, and puts them back.
    """

    def __enter__(self) -> "Quiet":
        self._uncaught, self._unraisable = uncaught, unraisable = sys.excepthook, sys.unraisablehook
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", r"coroutine 'Store\._get", RuntimeWarning)
        sys.excepthook = lambda kind, error, trace: str(error) == LOOP_CLOSED or uncaught(kind, error, trace)
        sys.unraisablehook = lambda info: _is_echo(info.exc_value) or unraisable(info)
        for name in LOGGERS:
            logging.getLogger(name).addFilter(_is_news)
        return self

    def __exit__(self, *error: Any) -> None:
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(_is_news)
        sys.excepthook, sys.unraisablehook = self._uncaught, self._unraisable
        self._warnings.__exit__(*error)


def _is_news(record: logging.LogRecord) -> bool:
    return not (_is_orbax(record.pathname) or (record.exc_info and _is_echo(record.exc_info[1])))


def _is_echo(error: BaseException | None) -> bool:
    frames = traceback.extract_tb(error.__traceback__) if error else []
    return str(error) == LOOP_CLOSED or any(_is_orbax(frame.filename) for frame in frames)


def _is_orbax(filename: str) -> bool:
    return "orbax" in pathlib.Path(filename).parts
