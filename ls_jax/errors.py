"""The exceptions that end a run with one line instead of a traceback."""


class UserError(Exception):
    """Bad input, told in one line that names the mistake and the fix."""


class Interrupted(Exception):
    """SIGTERM came; the state has been saved."""
