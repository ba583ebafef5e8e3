"""What the pages say: tables are those of the records, code runs, links and commands name what there is."""
import importlib.util
import pathlib
import re

import numpy as np
import pytest

from ls_jax.modes import networks
from ls_jax.studies.common import records
from tests.test_imports import ORDER

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
        shown = page.split(f"<!-- {names[-1]} -->")[1].split("<!-- end -->")[0]
        changed = re.sub(r"(\d)\.(\d)", r"\1.99\2", shown, count=1)
        assert changed != shown and table.filled(page.replace(shown, changed), names) == page


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT).as_posix() for path in (
    *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "results" / "README.md")))
def test_links_and_configs_are_there(page):
    text, folder = (ROOT / page).read_text(), (ROOT / page).parent
    linked = [folder / path for path in re.findall(r"\]\(((?!http)[^)#]+)\)", text)]
    # it writes one
    named = [] if page == "docs/adding.md" else [ROOT / path for path in re.findall(r"\bconfigs/\w+\.py", text)]
    assert not [path for path in linked + named if not path.exists()]


def test_every_guide_is_linked_from_the_readme_and_the_site():
    site = (ROOT / "mkdocs.yml").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert f": {path.name}" in site
        assert path.name == "reference.md" or f"](docs/{path.name})" in README


def test_the_houses_order_is_that_of_the_imports():
    rows = re.findall(r"^\| `(\w+)(?:\.py|/)`", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert rows == sorted(rows, key=ORDER.index) and {name for name in ORDER
                                                      if (ROOT / "ls_jax" / name).is_dir()} <= set(rows)


@pytest.mark.parametrize("part", [
    r"```.*?```", r"<!-- .*? -->", r"\]\([^)]+\)", r"^#+ ", r"(?:--?[a-z_.]+=)[^\s`，。；）]+", r"\d+\.\d+"],
    ids=["code", "records", "links", "sections", "flags", "numbers"])
def test_the_chinese_page_is_in_step(part):
    """Its code, keys of records, links, sections, flags and numbers are those of README.md, if not in their order."""
    english, chinese = (sorted(re.findall(part, page, re.DOTALL | re.MULTILINE)) for page in (README, CHINESE))
    ignored = {"](README.md)", "](README.zh-CN.md)"}
    assert [each for each in chinese if each not in ignored] == [each for each in english if each not in ignored]


def test_export_from_pytorch(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[peers]'")
    snippet, = re.findall(r"```python\n(# PyTorch.*?)```", (ROOT / "docs" / "networks.md").read_text(), re.DOTALL)
    torch.manual_seed(0)
    backbone, head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8),
                                         torch.nn.ReLU()), torch.nn.Linear(8, 3)
    loader = [(torch.randn(20, 4, 4), torch.randint(0, 3, (20,))) for _ in range(4)]
    monkeypatch.chdir(tmp_path)
    exec(snippet, {"torch": torch, "np": np, "backbone": backbone, "head": head, "loader": loader,
                   "names": ["cat", "dog", "hen"], "alpha": 0.1, "seed": 3})
    networks.run("predictions/*.npz", tmp_path / "out")
    accuracy, = records.select(records.read(tmp_path / "out"), study="accuracy", quantity="accuracy")
    with torch.no_grad():
        right = torch.cat([head(backbone(x)).argmax(-1) == y for x, y in loader])
    assert accuracy.mean == pytest.approx(right.double().mean().item())
    assert {record.study for record in records.read(tmp_path / "out")} == {
        "accuracy", "projection", "calibration", "classes", "recalibration", "selective", "amplification",
        "representation"}


def test_messages_are_those_of_the_code():
    table = (ROOT / "docs" / "messages.md").read_text()
    quoted = [text for row in re.findall(r"^\| (`.*?) \| ", table, re.MULTILINE)
              for text in re.findall(r"`([^`]*)`", row)]
    code = re.sub(r"\"\s*f?\"|\{.*?\}", "", "".join(path.read_text() for path in (ROOT / "ls_jax").rglob("*.py")))
    words = {text: [part for part in re.split(r"\.\.\.|DIR|[=(]?\d+\b|'\w+'|[(),:;?]", text) if len(part.split()) > 2]
             for text in quoted}
    missing = {text: part for text, parts in words.items() for part in parts if part.strip() not in code}
    assert len(quoted) > 7 and not missing
