"""Every mode on a disk that is full: one line, which names the file that could not be written and what is safe."""
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.runs import ROOT, environment

SLOW = pytest.mark.slow
RUN = ("--config=configs/digits_mlp.py:smoke",)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A function that makes an empty disk of so many KiB, in place of the last one."""
    place = tmp_path_factory.mktemp("disk")
    mounted = []

    def unmount():
        if mounted:
            subprocess.run(["umount", place], check=True)
            mounted.clear()

    def make(size):
        unmount()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", place], capture_output=True)
        if done.returncode:
            pytest.skip("needs the right to mount a disk")
        mounted.append(place)
        return pathlib.Path(place)

    yield make
    unmount()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that has ended well."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    line_of(*RUN, workdir=workdir, status=0)
    return workdir


def line_of(*arguments, workdir, status=2):
    """What the command complains of: nothing else may be said but its progress."""
    done = subprocess.run([sys.executable, "-m", "ls_jax", *arguments, f"--workdir={workdir}"], cwd=ROOT,
                          env=environment(), capture_output=True, text=True)
    assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
    complaints = [line for line in done.stderr.splitlines() if line.startswith("ls_jax: ")]
    assert len(complaints) == (status != 0), done.stderr
    return complaints[0] if complaints else ""


@pytest.mark.parametrize("size, file, safe", [
    pytest.param(200, "checkpoint 3 in ", "and run again, from the start", marks=SLOW),
    pytest.param(700, "checkpoint 6 in ", "and run again, to resume from step 3", marks=SLOW),
    (1100, "predictions/", "The training is safe up to step 6: the same command goes on from there"),
    pytest.param(2300, "figures/", "Predictions and results.json are safe: --mode=report", marks=SLOW),
    (3000, "report.html", "Predictions and results.json are safe: --mode=report"),
])
def test_a_run_says_what_is_safe_and_goes_on_when_there_is_room(disk, tmp_path, size, file, safe):
    place = disk(size)
    line = line_of(*RUN, workdir=place / "run")
    assert line.startswith("ls_jax: cannot write ") and file in line and "No space left on device" in line
    assert safe in line and "/.new/" not in line
    shutil.copytree(place / "run", tmp_path / "run")  # where there is room
    line_of(*RUN, workdir=tmp_path / "run", status=0)
    assert (tmp_path / "run" / "report.html").exists()


def test_what_a_workdir_holds_outlives_a_mode_that_fails(disk, finished):
    place = disk(3000)
    shutil.copytree(finished, place / "run", ignore=shutil.ignore_patterns("report.html", "figures"))
    (place / "fill").write_bytes(bytes(max(0, shutil.disk_usage(place).free - 60_000)))
    before = (place / "run" / "results.json").read_bytes()
    for mode in (("--mode=report",), ("--mode=study", *RUN), ("--mode=run", *RUN)):
        assert "cannot write" in line_of(*mode, workdir=place / "run")
        assert (place / "run" / "results.json").read_bytes() == before
    one = f"--predictions={finished}/predictions/test-000.npz"
    assert "cannot write" in line_of("--mode=analyze", one, workdir=place / "analysis")


def test_a_disk_that_cannot_be_written_to(disk, finished):
    place = disk(8000)
    shutil.copytree(finished, place / "run")
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    one = ("--mode=analyze", f"--predictions={finished}/predictions/test-000.npz")
    for mode in (RUN, ("--mode=study", *RUN), ("--mode=report",), one):
        workdir = place / ("analysis" if mode is one else "run")
        assert line_of(*mode, workdir=workdir).endswith("cannot be written to: Read-only file system")


def test_a_workdir_that_is_a_file(tmp_path, finished):
    (tmp_path / "file").write_text("")
    one = ("--mode=analyze", f"--predictions={finished}/predictions/test-000.npz")
    for mode in (RUN, ("--mode=train", *RUN), one, ("--mode=reproduce", "--scale=smoke")):
        assert line_of(*mode, workdir=tmp_path / "file").endswith("is a file or lies in one: name a directory")
