"""docs/adding.md: its blocks, written to a copy of the repository, are the files that its commands use."""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def blocks(section):
    """(language, content) of a section's code, in its order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)


def run(command, cwd, **options):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def followed(section, copy):
    """Do what a section says in a copy of the repository; returns what its commands print."""
    for folder in ("ls_jax", "configs", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    printed = []
    for language, content in blocks(section):
        if language == "bash":
            words = shlex.split(content)
            assert words[0] == "python"
            # as a user has it
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            printed.append(run([sys.executable, *words[1:]], copy, env=environment))
            continue
        file = copy / re.match(r"# (\S+)\n", content)[1]  # each begins with its file's name
        if language == "diff":
            assert f"+++ b/{file.relative_to(copy)}\n" in content
            run(["git", "apply", "-"], copy, input=content)
        else:
            assert language == "python" and not file.exists()
            file.parent.mkdir(exist_ok=True)
            file.write_text(content, encoding="utf-8")
    return printed


@pytest.mark.parametrize("section", SECTIONS)
def test_an_example_is_as_the_house_wants_it(section, tmp_path):
    """Imports point downwards, declarations are whole, the linter is content, and the command leaves a report."""
    printed = followed(section, tmp_path)
    workdir, = tmp_path.glob("runs/*")
    assert (workdir / "report.html").exists() and f"report: {workdir.relative_to(tmp_path)}/report.html" in printed[-1]
    house = ["tests/test_imports.py", *(["tests/test_fields.py"] if "FIELDS" in SECTIONS[section] else [])]
    run([sys.executable, "-m", "pytest", "-q", "-n0", *house], tmp_path)
    if shutil.which("ruff", path=pathlib.Path(sys.executable).parent):
        run([sys.executable, "-m", "ruff", "check", "ls_jax", "configs"], tmp_path)
    config = json.loads((workdir / "config.json").read_text())
    records = json.loads((workdir / "results.json").read_text())
    accuracies = [each["mean"] for each in records if (each["study"], each["quantity"], each["split"],
                                                       each["kind"]) == (
        "accuracy", "accuracy", "test", "value")]
    assert min(accuracies) > 0.8, "they have learned"
    if section == "A loss":
        assert len(set(accuracies)) == 4 and "α=0.1, z_loss=0.1" in printed[-1]
    elif section == "A network":
        assert config["model"] == {"name": "linear", "init_std": 0.01}
    elif section == "A data set":
        assert (config["data"]["name"], config["data"]["grain"]) == ("stripes", 90.0)
    elif section == "A study":
        claim = "claim: predictions are less certain (later work), test split, α = 0.1: holds (n = 5)"
        assert claim in TEXT and claim in printed[-1]


def test_every_kind_is_shown():
    assert list(SECTIONS) == ["A loss", "A network", "A data set", "A study"]
    for section in SECTIONS:
        languages = [language for language, _ in blocks(section)]
        assert languages[-1] == "bash" and "diff" in languages
