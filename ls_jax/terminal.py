"""Output that never stops the work: what cannot be shown is replaced, and what nobody reads is dropped.

A run's results are in files. So a terminal without "±", a closed pipe ("| head") or a full disk behind "> log" must not
end a training, and must not hide the report.
"""
import codecs
import io
import os
import sys
from typing import Any

# What stands for a character that the terminal's encoding has not; for others "?".
PLAIN = {"±": "+/-", "−": "-", "×": "x", "α": "alpha", "β": "beta", "γ": "gamma", "λ": "lambda", "μ": "mu", "ε": "eps",
         "≥": ">=", "≤": "<=", "→": "->", "…": "...", "–": "-", "—": "-", "²": "^2", "≠": "!=", "│": "|", "█": "#"}
ERRORS = "ls_jax_plain"  # the name of the handler


class Output:
    """A text stream that drops what cannot be written. `lost` is then the first error.

    Args:
        stream: sys.stdout or sys.stderr; None: it was closed, and everything is dropped.
    """

    def __init__(self, stream: io.TextIOBase | None):
        self._stream = stream if stream is not None else open(os.devnull, "w")
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or drop."""
        if self.lost is None:
            try:
                return self._stream.write(text)
            except OSError as error:
                self._drop(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop what is left."""
        if self.lost is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._drop(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _drop(self, error):
        """The interpreter, too, flushes at its end: let that go nowhere."""
        self.lost = error
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        except (OSError, ValueError):  # no file
            pass


def prepare() -> None:
    """Make this process's stdout and stderr such streams; again has no effect."""
    codecs.register_error(ERRORS, _plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Output):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors=ERRORS)
            setattr(sys, name, Output(stream))


def complaint() -> str:
    """A line if output was lost for another reason than that nobody reads it; else ""."""
    lost = getattr(sys.stdout, "lost", None)
    if lost is None or isinstance(lost, BrokenPipeError):
        return ""
    return f"output could not be written ({lost.strerror}); the files of the workdir are complete"


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(each, "?") for each in error.object[error.start:error.end]), error.end
