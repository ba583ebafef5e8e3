"""The cache directory: its files are shared by all runs, and may be deleted at any time."""
import os
import pathlib


def directory() -> pathlib.Path:
    """`ls_jax` in the user's cache directory ($XDG_CACHE_HOME or ~/.cache). It may not exist yet."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ls_jax"
