"""The manifest says what made a workdir's results, whatever became of the run."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
from typing import Any

import jax
import numpy as np
import pytest

from ls_jax.errors import Interrupted, UserError
from ls_jax.workdir import manifest as provenance


def sessions(workdir: pathlib.Path) -> list[dict[str, Any]]:
    return json.loads((workdir / "manifest.json").read_text())["sessions"]


def test_a_session(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_SOME_SETTING", "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with provenance.manifest(tmp_path, {"steps": 5, "alpha": (0.0, float("nan"))}, {"member": 2, "data": 4}):
        assert sessions(tmp_path)[0]["outcome"] == "running"
    session, = sessions(tmp_path)
    assert session["outcome"] == "finished" and 0 <= session["seconds"] < 60
    assert session["config"] == {"steps": 5, "alpha": [0.0, None]} and session["mesh"] == {"member": 2, "data": 4}
    assert session["start"].endswith("+00:00")
    assert session["versions"]["jax"] == jax.__version__ and session["versions"]["numpy"] == np.__version__
    assert set(session["versions"]) == {"python", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy",
                                        "ls_jax"}
    assert session["devices"] == {"platform": "cpu", "kind": "cpu", "count": len(jax.devices()), "processes": 1}
    assert session["cpu"]["cores"] >= 1 and session["cpu"]["model"]
    assert session["xla_on_cpu"] == {"XLA_FLAGS": os.environ.get("XLA_FLAGS", ""), "patterns": "right"}
    assert session["environment"]["JAX_SOME_SETTING"] == "1"
    assert all(name.startswith(("JAX_", "XLA_")) for name in session["environment"])
    assert "hunter2" not in (tmp_path / "manifest.json").read_text()


@pytest.mark.parametrize("error, outcome", [
    (Interrupted("stopped at step 3 of 5", signal.SIGTERM), "interrupted: stopped at step 3 of 5"),
    (KeyboardInterrupt(), "interrupted: KeyboardInterrupt"),
    (ValueError("a long\nstory"), "failed: ValueError: a long story"),
])
def test_sessions_that_do_not_finish(tmp_path: pathlib.Path, error: BaseException, outcome: str) -> None:
    with pytest.raises(type(error)):
        with provenance.manifest(tmp_path, {}):
            raise error
    with provenance.manifest(tmp_path, {}):
        shutil.copy(tmp_path / "manifest.json", tmp_path / "killed.json")
    os.replace(tmp_path / "killed.json", tmp_path / "manifest.json")
    with provenance.manifest(tmp_path, {}):
        pass
    assert [session["outcome"] for session in sessions(tmp_path)] == [outcome, "killed", "finished"]
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_results_that_are_there_before_the_report_is(tmp_path: pathlib.Path) -> None:
    with provenance.manifest(tmp_path, {}) as measured:
        measured()
        shutil.copy(tmp_path / "manifest.json", tmp_path / "killed.json")
    assert json.loads((tmp_path / "killed.json").read_text())["sessions"][-1]["outcome"] == "measured"
    os.replace(tmp_path / "killed.json", tmp_path / "manifest.json")
    with provenance.manifest(tmp_path, {}):
        pass
    assert [session["outcome"] for session in sessions(tmp_path)] == ["killed", "finished"]


def test_an_error_is_said_though_the_manifest_cannot_be_written(tmp_path: pathlib.Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise UserError("no room for the manifest")

    with pytest.raises(UserError, match="no room for the checkpoint"):
        with provenance.manifest(tmp_path, {}):
            monkeypatch.setattr(provenance, "write_json", full)
            raise UserError("no room for the checkpoint")


def test_only_the_primary_process_writes(tmp_path: pathlib.Path) -> None:
    with provenance.manifest(tmp_path, {}, primary=False):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_commit(tmp_path: pathlib.Path) -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], cwd=tmp_path,
                              check=True,
                              capture_output=True, text=True).stdout.strip()
    package = tmp_path / "package"
    package.mkdir()
    assert provenance.commit(package) is None
    git("init")
    (package / "code.py").write_text("1")
    assert provenance.commit(package) is None  # the repository does not track it
    git("add", ".")
    git("commit", "--message=first", "--no-gpg-sign")
    assert provenance.commit(package) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "notes.txt").write_text("not code")
    assert not provenance.commit(package)["dirty"]
    (package / "new.py").write_text("2")
    assert provenance.commit(package)["dirty"]
    (package / "new.py").unlink()
    (package / "code.py").write_text("3")
    assert provenance.commit(package)["dirty"]


def test_no_git(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit(tmp_path) is None
