"""A run on machines that may be taken away at any moment: what scripts/soak.py compares."""
import os
import subprocess
import sys

import pytest

from tests.runs import ROOT


@pytest.mark.slow
def test_processes_are_killed_and_the_training_is_the_same(tmp_path):
    """Up to twenty times; one, two and four processes on other meshes, each start another."""
    done = subprocess.run([sys.executable, "scripts/soak.py", tmp_path / "soak", "--steps=30000", "--save=400",
                           "--wait=3", "--processes=1,2,4", "--kills=20"], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert int(last.split()[1]) >= 5 and last.endswith("equal to the last bit"), done.stdout  # fewer than 20 where fast
