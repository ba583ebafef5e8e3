"""The one exception that means: the input was wrong, and here is the fix."""


class UserError(Exception):
    """Bad input, told in one line that names the mistake and the fix; `main` prints it without a traceback."""
