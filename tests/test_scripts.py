"""The launch scripts: whole, and what they start is what was asked for. They are tried on no pod and no cluster."""
import os
import pathlib
import subprocess

import pytest

SCRIPTS = pathlib.Path(__file__).parents[1] / "scripts"
STAND_INS = {  # programs that tell what they were given; a pod's host is this one, a directory as its home
    "gcloud": 'cd "$HOME" && bash -c "${@: -1:1}"',
    "python": 'printf "%s\\n" "$PWD" "$@" > "$HOME/given"',
    "srun": 'printf "%s\\n" "$@" > "$HOME/given"; exit "$STATUS"',
    "scontrol": 'echo "$@" > "$HOME/requeued"',
}
ARGUMENTS = ["--config=configs/digits_mlp.py:smoke", "--config.sweep.alpha=(0., .1)",
             "--workdir=/mnt/with 'quotes' $HOME"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where the stand-ins are first in the path, and an environment that does nothing."""
    (tmp_path / "bin").mkdir()
    for name, body in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f'#!/usr/bin/env bash\nset -- "${{@#--command=}}"\n{body}\n')
        (tmp_path / "bin" / name).chmod(0o755)
    for where in (tmp_path, tmp_path / "ls_jax"):
        (where / ".venv" / "bin").mkdir(parents=True)
        (where / ".venv" / "bin" / "activate").touch()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def run(home, script, *arguments):
    return subprocess.run(["bash", SCRIPTS / script, *arguments], cwd=home, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("script", sorted({*SCRIPTS.iterdir()} - {*SCRIPTS.glob("*.py")}), ids=lambda path: path.name)
def test_scripts_are_whole(script):
    assert subprocess.run(["bash", "-n", script], capture_output=True, text=True).stderr == ""


def test_a_pods_hosts_run_what_was_asked_for(home):
    ended = run(home, "tpu_pod.sh", "run", "pod", "zone", *ARGUMENTS)
    assert ended.returncode == 0, ended.stderr
    subprocess.run("until [ -s given ]; do sleep 0.05; done", shell=True, cwd=home, timeout=30)
    assert (home / "given").read_text().splitlines() == [str(home / "ls_jax"), "-m", "ls_jax.main", "--distributed",
                                                         *ARGUMENTS]


def test_what_a_pod_is_told_is_explained(home):
    assert run(home, "tpu_pod.sh").returncode == 2 and "tpu_pod.sh run NAME ZONE" in run(home, "tpu_pod.sh").stdout
    assert "unknown action rnu: all, install, run, log or stop" in run(home, "tpu_pod.sh", "rnu", "pod", "zone").stderr


@pytest.mark.parametrize("status,again", [(0, False), (2, False), (75, True), (143, True)])
def test_slurm_takes_back_what_can_go_on(home, monkeypatch, status, again):
    monkeypatch.setenv("STATUS", str(status))
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    assert run(home, "slurm.sbatch", *ARGUMENTS).returncode == status
    assert (home / "given").read_text().splitlines()[1:] == ["python", "-m", "ls_jax.main", "--distributed", *ARGUMENTS]
    assert (home / "requeued").exists() == again
