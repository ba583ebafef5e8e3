"""The page: what it says, what it leaves out to stay small, and its explorer in a real browser against Python."""
import base64
import io
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ls_jax import config as configs
from ls_jax import report
from ls_jax.data.sources import digits
from ls_jax.errors import UserError
from ls_jax.report import sections
from ls_jax.studies import projection
from ls_jax.studies.accuracy import records as accuracy_records
from ls_jax.studies.accuracy import section as accuracy_section
from ls_jax.studies.common import records
from ls_jax.studies.projection import explorer
from ls_jax.training import sweep
from ls_jax.workdir import predictions
from tests.report.made_up import experiment

NASTY = "</script><b>5"  # a class name that must not become markup
NAMES = ("0", "1", "2", "3", "4", NASTY, "6", "7", "8", "9")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return experiment(tmp_path_factory.mktemp("report") / "digits", NAMES)


@pytest.fixture(scope="module")
def page(workdir):
    return report.write(workdir)


def embedded(page):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def test_page_has_its_sections(page, workdir):
    text = page.read_text()
    for title in ("What was run", "Accuracy, test split", "The paper's claims", "Figure 1", "Explore the projection",
                  "Learning curves"):
        assert title in text
    for fact in ("1 × abacus (cpu)", "&lt;wood&gt;", "1 h 2 min", f"{12 * 'a'} with uncommitted"):
        assert fact in text
    mean = records.select(records.read(workdir), study="projection", quantity="spread ratio", split="train", alpha=0.0,
                          classes=projection.ALL)[0].mean
    assert f"{mean:.3f} ±" in text and 'class="verdict holds"' in text
    for name in ("learning_curves", "projection"):
        assert (workdir / "figures" / f"{name}.png").exists() and (workdir / "figures" / f"{name}.pdf").exists()


def test_members_that_diverged_are_named(workdir):
    config = json.loads((workdir / "config.json").read_text())
    record = records.Record("training", "diverged at step", "train", 1, 40, None, [40], hyper={"alpha": 0.1}, seeds=[2])
    assert "α 0.1, seed 2: at step 40" in sections.facts(config, None, [record])


def test_page_is_small_and_needs_no_network(page):
    text = page.read_text()
    assert len(text.encode()) < 5e6
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//|url\(\s*["']?(https?:)?//|@import|fetch\(""", text)
    assert NASTY not in text


def test_no_results_is_said(tmp_path):
    with pytest.raises(UserError, match="holds no results.json to report"):
        report.write(tmp_path)


def test_a_page_without_predictions_or_data_is_written(tmp_path, workdir):
    for name in ("config.json", "results.json"):
        shutil.copy(workdir / name, tmp_path / name)
    text = report.write(tmp_path).read_text()
    assert "Accuracy, test split" in text and "Explore the projection" not in text


def test_several_workdirs_have_one_page(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "other")
    page = report.write([workdir, tmp_path / "other"])
    text = page.read_text()
    assert page == workdir / "report_together.html" and text.count("<h2 ") == 2 and text.count('class="explorer"') == 2
    assert len(text.encode()) < 5e6


def test_papers_table_stands_beside_the_network_that_it_has():
    rows = [{"alpha": alpha, "seed": seed} for alpha in (0.0, 0.05, 0.1) for seed in (0, 1)]
    results = accuracy_records.run([("validation", row, {"accuracy": 0.7, "nll": 1.0, "examples": 10}) for row in rows])
    table = lambda data, **model: accuracy_section.table(
        results, "validation", {"data": {"name": data}, "model": model}, "validation")
    found = re.findall(r"<tr><td>(.*?)</td>.*?<td>([^<]*)</td></tr>", table("cifar100", name="resnet", blocks=9))
    assert found == [("α=0", "72.1 ± 0.3"), ("α=0.05", ""), ("α=0.1", "72.7 ± 0.3")]
    assert "86.7 ± 0.3" in table("cifar10", name="alexnet")
    assert "Table 2" not in table("cifar100", name="resnet", blocks=1) + table("mnist", name="mlp")


def decode(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def test_embedded_points_are_the_activations_in_the_span_of_templates(workdir):
    dataset = digits.load()
    data = explorer.data(workdir, sweep.members(configs.default())[:1], [(3, 8, 9)], dataset)
    member, split = data["members"][0], data["splits"]["train"]
    arrays = predictions.load(workdir, "train", 0)
    index, points = np.asarray(split["index"]), member["splits"]["train"]
    levels = decode(points["points"], "<i2").reshape(-1, member["rank"])
    assert np.abs(levels).max() == 32767 and data["bytes"] == 2
    coordinates = np.asarray(points["offset"]) + np.asarray(points["step"]) * levels
    basis = projection.template_span(arrays["kernel"], arrays["bias"])
    np.testing.assert_allclose(coordinates, projection.project(arrays["features"][index], basis),
                               atol=max(points["step"]))
    np.testing.assert_array_equal(decode(split["labels"], "<u2"), arrays["labels"][index])
    np.testing.assert_array_equal(decode(points["predicted"], "<u2"), arrays["logits"][index].argmax(axis=1))
    assert np.bincount(arrays["labels"][index]).max() == explorer.MOST_EXAMPLES
    assert "1,000 of 1,297 training examples (at most 100 per class" in data["note"]


def test_pictures_are_the_examples(workdir):
    dataset = digits.load()
    split = explorer.data(workdir, sweep.members(configs.default())[:1], [(3, 8, 9)], dataset)["splits"]["test"]
    pictures = split["pictures"]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures["sheet"].split(",")[1]))), np.float32)
    for example in (0, 41, 300):
        row, column = (pictures["tile"] * at for at in divmod(example, pictures["columns"]))
        shown = sheet[row:row + 8, column:column + 8]
        true = dataset.splits["test"].images[split["index"][example]][..., 0].astype(np.float32)
        assert np.abs(shown - true).mean() < 12 and np.corrcoef(shown.ravel(), true.ravel())[0, 1] > 0.98


def test_large_pictures_shrink_to_the_budget():
    images = np.random.default_rng(0).integers(0, 256, (200, 60, 40, 3), dtype=np.uint8)
    large, small = explorer._pictures(images, 1e9), explorer._pictures(images, 5e4)
    assert (large["height"], large["width"], large["tile"]) == (32, 21, 32)
    assert len(small["sheet"]) < 4 / 3 * 50_000 + 100 and small["tile"] % 8 == 0


@pytest.mark.parametrize("budget, width, seeds, examples", [
    (1e9, 2, None, 100), (50 * 6 * 90 * 2, 2, None, 50), (50 * 6 * 90, 1, None, 50), (50 * 2 * 90 * 2, 2, {0}, 50),
    (50 * 2 * 90, 1, {0}, 50), (2 * 2 * 90, 1, {0}, 2), (1, 1, {0}, 1),
])
def test_budget_decides_precision_seeds_and_examples(budget, width, seeds, examples):
    assert explorer._plan(6, {0, 1, 2}, 90, budget) == {"bytes": width, "seeds": seeds, "examples": examples}


def test_few_of_many_classes_are_chosen_with_the_triples_among_them():
    chosen = explorer._chosen_classes({*range(1000)}, [(0, 299, 499), (265, 266, 0)])
    assert len(chosen) == explorer.MOST_CLASSES and {0, 265, 266, 299, 499} <= set(chosen) and chosen == sorted(
        set(chosen))
    assert explorer._chosen_classes({*range(10)}, [(0, 1, 2)]) == list(range(10))
    assert explorer._chosen_classes({1, 5}, [(0, 1, 2)]) == [0, 1, 2, 5]  # those that have examples, and the triples'


def test_small_budget_says_what_is_left_out(workdir, monkeypatch):
    monkeypatch.setattr(explorer, "POINTS_BYTES", 8000)
    monkeypatch.setattr(explorer, "MOST_CLASSES", 6)
    rows = sweep.members(configs.default())
    rows = [row for row in rows if row["seed"] < 3]
    data = explorer.data(workdir, rows, [(3, 8, 9)])
    assert len(data["class_names"]) == 6 and {m["seed"] for m in data["members"]} == {0} and data["bytes"] == 1
    for part in ("6 of 10 classes", "seed 0 of 3", "at most 66 per class", "Pictures are not shown"):
        assert part in data["note"]
    points = sum(len(split["points"]) for member in data["members"] for split in member["splits"].values())
    assert points <= 4 / 3 * 8000 + 20
    assert data["start"] == [data["classes"].index(k) for k in (3, 8, 9)]


@pytest.fixture(scope="module")
def opened(browser, page):
    tab = browser.new_page()
    tab.complaints = []
    tab.on("console", lambda message: tab.complaints.append(message.text))
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.on("request", lambda request: request.url.startswith(("file:", "data:")) or tab.complaints.append(request.url))
    tab.goto(pathlib.Path(page).as_uri())
    return tab


def choose(tab, **values):
    for name, value in values.items():
        tab.select_option(f".explorer select[name={name}]", value=str(value))


def shown(tab):
    return tab.eval_on_selector_all(".explorer path.point", "points => points.map(p => "
                                    "[Number(p.dataset.example), Number(p.dataset.x), Number(p.dataset.y)])")


@pytest.mark.parametrize("triple, alpha, seed, split", [
    ((3, 8, 9), 0.0, 0, "train"), ((0, 5, 7), 0.1, 2, "test"), ((9, 8, 3), 0.1, 1, "train"),
    ((6, 2, 1), 0.0, 2, "test")])
def test_explorer_computes_the_coordinates_of_python(opened, page, workdir, triple, alpha, seed, split):
    choose(opened, class0=triple[0], class1=triple[1], class2=triple[2], setting=f"α = {alpha:g}", seed=seed,
           split=split)
    member = [(row["alpha"], row["seed"]) for row in report.load(workdir).rows].index((alpha, seed))
    arrays, data = predictions.load(workdir, split, member), embedded(page)
    index = np.asarray(data["splits"][split]["index"])
    examples, x, y = np.asarray(shown(opened)).T
    examples = index[examples.astype(int)]
    plane = projection.template_plane(arrays["kernel"], arrays["bias"], triple)
    expected = projection.project(arrays["features"][examples], plane)
    step = next(m for m in data["members"]
                if (m["setting"], m["seed"]) == (f"α = {alpha:g}", seed))["splits"][split]["step"]
    bound = np.linalg.norm(step) / 2 + 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(np.stack([x, y], axis=1), expected, atol=bound, rtol=0)
    assert set(examples) == set(index[np.isin(arrays["labels"][index], triple)])
    assert not opened.complaints


def test_explorer_measures_the_spread_that_it_shows(opened, page, workdir):
    choose(opened, class0=3, class1=8, class2=9, setting="α = 0.1", seed=1, split="test")
    arrays = predictions.load(workdir, "test", 4)
    ids = embedded(page)["splits"]["test"]["index"]
    few = {**arrays, **{name: arrays[name][ids] for name in ("logits", "features", "labels")}}
    assert f"{projection.numbers(few, (3, 8, 9))['spread ratio']:.3f}" in opened.inner_text(".explorer output")


def test_explorer_asks_for_three_classes_and_keeps_the_plot(opened):
    choose(opened, class0=3, class1=8, class2=9, setting="α = 0", seed=0, split="train")
    before = shown(opened)
    choose(opened, class1=3)
    assert opened.inner_text(".explorer output") == "Choose three different classes."
    assert before and shown(opened) == before


def test_zooming_shows_fewer_points_on_finer_ticks_and_dragging_others(opened):
    choose(opened, class0=3, class1=8, class2=9, setting="α = 0", seed=0, split="train")
    everything, plot = shown(opened), opened.locator(".explorer svg")
    plot.scroll_into_view_if_needed()
    for _ in range(5):
        opened.get_by_role("button", name="Zoom in").first.click()
    near = shown(opened)
    assert 0 < len(near) < len(everything)
    most = max(abs(x) for _, x, _ in everything)
    assert all(abs(x) < most * 1.08 / 1.5**5 for _, x, _ in near)
    box = plot.bounding_box()
    opened.mouse.move(box["x"] + 300, box["y"] + 200)
    opened.mouse.down()
    opened.mouse.move(box["x"] + 300, box["y"] + 400, steps=4)
    opened.mouse.up()
    moved = shown(opened)  # towards larger y
    assert np.mean([y for *_, y in moved]) > np.mean([y for *_, y in near]) and moved != near
    opened.get_by_role("button", name="Show all points").first.click()
    assert shown(opened) == everything and not opened.complaints


def test_points_are_reached_by_keyboard(opened):
    choose(opened, class0=5, class1=8, class2=9, setting="α = 0", seed=0, split="train")
    opened.locator(".explorer svg").first.focus()
    card, told = opened.locator(".explorer .card"), []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "+"):
        opened.keyboard.press(key)
        told.append(card.inner_text())
    assert NASTY in told[0] and told[1] != told[0] == told[2]
    few = len(shown(opened))
    opened.keyboard.press("0")
    assert len(shown(opened)) > few
    opened.keyboard.press("Escape")
    assert not card.is_visible() and not opened.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab = browser.new_page()
    tab.emulate_media(color_scheme=scheme)
    tab.goto(pathlib.Path(page).as_uri())
    found = axe.Axe().run(tab).response["violations"]
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in found
            if each["impact"] in ("serious", "critical") or each["id"] == "heading-order"] == []


def test_contents_lead_to_every_section(opened):
    links = opened.eval_on_selector_all(".contents a", "links => links.map(a => [a.hash.slice(1), a.textContent])")
    headings = opened.eval_on_selector_all("h3", "all => all.map(h => [h.id, h.textContent.trim()])")
    assert links == headings and len(links) > 5 and len(dict(links)) == len(links)


def test_hovering_shows_the_example(opened, workdir):
    choose(opened, class0=5, class1=8, class2=9, setting="α = 0", seed=0, split="train")
    opened.locator(".explorer svg").scroll_into_view_if_needed()
    box = opened.locator(".explorer path.point").first.bounding_box()
    opened.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    card = opened.locator(".explorer .card")
    assert card.is_visible() and NASTY in card.inner_text() and "confidence" in card.inner_text()
    style = card.locator("i").evaluate("i => getComputedStyle(i).backgroundImage + ' ' + i.offsetWidth")
    assert style.startswith('url("data:image/jpeg') and style.endswith(" 96")
    opened.mouse.move(1, 1)
    assert not card.is_visible() and not opened.complaints


@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_the_screen(opened, width):
    opened.set_viewport_size({"width": width, "height": 844})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_claims_are_in_groups_whose_headings_count_claims():
    rows = [{"alpha": alpha, "seed": seed} for alpha in (0.0, 0.05, 0.1) for seed in range(4)]
    values = [0.9 - row["alpha"] + 0.001 * (row["seed"] * row["alpha"] / 0.1 - row["seed"]) for row in rows]
    made = [record for split in ("train", "test") for record in records.summarize(
        "projection", "spread ratio", split, rows, values, classes=projection.ALL)]
    made += records.summarize("representation", "nc1", "train", rows, values)
    text = sections.claims_section(made)
    heads = [re.sub(r"<.*?>", "", each) for each in re.findall(r"<h3>.*?</h3>", text)]
    assert heads == ["Verdicts", "The paper's claims: 1 holds", "The paper's claims, secondary findings: 1 holds",
                     "Claims of later work: 1 holds"]
    assert text.count("<h4>") == 3 and "Source: Guo et al. 2024" in text and "All\nare 95 % intervals" in text
