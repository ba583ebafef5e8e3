"""Output: replaced where a terminal cannot show it, dropped where nobody reads it, and never the end of a run."""
import io
import os
import pathlib
import subprocess
import sys

import pytest

from ls_jax import terminal

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Broken(io.StringIO):
    def __init__(self, error):
        super().__init__()
        self.error, self.tried = error, 0

    def write(self, text):
        self.tried += 1
        raise self.error


@pytest.mark.parametrize("error, said", [(BrokenPipeError(32, "Broken pipe"), ""), (
    OSError(28, "No space left on device"), "output could not be written (No space left on device)")])
def test_what_cannot_be_written_is_dropped(monkeypatch, error, said):
    stream = Broken(error)
    output = terminal.Output(stream)
    for _ in range(3):
        assert output.write("text") == 4
        output.flush()
    assert output.lost is error and stream.tried == 1
    monkeypatch.setattr(sys, "stdout", output)
    assert terminal.complaint().startswith(said) and bool(terminal.complaint()) == bool(said)


def test_a_closed_stream_takes_everything():
    output = terminal.Output(None)
    output.write("± α")
    output.flush()
    assert output.lost is None


@pytest.mark.parametrize("encoding, shown", [
    ("ascii", "1 +/- 2 alpha-3 x ? ?"), ("latin-1", "1 ± 2 alpha-3 × ? ?"), ("utf-8", "1 ± 2 α−3 × 猫 ☃")])
def test_an_encoding_without_the_characters(encoding, shown):
    program = "from ls_jax import terminal; terminal.prepare(); print('1 ± 2 α−3 × 猫 ☃')"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": encoding},
                          capture_output=True, check=True)
    assert done.stdout.decode(encoding).strip() == shown and not done.stderr


RUN = [sys.executable, "-m", "ls_jax.main", "--config=configs/digits_mlp.py:smoke", "--config.log.writers=()"]
RESULTS = {"report.html", "results.json", "answer.json", "config.json", "manifest.json", "metrics.jsonl"}


@pytest.mark.parametrize("where", ["ascii", "head", "full", "closed"])
def test_a_run_is_complete_whatever_its_output_goes_to(tmp_path, where):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **({"PYTHONIOENCODING": "ascii"} if where == "ascii" else {})}
    to = {"ascii": "", "head": "| head -1", "full": "> /dev/full", "closed": ">&-"}[where]
    command = " ".join(f"'{each}'" for each in [*RUN, f"--workdir={tmp_path}/run"])
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command} {to}"], cwd=ROOT, env=environment,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} >= RESULTS and b"Traceback" not in done.stderr
    if where == "full":
        assert b"ls_jax: output could not be written (No space left on device)" in done.stderr
