"""manifest.json: the code, versions, hardware and settings behind the results of a workdir, session by session."""
import contextlib
import datetime
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from ls_jax.devices import cpu
from ls_jax.errors import UserError
from ls_jax.version import __version__
from ls_jax.workdir import files
from ls_jax.workdir.log import write_json

UNFINISHED = ("running", "measured")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@contextlib.contextmanager
def manifest(workdir: str | pathlib.Path, config: Any, mesh: dict[str, int] | None = None,
             primary: bool | None = None, data: dict[str, Any] | None = None) -> Iterator[Callable[[], None]]:
    """Record a `with` block as a session: its start, settings and outcome.

    manifest.json is {"sessions": [...]} with a session for each start of the program in this workdir, the newest last.
    A session's outcome is "running" first, and "measured" once the block calls the function that it is given. At the
    end it is "finished", "interrupted: ..." or "failed: ...". A session that ended without any of these is found by the
    next one, and becomes "killed".

    Args:
        workdir: the run's directory.
        config: the run's config, in JSON's types.
        mesh: sizes of the mesh's axes by name.
        primary: whether this process writes; None: whether it is process 0.
        data: facts about the data set that the config does not hold.
    """
    primary = jax.process_index() == 0 if primary is None else primary
    path, start = pathlib.Path(workdir) / "manifest.json", time.monotonic()
    sessions = [session | ({"outcome": "killed"} if session["outcome"] in UNFINISHED else {})
                for session in read(workdir)]
    session = describe(config, mesh) | ({"data": data} if data else {})

    def write(outcome: str) -> None:
        if primary:
            session.update(outcome=outcome, seconds=round(time.monotonic() - start, 3))
            write_json(path, {"sessions": [*sessions, session]})

    try:
        write("running")
        yield lambda: write("measured")
        write("finished")
    except BaseException as error:
        kind, line = type(error).__name__, " ".join(str(error).split())
        with contextlib.suppress(UserError):  # on a full disk, the first error says more
            write(f"interrupted: {line or kind}" if isinstance(error, KeyboardInterrupt) else f"failed: {kind}: {line}")
        raise


def describe(config: Any, mesh: dict[str, int] | None = None) -> dict[str, Any]:
    """What identifies a session: config, command, versions, commit, hardware, settings.

    The environment can hold secrets, so only the variables that begin with XLA_ or JAX_ are recorded.
    """
    devices = jax.devices()
    as_module = sys.argv[0].endswith(("main.py", "__main__.py"))
    packages = {name: _version(name) for name in PACKAGES}
    return {
        "start": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": ["python", "-m", "ls_jax", *sys.argv[1:]] if as_module else sys.argv,
        "config": config,
        "versions": {"python": platform.python_version(), **packages, "ls_jax": __version__},
        "git": commit(pathlib.Path(__file__).parents[1]),
        "devices": {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices),
                    "processes": jax.process_count()},
        "mesh": mesh,
        "cpu": {"model": _cpu_model(), "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
                else os.cpu_count()},
        "xla_on_cpu": cpu.outcome(),
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(("XLA_", "JAX_"))},
    }


def commit(directory: pathlib.Path) -> dict[str, Any] | None:
    """{"commit", "dirty"} of the git repository that tracks a directory, or None.

    It is dirty if tracked files differ from the commit, or if the directory has untracked files.
    """
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, timeout=10,
                              check=True).stdout.strip()
    try:
        if not git("ls-files", "--", "."):  # a repository around it, such as one that holds a virtual environment
            return None
        changed = git("status", "--porcelain", "--untracked-files=no")
        untracked = git("ls-files", "--others", "--exclude-standard")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed or untracked)}
    except (OSError, subprocess.SubprocessError):
        return None


def read(workdir: str | pathlib.Path) -> list[dict[str, Any]]:
    """The sessions of a workdir's manifest.json, the newest last; [] if it is missing or damaged."""
    try:
        sessions = files.read_json(pathlib.Path(workdir) / "manifest.json", dict, "")["sessions"]
        return sessions if all(isinstance(session["outcome"], str) for session in sessions) else []
    except (UserError, LookupError, TypeError):
        return []


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
