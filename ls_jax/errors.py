"""Errors that end a command with one line instead of a traceback."""
import difflib
import traceback
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The message is one line that names the mistake and the fix."""


class CannotWrite(UserError):
    """A file cannot be written, as on a full disk. Whoever knows what is safe adds it to the message."""


class InvalidArray(UserError, ValueError):
    """A wrong array: one line in a command, and a ValueError for callers of a function."""


class InvalidField(UserError, ValueError):
    """An unknown field of a config, or a wrong value: one line in a command, and a ValueError for callers."""


class Interrupted(KeyboardInterrupt):
    """A signal with the number `signal` ends the command. Libraries let it through, as they do Ctrl-C."""

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type if the message is empty."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def described(error: Exception) -> str:
    """An exception that no message foresees, in a line: "KeyError: 'n', tables.py line 42"."""
    places = traceback.extract_tb(error.__traceback__)
    place = next((place for place in reversed(places) if "ls_jax" in place.filename), places[-1])
    return f"{type(error).__name__}: {first_line(error)}, {place.filename.rpartition('/')[2]} line {place.lineno}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """" (did you mean 'nearest'?)" for an unknown name; "" if no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
