"""A run on machines that may be taken away at any moment: what scripts/soak.py compares."""
import subprocess
import sys

import pytest

from tests.runs import ROOT


@pytest.mark.slow
def test_processes_are_killed_twenty_times_and_the_training_is_the_same(tmp_path):
    """One, two and four processes on other meshes, each start another."""
    done = subprocess.run([sys.executable, "scripts/soak.py", tmp_path / "soak", "--steps=12000", "--save=400",
                           "--wait=3", "--processes=1,2,4", "--kills=20"], cwd=ROOT, capture_output=True, text=True,
                          env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("after 20 kills in ")
