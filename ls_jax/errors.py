"""What ends a run with one line instead of a traceback, and the hint in it."""
import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input, told in one line that names the mistake and the fix."""


class InvalidArray(UserError, ValueError):
    """An array that is not what it should be: a command's one line, and a ValueError for those who call a function."""


class InvalidField(UserError, ValueError):
    """A field of a config that is unknown or has a value that it may not have: the same two at once."""


class Interrupted(KeyboardInterrupt):
    """A signal ends the command: what all libraries let through, as they do Ctrl-C. `signal` is its number."""

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal


def first_line(error: Exception) -> str:
    """What an exception says in one line: the first of its own, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """" (did you mean 'nearest'?)" for a name that is not among the known ones, or "" if none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
