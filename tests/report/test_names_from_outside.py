"""Names from outside (of classes, data, networks, tasks, files, workdirs, students, teachers) are text on the page.

A page with every section, whose names hold an ordinary word, is compared with the same page where markup stands in the
word's place: it has the same elements with the same attributes, and each text has the markup where the other has the
word.
"""
import html.parser
import json
import pathlib
import re
import shutil
import types
import urllib.parse

import jinja2
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ls_jax import report
from ls_jax.report import overview
from ls_jax.studies.common import markup, records
from ls_jax.studies.common.statistics import moments
from tests.report.made_up import experiment

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "results"
WORD, FOLDER_WORD = "harmless", "elsewhere"
HOSTILE = ("<!--<script>", "</script>", "<img src=x onerror=alert(1)>", '"', "&", "{{ 7*7 }}")
FOREIGN = {"name", "file", "signature", "student", "teacher", "data", "data[]", "classes[]"}  # the keys of such text
TITLES = ("What was run", "What was analyzed", "Accuracy", "The paper's claims", "Penultimate-layer projections",
          "Explore the projection", "Calibration", "Translation", "Distillation", "Information about the example",
          "Penultimate-layer representation", "Learning curves", "The paper, result by result", "Verdicts by claim",
          "Not run")


def planted(value, key=""):
    """JSON with the word at the end of every text that is from outside."""
    if isinstance(value, str):
        return value + WORD if key in FOREIGN else value
    if isinstance(value, list):
        return [planted(each, f"{key}[]") for each in value]
    if isinstance(value, dict):
        of_names = key in ("teachers", "students")
        return {name + WORD * of_names: planted(each, "teacher" if of_names else name) for name, each in value.items()}
    return value


def swapped(value, name, folder):
    """JSON with the names in the words' places."""
    if isinstance(value, dict):
        return {swapped(each, name, folder): swapped(inner, name, folder) for each, inner in value.items()}
    if isinstance(value, list):
        return [swapped(each, name, folder) for each in value]
    return value.replace(WORD, name).replace(FOLDER_WORD, folder) if isinstance(value, str) else value


def rewrite(workdir, change):
    """Change the JSON of a workdir."""
    for file in [*workdir.glob("*.json"), *workdir.glob("*.jsonl")]:
        lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        file.write_text("".join(json.dumps(change(json.loads(line))) + "\n" for line in lines))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Workdirs that have all sections among them, with the word in their names."""
    place = tmp_path_factory.mktemp("originals")
    experiment(place / "digits", [f"{digit}{WORD}" for digit in range(10)])
    for name in ("mnist_noise", "mnist_mlp", "multi30k_transformer", "mnist_distill"):
        shutil.copytree(RESULTS / name, place / name, ignore=shutil.ignore_patterns("figures", "README.md"))
    config = json.loads((place / "mnist_distill" / "config.json").read_text())
    config["distill"]["teachers"]["bought"] = "/a/folder"
    (place / "mnist_distill" / "config.json").write_text(json.dumps(config))
    for workdir in place.iterdir():
        rewrite(workdir, planted)
    manifest = json.loads((place / "digits" / "manifest.json").read_text())
    session, = manifest["sessions"]
    session.update(versions={"jax": WORD}, outcome=WORD, xla_on_cpu={"patterns": "right", "XLA_FLAGS": WORD})
    session["devices"]["kind"] = session["cpu"]["model"] = WORD
    (place / "digits" / "manifest.json").write_text(json.dumps(manifest))
    (place / "analysis").mkdir()
    records.write(place / "analysis",
                  [records.Record("accuracy", name, "test", **moments([0.5])) for name in ("accuracy", "nll")])
    (place / "analysis" / "analysis.json").write_text(json.dumps({
        "file": f"{WORD}.npz", "examples": 9, "classes": 3, "triples": [], "kept": 0, "arrays": {WORD: [9, 3]},
        "seconds": 1.0, "version": WORD, "git": None}))
    return sorted(place.iterdir())


def written(originals, place, name, folder):
    """The page about the workdirs with a name in the word's place, also in their own names."""
    workdirs = [place / f"{original.name} {folder}" for original in originals]
    for original, workdir in zip(originals, workdirs):
        shutil.copytree(original, workdir)
        rewrite(workdir, lambda value: swapped(value, name, folder))
        for file in workdir.glob("predictions/*.npz"):
            with np.load(file) as arrays:
                names = [each.replace(WORD, name) for each in arrays["class_names"].tolist()]
                changed = {**arrays, "class_names": np.asarray(names)}
            np.savez(file, **changed)
    plan = [types.SimpleNamespace(name=workdir.name, shows=["Table 2"]) for workdir in workdirs]
    found = {workdir.name: records.read(workdir) for workdir in workdirs}
    opening = overview.section(plan, found, {name: f"left out: {name}"},
                               dict.fromkeys(found))
    return report.write(workdirs, page=place / "page.html", opening=opening)


@pytest.fixture(scope="module")
def write(originals, tmp_path_factory):
    """write(name): the page with that name, written once; its figures are a dot, for their pixels are not markup."""
    pages = {}

    def page(name):
        if name not in pages:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Figure, "get_layout_engine", lambda figure: None)
                patch.setattr(Figure,
                              "savefig", lambda figure, file, **options: Image.new("L", (1, 1)).save(file, "png"))
                pages[name] = written(originals, tmp_path_factory.mktemp("pages"), name, folder(name))
        return pages[name]
    return page


def folder(name):
    return FOLDER_WORD if name == WORD else name.replace("/", "")


class Events(html.parser.HTMLParser):
    """What a page says: tags with their attributes, and texts, those that are JSON as what they say."""

    def __init__(self, text):
        super().__init__()
        self.found, self.json = [], False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, [[name, urllib.parse.unquote(value) if name == "href" else value]
                                 for name, value in attributes]))
        self.json = tag == "pre" or ("type", "application/json") in attributes

    def handle_endtag(self, tag):
        self.found.append((f"/{tag}", []))
        self.json = False

    def handle_comment(self, data):
        self.found.append(("comment", data))

    def handle_data(self, data):
        self.found.append(("text", json.loads(data) if self.json else data))


@pytest.mark.parametrize("name", HOSTILE)
def test_the_page_has_the_same_elements_and_the_names_as_text(write, name):
    before, after = Events(write(WORD).read_text()).found, Events(write(name).read_text()).found
    assert [kind for kind, _ in after] == [kind for kind, _ in before]
    wanted = [(kind, swapped(what, name, folder(name))) for kind, what in before]
    assert [pair for pair in zip(after, wanted) if pair[0] != pair[1]] == []


def test_it_has_every_section(write):
    found = Events(write(WORD).read_text()).found
    titles = [text for (kind, _), (_, text) in zip(found, found[1:]) if kind in ("h2", "h3")]
    assert not [title for title in TITLES if not any(each.startswith(title) for each in titles)]
    assert sum(str(what).count(WORD) for _, what in found) > 100


ELEMENTS = """() => [...document.querySelectorAll("*")].map(element => [element.tagName, element.getAttributeNames(),
    [...element.childNodes].filter(node => node.nodeType === Node.TEXT_NODE).map(node => node.textContent).join("")])"""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_browser_makes_the_same_elements_and_runs_nothing(browser, write, name):
    tab, told, pages = browser.new_page(), [], []
    tab.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    tab.on("console", lambda message: told.append(message.text))
    tab.on("pageerror", lambda error: told.append(str(error)))
    for each in (WORD, name):
        tab.goto(write(each).as_uri())
        pages.append(tab.evaluate(ELEMENTS))
    tab.close()
    before, after = pages
    assert [element[:2] for element in after] == [element[:2] for element in before] and told == []
    said = lambda elements: [text for tag, _, text in elements
                             if tag not in ("SCRIPT", "PRE")]  # JSON has its own escapes
    assert said(after) == swapped(said(before), name, folder(name))
    assert sum(name in text for tag, _, text in after if tag == "OPTION") == 30
    assert sum(tag == "path" for tag, *_ in after) > 100


def test_a_long_word_does_not_widen_the_page(browser, write):
    tab = browser.new_page()
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.goto(write(WORD).as_uri())  # BLEU's signature is one
    width = tab.evaluate("document.documentElement.scrollWidth")
    tab.close()
    assert width == 390


def test_no_character_ends_a_script_or_a_line_of_it():
    data = {"note": "", "class_names": ["<!--", "</script>", "&", "\u2028\u2029"]}
    script = re.search(r"<script[^>]*>(.*)</script>", markup.render("studies/projection/explorer.html", data=data))[1]
    assert not set("<>&\u2028\u2029") & set(script) and json.loads(script) == data


def test_what_a_template_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="'table' is undefined"):
        markup.render("studies/common/table.html")


def test_a_table_of_a_notebook_escapes():
    text = markup.table(("<i>",), [("<b>",)], "<u>")
    assert [f"&lt;{name}&gt;" in text for name in "ibu"] == [True] * 3 and not re.search("<[ibu]>", text)
