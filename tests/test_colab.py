"""The notebooks: saved with the outputs of a real run, free of a machine's traces, and able to run from start to
end."""
import json
import pathlib
import re

import pytest

from ls_jax import config as configs

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
TRAINING = [path for path in NOTEBOOKS if "your_own" not in path.stem]  # with a config of the paper's
PAPER = re.compile(r'^# \w+ = configs\.load\("(configs/\w+\.py)"(?:, "(\w+)")?\)', re.MULTILINE)
SHORTER = {  # what the test replaces in a notebook: longer training, more seeds and temperatures run the same lines
    "01_train_and_project": {"= 500, 50, 50, ()": "= 100, 50, 50, ()"},
    "02_calibration": {"= 400, 0, ()": "= 50, 0, ()"},
    "03_distillation": {'= 500, 0, (), "vmap"': '= 50, 0, (), "vmap"'},
    "04_information_and_collapse": {"= 2000, 0, ()": "= 500, 0, ()"},
    "08_rivals": {'= 600, 100, (), "vmap"': '= 50, 50, (), "vmap"', "seed = (0, 1, 2)": "seed = (0, 1)"},
    "07_your_own_loop": {"STEPS, BATCH = 1500": "STEPS, BATCH = 200"},
    "05_translation": {"test=200": "test=50", "seed=(0, 1, 2)": "seed=(0,)", "= 300, 512, ()": "= 30, 512, ()",
                       "(0.5, 0.8, 1.0, 1.2, 1.5, 2.0)": "(0.5, 1.0)"},
}
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def source(cell):
    return "".join(cell["source"])


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell["outputs"]]


def pictures(notebook):
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


def test_they_are_found():
    assert len(NOTEBOOKS) >= 5 and len(TRAINING) == len(NOTEBOOKS) - 2


@each
def test_opens_in_colab_and_installs(path):
    notebook = json.loads(path.read_text())
    first, install = notebook["cells"][:2]
    repository, = re.findall(r'^REPOSITORY = "https://github.com/(.*)"$', source(install), re.MULTILINE)
    assert f"\nrepo_url: https://github.com/{repository}\n" in (ROOT / "mkdocs.yml").read_text()
    assert f"](https://colab.research.google.com/github/{repository}/blob/main/colab/{path.name})" in source(first)
    assert 'if importlib.util.find_spec("ls_jax") is None:\n    %pip install --quiet git+{REPOSITORY}' in source(
        install)
    assert "*Runtime, Change runtime type*" in source(first)
    linked = re.findall(rf"\(https://github\.com/{repository}/blob/main/([^)]+)\)",
                        "".join(map(source, notebook["cells"])))
    assert not [link for link in linked if not (ROOT / link).exists()]


@each
def test_is_saved_from_a_run_without_its_machines_traces(path):
    text = path.read_text()
    notebook = json.loads(text)
    assert [cell["execution_count"] for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert pictures(notebook) >= 2 and not [output for output in outputs(notebook) if output["output_type"] == "error"]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert not any(cell["metadata"] or "id" in cell for cell in notebook["cells"])
    shown = json.dumps([{**output, "data": {kind: data for kind, data in output.get("data", {}).items()
                                            if kind != "image/png"}}
                        for output in outputs(notebook)])
    assert not re.findall(r"(?:^|[^\w.<:/])/(?!h\d|p>)\w+/[\w/.-]*|\w*[Ww]arning|WARNING", shown)
    assert len(text) < 500_000


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
def test_names_the_papers_version(path):
    lines = PAPER.findall("\n".join(source(cell) for cell in code_cells(json.loads(path.read_text()))))
    assert lines
    for file, variant in lines:
        configs.validate(configs.load(file, variant))


@each
def test_runs(path, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="executes notebooks: pip install -e '.[test]'")
    nbclient = pytest.importorskip("nbclient", reason="executes notebooks: pip install -e '.[test]'")
    pytest.importorskip("ipykernel", reason="executes notebooks: pip install -e '.[test]'")
    for name, value in {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / "ipython"),
                        "JAX_PLATFORMS": "cpu"}.items():
        monkeypatch.setenv(name, value)
    saved, notebook = json.loads(path.read_text()), nbformat.read(path, as_version=4)
    for long, short in SHORTER.get(path.stem, {}).items():
        cell, = (cell for cell in notebook.cells if cell.cell_type == "code" and long in cell.source)
        cell.source = cell.source.replace(long, short)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3",
                            resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert pictures(notebook) == pictures(saved)
    assert not [output.text for output in outputs(notebook) if output.get("name") == "stderr"
                and "arning" in output.text]
