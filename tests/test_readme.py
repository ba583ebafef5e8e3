"""What the README says: its tables are those of the records, its code runs, its commands name what there is."""
import importlib.util
import pathlib
import re

import numpy as np
import pytest

from ls_jax import analyze, results

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_tables_are_those_of_the_records():
    spec = importlib.util.spec_from_file_location("table", ROOT / "results" / "table.py")
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    assert table.filled(README) == README
    changed = README.replace("paper, accuracy %|\n|---|", "paper, accuracy %|\n|99|", 1)
    assert changed != README and table.filled(changed) == README


def test_links_and_configs_are_there():
    linked = re.findall(r"\]\(((?!http)[^)#]+)\)", README) + re.findall(r"configs/\w+\.py", README)
    assert len(linked) > 10 and not [path for path in linked if not (ROOT / path).exists()]


def test_export_from_pytorch(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[peers]'")
    snippet, = re.findall(r"```python\n(# PyTorch.*?)```", README, re.DOTALL)
    torch.manual_seed(0)
    backbone, head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.ReLU()), torch.nn.Linear(8, 3)
    loader = [(torch.randn(20, 4, 4), torch.randint(0, 3, (20,))) for _ in range(4)]
    monkeypatch.chdir(tmp_path)
    exec(snippet, {"torch": torch, "np": np, "backbone": backbone, "head": head, "loader": loader, "names": ["cat", "dog", "hen"]})
    analyze.run(tmp_path / "mine.npz", tmp_path / "out")
    accuracy, = results.select(results.read(tmp_path / "out"), study="accuracy", quantity="accuracy")
    with torch.no_grad():
        right = torch.cat([head(backbone(x)).argmax(-1) == y for x, y in loader])
    assert accuracy["mean"] == pytest.approx(right.double().mean().item())
    assert {record["study"] for record in results.read(tmp_path / "out")} == {
        "accuracy", "projection", "calibration", "representation"}
