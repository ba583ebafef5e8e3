"""What the README says: its tables are those of the records, its code runs, its commands name what there is."""
import importlib.util
import math
import pathlib
import re

import numpy as np
import pytest

from ls_jax.modes import analyze
from ls_jax.studies.common import records as results

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
CHINESE = (ROOT / "README.zh-CN.md").read_text()


def test_tables_are_those_of_the_records():
    spec = importlib.util.spec_from_file_location("table", ROOT / "results" / "table.py")
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    for file, names in table.FILES.items():
        page = (ROOT / file).read_text()
        assert table.filled(page, names) == page
        changed = re.sub(r"(\d)\.(\d)", r"\1.99\2", page.split("<!-- ")[1], count=1)
        assert table.filled(page.replace(page.split("<!-- ")[1], changed), names) == page


def test_links_and_configs_are_there():
    linked = re.findall(r"\]\(((?!http)[^)#]+)\)", README + CHINESE) + re.findall(r"configs/\w+\.py", README + CHINESE)
    assert len(linked) > 10 and not [path for path in linked if not (ROOT / path).exists()]


@pytest.mark.parametrize("part", [
    r"```.*?```", r"<!-- .*? -->", r"\]\([^)]+\)", r"^#+ ", r"^\| `[^`]*`", r"(?:--?[a-z_.]+=)[^\s`，。；）]+", r"\d+(?:\.\d+)?(?= ?×)"],
    ids=["code", "tables", "links", "sections", "messages", "flags", "ratios"])
def test_the_chinese_page_is_in_step(part):
    """Its code, tables, links, sections, messages, flags and measured ratios are those of README.md, if not in their order."""
    english, chinese = (sorted(re.findall(part, page, re.DOTALL | re.MULTILINE)) for page in (README, CHINESE))
    ignored = {"](README.md)", "](README.zh-CN.md)"}
    assert [each for each in chinese if each not in ignored] == [each for each in english if each not in ignored]


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
    assert accuracy.mean == pytest.approx(right.double().mean().item())
    assert {record.study for record in results.read(tmp_path / "out")} == {
        "accuracy", "projection", "calibration", "representation"}


def test_adding_a_network(tmp_path):
    import jax.numpy as jnp
    from flax import nnx

    from ls_jax import config as configs
    from ls_jax import models
    from ls_jax.modes import experiment
    config = configs.default()
    config.update(steps=3, batch_size=16, model=dict(name="linear"))
    config.sweep.seed, config.evaluate.train_examples, config.log.tensorboard = (0,), 100, False
    try:
        exec(snippet("ls_jax/models/linear.py"), {"math": math, "nnx": nnx, "jnp": jnp, "Output": models.Output, "MODELS": models.MODELS})
        experiment.run(config, tmp_path)
    finally:
        models.MODELS.pop("linear", None)
    assert results.select(results.read(tmp_path), study="projection") and (tmp_path / "report.html").exists()


def test_adding_a_data_set():
    from ls_jax.data import Dataset, Split
    names = {"np": np, "Dataset": Dataset, "Split": Split}
    exec(snippet("ls_jax/data/stripes.py"), names)
    stripes = names["load"]()
    assert stripes.splits["train"].images.shape == (400, 8, 8, 1) and len(stripes.splits["test"]) == 100
    along = {label: np.ptp(stripes.splits["test"].images[stripes.splits["test"].labels == label], axis=2).max() for label in (0, 1)}
    assert along[0] == 0 and along[1] > 0  # horizontal stripes are constant along a row


def test_adding_a_study(tmp_path):
    from scipy.special import log_softmax

    from ls_jax.studies.common import claims
    from ls_jax.workdir import predictions
    names = {"np": np, "log_softmax": log_softmax, "predictions": predictions, "results": results, "claims": claims}
    exec(snippet("ls_jax/studies/entropy.py"), names)
    assert names["entropy"](np.zeros(4)) == pytest.approx(np.log(4))
    rows = [{"alpha": alpha, "seed": seed} for alpha in (0.0, 0.1) for seed in (0, 1)]
    for member, row in enumerate(rows):  # smoothed networks that hardly tell the classes apart
        logits = np.random.default_rng(row["seed"]).normal(0, 5 if row["alpha"] == 0 else 0.1, (50, 3)).astype(np.float32)
        predicted = predictions.Predictions(logits, logits, np.zeros(50, np.int32), np.arange(50))
        predictions.save(tmp_path, "test", member, predicted, {"kernel": np.eye(3), "bias": np.zeros(3)}, ("a", "b", "c"))
    finding, = names["CLAIMS"]["predictions are less certain"].check(names["run"](tmp_path, rows))
    assert finding.verdict == "holds" and finding.n == 2


def test_messages_are_those_of_the_code():
    table = README.split("## When something is wrong")[1].split("\n## ")[0]
    quoted = [text for row in re.findall(r"^\| (`.*?) \| ", table, re.MULTILINE) for text in re.findall(r"`([^`]*)`", row)]
    code = re.sub(r"\"\s*f?\"|\{.*?\}", "", "".join(path.read_text() for path in (ROOT / "ls_jax").rglob("*.py")))
    words = {text: [part for part in re.split(r"\.\.\.|DIR|[=(]?\d+\b|'\w+'|[(),:;?]", text) if len(part.split()) > 2] for text in quoted}
    missing = {text: part for text, parts in words.items() for part in parts if part.strip() not in code}
    assert len(quoted) > 7 and not missing


def snippet(first):
    """The README's block of Python that begins with this file's name."""
    found, = re.findall(rf"```python\n(# {re.escape(first)}.*?)```", README, re.DOTALL)
    return found
