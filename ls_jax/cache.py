"""Where files lie that any run may use again, and that may be deleted at any time."""
import os
import pathlib


def directory() -> pathlib.Path:
    """`ls_jax` in the user's cache directory ($XDG_CACHE_HOME or ~/.cache); it need not exist."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ls_jax"
