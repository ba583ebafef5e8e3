"""The public API: quick to import, lazy, typed, and as docs/library.md shows it."""
import inspect
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import ls_jax
from ls_jax import config as configs
from ls_jax.errors import UserError
from ls_jax.studies.common.records import read
from tests.logits import sample

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")


def python(program, cwd):
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, env=None)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_imports_nothing_slow():
    heavy = {"jax", "numpy", "scipy", "matplotlib", "ml_collections"}
    program = f"import sys, ls_jax; dir(ls_jax); print(sorted({heavy} & sys.modules.keys()))"
    assert python(program, ROOT).strip() == "[]"


def test_modules_are_attributes():
    """Also a study's package, of which no import statement says a word."""
    program = ("import ls_jax; print(ls_jax.losses.smooth_labels.__name__, "
               "ls_jax.models.MODELS['mlp'].__class__.__name__, "
               "ls_jax.studies.calibration.fit_temperature.__name__)")
    assert python(program, ROOT).split() == ["smooth_labels", "str", "fit_temperature"]
    for module, name in ((ls_jax, "lossses"), (ls_jax.studies, "calibratoin"), (ls_jax.studies, "_hidden")):
        with pytest.raises(AttributeError, match=f"{module.__name__}.* has no attribute '{name}'"):
            getattr(module, name)


def test_every_public_name_is_there_and_typed():
    assert set(ls_jax.__all__) <= set(dir(ls_jax))
    functions = [getattr(ls_jax, name) for name in ls_jax.__all__ if inspect.isfunction(getattr(ls_jax, name))]
    assert [each.__name__ for each in functions] == ["analyze", "answer", "load_config", "run", "setup", "write_report"]
    for function in functions:
        signature = inspect.signature(function)
        assert all(each.annotation is not each.empty for each in signature.parameters.values()), function
        assert function.__doc__


def test_the_page_runs_from_top_to_bottom(tmp_path):
    program = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    checks = (f"\nimport sys; sys.path.insert(0, {str(ROOT)!r})\n"
              "accuracy = (logits.argmax(axis=-1) == held_out).mean()\n"
              "print(accuracy > 0.8, value < 1.2, 0 < ece < 0.3, coordinates.shape, len(records) > 0, page)")
    printed = python(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}{checks}", tmp_path).splitlines()
    assert printed[-1] == "True True True (1000, 2) True runs/analysis/report_together.html"
    assert (tmp_path / "runs" / "analysis" / "report_together.html").exists()
    assert (tmp_path / "runs" / "digits" / "report.html").exists()
    assert any(re.fullmatch(r"alpha=0.1: 0\.\d+ \(n = 1\)", line) for line in printed)


def test_a_config_is_found_by_name_and_by_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for named in ("digits_mlp", "configs/digits_mlp.py", ROOT / "configs" / "digits_mlp.py"):
        assert ls_jax.load_config(named, "smoke").to_dict() == configs.load("configs/digits_mlp.py", "smoke").to_dict()
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "empty.py").write_text("")
    for named, message in (("digits_mpl", "config file digits_mpl does not exist"), ("notes.txt", "is no Python file"),
                           ("empty.py", "has no function get_config")):
        with pytest.raises(UserError, match=message):
            ls_jax.load_config(named)


def test_run_is_the_mode(tiny, tmp_path):
    """Its records are those of results.json; a second call has nothing to train, and returns the same."""
    records = ls_jax.run(tiny, str(tmp_path))
    assert records == read(tmp_path) and (tmp_path / "report.html").exists()
    assert {record.hyper["alpha"] for record in records if record.quantity == "accuracy"} == {0.0, 0.1}
    rows = (tmp_path / "metrics.jsonl").read_bytes()
    assert ls_jax.run(tiny, tmp_path) == records and (tmp_path / "metrics.jsonl").read_bytes() == rows
    tiny.steps = 9
    with pytest.raises(UserError, match="holds another experiment"):
        ls_jax.run(tiny, tmp_path)


def test_analyze_and_write_report_are_the_modes(tmp_path):
    logits, labels = sample(examples=300)
    np.savez(tmp_path / "predictions.npz", logits=logits, labels=labels)
    analysis = ls_jax.analyze(str(tmp_path / "predictions.npz"), str(tmp_path / "out"))
    assert analysis.records == read(tmp_path / "out")
    page = analysis.page
    before = page.read_text()
    page.unlink()
    assert page == tmp_path / "out" / "report.html" == ls_jax.write_report(str(tmp_path / "out"))
    assert page.read_text() == before
    with pytest.raises(UserError, match="holds no results"):
        ls_jax.write_report([tmp_path / "out", tmp_path])
