"""Silences what Orbax and TensorStore print about an error that the caller gets as an exception anyway."""
import logging
import pathlib
import sys
import traceback
import warnings
from types import TracebackType
from typing import Any

LOGGERS = ("absl", "asyncio")
LOOP_CLOSED = "Event loop is closed"  # the error of TensorStore's threads after another error


class Quiet:
    """A context in which an error of reading or writing a checkpoint is an exception and prints nothing.

    Outside it Orbax and TensorStore also log the error. Some time later, even while the interpreter ends, their threads
    print tracebacks about a closed event loop and tasks that were never awaited. So a command enters this context and
    never leaves it. It replaces `sys.excepthook` and `sys.unraisablehook` by functions that pass on everything else,
    and restores them at its end.
    """

    def __enter__(self) -> "Quiet":
        self._uncaught, self._unraisable = sys.excepthook, sys.unraisablehook
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", r"coroutine 'Store\._get", RuntimeWarning)
        sys.excepthook, sys.unraisablehook = self._pass_uncaught, self._pass_unraisable
        for name in LOGGERS:
            logging.getLogger(name).addFilter(_is_news)
        return self

    def _pass_uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if str(error) != LOOP_CLOSED:
            self._uncaught(kind, error, trace)

    def _pass_unraisable(self, info: "sys.UnraisableHookArgs") -> None:
        if not _is_echo(info.exc_value):
            self._unraisable(info)

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
