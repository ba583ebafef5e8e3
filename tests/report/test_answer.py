"""The answer of a run: its order, the rules of the recommendation, and where it stands."""
import json
import pathlib
import shutil

import pytest

from ls_jax import report
from ls_jax.report import answer
from ls_jax.studies.common import records
from ls_jax.studies.common.answers import HARMED, HELPED, SMALL, UNKNOWN, Sentence

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "results"
BEST_T = "likelihood, each network at its best temperature"
RANKING = "ranking of errors by confidence"


def sentence(about, kind, alpha=0.1):
    return Sentence(about, f"{about}.", 0.0, (0, 0), kind, kind, alpha)


@pytest.mark.parametrize("kinds, due", [
    ({"accuracy": HELPED}, "Use α = 0.1 for accuracy."),
    ({"accuracy": HARMED}, "Do not smooth for accuracy."),
    ({"accuracy": SMALL}, "Smoothing is not needed for accuracy."),
    ({"accuracy": UNKNOWN}, "These numbers decide nothing yet."),
    ({"temperature scaling": HARMED, "calibration": HELPED},
     "If confidences matter, scale the temperature: that calibrates better than smoothing."),
    ({"temperature scaling": HELPED},
     "If confidences matter, smooth: that calibrates better than scaling the temperature."),
    ({"temperature scaling": UNKNOWN, "calibration": HELPED}, "Smoothing also makes confidences more honest."),
    ({"calibration": HARMED}, "If confidences matter, do not smooth."),
    ({BEST_T: HARMED, RANKING: HELPED}, "Where the likelihood matters, do not smooth."),
    ({BEST_T: HARMED, RANKING: HARMED}, "Where the likelihood or the ranking of errors matters, do not smooth."),
    ({"distillation at T = 4": HARMED, "distillation at T = 1": SMALL},
     "Do not distil from the smoothed network at T = 4."),
])
def test_the_recommendation_follows_from_the_sentences(kinds, due):
    assert answer.recommendation([sentence(about, kind) for about, kind in kinds.items()]) == due


@pytest.mark.parametrize("choice, alpha", [(HELPED, 0.3), (UNKNOWN, 0.1)])
def test_the_alpha_that_validation_chose_is_recommended_if_choosing_gained(choice, alpha):
    said = answer.recommendation([sentence("accuracy", HELPED), sentence("choice of α", choice, 0.3)])
    assert said == f"Use α = {alpha} for accuracy."


def test_a_run_that_was_measured():
    found = answer.of(records.read(RESULTS / "fashion_mnist_mlp"))
    assert [each.about for each in found.sentences] == [
        "accuracy", "choice of α", "calibration", "temperature scaling", "likelihood", BEST_T, RANKING,
        "clusters of held-out examples"]
    assert found.setting == ("With α = 0.1 against 0, 5 seeds, on 10,000 test examples; 95 % intervals for new seeds "
                             "and new examples.")
    assert found.sentences[3].verdict == "scaling is better" and found.surer == ""
    assert found.recommendation.endswith("Where the likelihood or the ranking of errors matters, do not smooth.")
    assert found.lines()[0].startswith("Did label smoothing help? With α = 0.1")
    assert found.lines()[-1] == f"So: {found.recommendation}"


def test_one_seed_and_one_network_get_one_line():
    several = records.read(RESULTS / "fashion_mnist_mlp")
    rows = [{"alpha": alpha, "seed": 0} for alpha in (0.0, 0.1)]
    one_seed = records.summarize("accuracy", "accuracy", "test", rows, [0.9, 0.95])
    assert answer.of(one_seed).sentences == () and "One seed decides nothing" in answer.of(one_seed).recommendation
    alone = [record for record in several if record.kind == records.VALUE and record.hyper.get("alpha") == 0]
    said = answer.of(alone)
    assert said.sentences == () and said.recommendation.endswith("train with α = 0 and another α, on the same seeds.")
    assert ("is over-confident (confidence minus accuracy +6.4 points); the temperature 1.88 takes its ECE from 0.0646 "
            "to 0.0081.") in said.recommendation


def test_a_translator_is_answered_with_bleu():
    found = answer.of(records.read(RESULTS / "multi30k_transformer"))
    bleu, = (each for each in found.sentences if each.about == "BLEU")
    assert bleu == found.sentences[0] and bleu.verdict.startswith("cannot tell: about ")
    assert bleu.text.startswith("BLEU: cannot tell. The difference is +0.4 [−1.1, +1.8] BLEU (37.2 without, 37.6 with "
                                "smoothing)")
    of = lambda kind: answer.recommendation([sentence("BLEU", kind)])
    assert of(HELPED) == "Use α = 0.1 to translate." and of(SMALL) == "Smoothing is not needed to translate."


def test_it_stands_in_files_and_opens_the_page(tmp_path):
    for name in ("fashion_mnist_mlp", "mnist_mlp"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "manifest.json", "results.json"):
            shutil.copyfile(RESULTS / name / file, tmp_path / name / file)
    page = report.write(tmp_path / "mnist_mlp").read_text()
    kept = json.loads((tmp_path / "mnist_mlp" / "answer.json").read_text())
    assert kept["sentences"][0].keys() == {"about", "text", "value", "interval", "verdict"}
    assert page.index(kept["sentences"][0]["text"]) < page.index(">What was run</h3>")
    assert kept["recommendation"] in page
    together = report.write([tmp_path / "mnist_mlp", tmp_path / "fashion_mnist_mlp"]).read_text()
    table = together[together.index("Did it help?"):together.index("Contents")]
    assert table.count("<tr>") == 3 and "scaling is better" in table and "tighter" in table
