"""Numbers quoted in pages are those of the records, see results/quotes.py; figures are what the records draw."""
import importlib.util
import json
import pathlib
import re

import pytest
from matplotlib.figure import Figure
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]


def script(name):
    specification = importlib.util.spec_from_file_location(name, ROOT / "results" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


quotes, figures = script("quotes"), script("figures")

PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "results").glob("**/README.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_quoted_numbers_are_the_records(page):
    for quote in quotes.QUOTE.finditer(page.read_text()):
        assert {name: quote[name] for name in quotes.numbers(quote)} == quotes.numbers(quote), quote["key"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_key_follows_a_number(page):
    keys = re.findall(r"<!-- ([a-z0-9_]+ [a-z]\w*/.*?) -->", page.read_text())
    assert keys == [quote["key"] for quote in quotes.QUOTE.finditer(page.read_text())]


def test_pages_of_kept_predictions_quote_records():
    for folder in (ROOT / "results").glob("*/predictions"):
        assert quotes.QUOTE.search(
            (folder.parent / "README.md").read_text()), f"{folder.parent.name}: no number has a key"


def test_a_stale_number_is_found_and_refreshed():
    key = "<!-- cifar10_fast accuracy/accuracy test alpha=0 -->"
    stale = f"It is 12.34 ± 5.6 %{key}, not 3."
    assert quotes.refreshed(stale) == f"It is 88.40 ± 0.2 %{key}, not 3."
    with pytest.raises(ValueError, match="names 0 records"):
        quotes.refreshed(stale.replace("alpha=0", "alpha=7"))


DRAWN = sorted(path.parent for path in (ROOT / "results").glob("*/figures"))


def close(found, due):
    """Whether two JSON values are equal, numbers to a thousandth."""
    if isinstance(due, dict):
        return found.keys() == due.keys() and all(close(found[name], due[name]) for name in due)
    if isinstance(due, list):
        return len(found) == len(due) and all(map(close, found, due))
    return found == pytest.approx(due, rel=1e-3, abs=1e-9) if isinstance(due, float) else found == due


@pytest.mark.parametrize("folder", DRAWN, ids=lambda folder: folder.name)
def test_figures_are_what_the_records_draw(folder, tmp_path, monkeypatch):
    """If not: python results/figures.py."""
    empty = Image.new("RGB", (1, 1))
    monkeypatch.setattr(Figure, "savefig", lambda self, file, format: empty.save(file, "PNG"))  # drawing takes long
    monkeypatch.setattr(Figure, "get_layout_engine", lambda self: None)
    names = figures.draw(folder, tmp_path)
    for name in names:
        due = json.loads((folder / "figures" / f"{name}.json").read_text())
        assert close(json.loads((tmp_path / f"{name}.json").read_text()), due), name
        assert any(axes["lines"] or axes["images"] for axes in due)
    assert {path.stem for path in (folder / "figures").glob("*.png")} - {*names} <= {"projection"}
