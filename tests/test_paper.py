"""The paper's numbers and settings, typed anew from its text, against ls_jax.paper, configs/, and what claims and
docstrings quote."""
import ast
import pathlib

import pytest

from ls_jax import config as configs
from ls_jax import paper
from ls_jax.studies import registry
from ls_jax.studies.accuracy import records as accuracy_records
from ls_jax.studies.accuracy import section as accuracy_section
from ls_jax.studies.calibration import claims as calibration_claims
from ls_jax.studies.common import claims

FILES = sorted((pathlib.Path(__file__).resolve().parents[1] / "configs").glob("*.py"))

TABLE_1 = {"EN-DE, Transformer": "25.3 25.8"}  # BLEU
TABLE_2 = {  # without smoothing, with α = 0.1
    "CIFAR-10, AlexNet": "86.8 ± 0.2 | 86.7 ± 0.3",
    "CIFAR-100, ResNet-56": "72.1 ± 0.3 | 72.7 ± 0.3",
    "ImageNet, Inception-v4": "80.9 | 80.9",
}
TABLE_3 = {  # baseline ECE | temperature scaling, ECE / T | label smoothing, ECE / α
    "CIFAR-100, ResNet-56": "0.150 | 0.021 / 1.9 | 0.024 / 0.05",
    "ImageNet, Inception-v4": "0.071 | 0.022 / 1.4 | 0.035 / 0.1",
    "EN-DE, Transformer": "0.056 | 0.018 / 1.13 | 0.019 / 0.1",
}
MNIST = {  # test error in %: the paper, the replication
    ("teacher", 0.0): ("0.67", "0.81"), ("teacher", 0.1): ("0.59", "0.69"),
    ("student", 0.0): ("0.74", "0.93"), ("student", 0.1): ("0.91", "1.05"),
    ("alone", 0.0): ("1.46 (Hinton et al. 2015)", ""),
}
# with a smoothed teacher, with a hard one
SHEN = {"ImageNet": (71.816, 71.425), "CUB": (78.382, 77.116)}
CHANDRASEGARAN = {1: (71.666, 71.488), 2: (68.860, 71.360), 3: (67.752, 69.674)}  # the same, by T

RECIPES = {  # appendix A
    "mnist_mlp": {"model.hidden": (1200, 1200), "model.init_std": 0.03, "sweep.learning_rate": (1.0,),
                  "optimizer.layer_rates.head": 0.1,
                  "optimizer.schedule": "linear", "optimizer.momentum_form": "averaged", "optimizer.momentum": 0.9,
                  "sweep.weight_decay": (0.0,), "sweep.alpha": (0.0, 0.1)},
    "mnist_distill": {"model.hidden": (800, 800), "data.augment": "none"},
    "cifar10_alexnet": {"data.holdout": 10_000, "evaluate.split": "validation", "batch_size": 128, "steps": 390_000,
                        "loss.multiplier": 3.0,
                        "sweep.learning_rate": (0.1,), "sweep.weight_decay": (0.04,), "optimizer.momentum": 0.0,
                        "optimizer.factor": 0.1,
                        "optimizer.boundaries": (130 / 390, 260 / 390), "optimizer.ema": 0.0,
                        "sweep.seed": (0, 1, 2, 3, 4)},
    "cifar10_resnet56": {"data.holdout": 10_000, "evaluate.split": "validation", "batch_size": 128, "steps": 64_000,
                         "loss.multiplier": 3.0,
                         "model.blocks": 9, "sweep.learning_rate": (0.1,), "sweep.weight_decay": (1e-4,),
                         "optimizer.momentum": 0.9,
                         "optimizer.momentum_form": "nesterov", "optimizer.factor": 0.1,
                         "optimizer.boundaries": (32 / 64, 48 / 64),
                         "optimizer.clip": 1.0, "checkpoint.keep_every": 4_000, "information.examples": 600,
                         "information.draws": 5},
    "cifar100_resnet56": {"data.holdout": 10_000, "sweep.alpha": (0.0, 0.05, 0.1), "steps": 64_000},
    "imagenet_inception": {"batch_size": 4096, "optimizer.momentum": 0.9, "optimizer.momentum_form": "nesterov",
                           "optimizer.ema": 0.9999,
                           "sweep.weight_decay": (8e-5,), "sweep.alpha": (0.0, 0.1)},
    "wmt_transformer": {"model.layers": 6, "model.width": 512, "model.feed_forward": 2048, "model.heads": 8,
                        "model.dropout": 0.1,
                        "data.vocabulary": 32_000, "steps": 300_000, "sweep.learning_rate": (2.0,),
                        "optimizer.warmup": 8000 / 300_000,
                        "optimizer.momentum": 0.9, "optimizer.second_momentum": 0.997, "optimizer.epsilon": 1e-9,
                        "batch_size": 4096,
                        "loss.convention": "off_target", "translation.length_penalty": 0.6},
}


def of_title(table):
    """A typed table by ls_jax.paper's keys."""
    return {key: table[title] for key, title in paper.TITLES.items() if title in table}


def test_tables_are_the_papers():
    assert {key: f"{pair[0.0]} {pair[0.1]}" for key, pair in paper.BLEU.items()} == of_title(TABLE_1)
    assert {key: f"{pair[0.0]} | {pair[0.1]}" for key, pair in paper.ACCURACY.items()} == of_title(TABLE_2)
    assert {name: " | ".join(cells)
            for name, *cells in paper.table_3()} == {f"{title} (paper)": row for title, row in TABLE_3.items()}
    assert {(role, alpha): tuple(error) for (role, alpha), error in paper.ERRORS["mnist", "mlp"].items()} == MNIST
    assert len(of_title(TABLE_2)) == len(TABLE_2) and len(of_title(TABLE_3)) == len(TABLE_3)


def whole(path):
    """A config as it is without a variant, with its teachers."""
    config = configs.load(path)
    return [config, *(config.distill.teachers.values() if config.distill else ())]


def test_every_key_is_a_configs():
    """A data set and network that no config has would never be shown beside a run."""
    there = {paper.key(configs.plain(config)) for path in FILES for config in whole(path)}
    for table in (paper.TITLES, paper.BLEU, paper.ACCURACY, paper.CALIBRATION, paper.ERRORS):
        assert table.keys() <= there
    assert set(paper.SIZES) <= {network for _, network in paper.TITLES}


@pytest.mark.parametrize("name, key", [
    ("imagenet_inception", ("imagenet2012", "inception_v4")), ("cifar10_alexnet", ("cifar10", "alexnet")),
    ("cifar100_resnet56", ("cifar100", "resnet"))])
def test_accuracies_stand_beside_the_runs_of_their_configs(name, key):
    path, = (path for path in FILES if path.stem == name)
    rows = [{"alpha": alpha, "seed": seed} for alpha in (0.0, 0.1) for seed in (0, 1)]
    measured = accuracy_records.run([("validation", row, {"accuracy": 0.5, "nll": 1.0, "examples": 10})
                                     for row in rows])
    shown = lambda variant: str(accuracy_section.table(measured, "validation",
                                                       configs.plain(configs.load(path, variant)), "validation"))
    assert all(str(accuracy) in shown("") for accuracy in paper.ACCURACY[key].values()) and "Table 2" in shown("")
    # of a smaller network; the AlexNet has one size
    assert name == "cifar10_alexnet" or "Table 2" not in shown("smoke")


@pytest.mark.parametrize("name", RECIPES)
def test_configs_are_the_papers_recipes(name):
    path, = (path for path in FILES if path.stem == name)
    config = configs.load(path)
    for field, value in RECIPES[name].items():
        assert configs.get(config, field) == (value if isinstance(value, str) else pytest.approx(value)), field


def test_distillations_are_the_papers_grids():
    distill = {path.stem: configs.load(path).distill for path in FILES}
    alphas, cifar = (0.0, 0.15, 0.30, 0.45, 0.60, 0.75), distill["cifar10_distill"]
    assert tuple(cifar.teachers.resnet.sweep.alpha) == tuple(cifar.students.baseline.alpha) == alphas
    assert tuple(cifar.students.scaled.temperature) == (1, 2, 3, 4, 8, 12, 16)
    assert tuple(cifar.students.smoothed.teacher_alpha) == alphas[1:]
    mnist = distill["mnist_distill"]
    assert mnist.students.of_dropout.beta == mnist.students.of_smoothed.beta == (0.6,) and mnist.loss == "logits"


@pytest.mark.parametrize("name, numbers", [
    ("cifar10_alexnet", "86.8 ± 0.2, 86.7 ± 0.3"), ("cifar100_resnet56", "72.1 ± 0.3, 72.7 ± 0.3, α = 0.05"),
    ("imagenet_inception", "80.9 %, 0.071, 0.035"), ("wmt_transformer", "0.056, 0.018, 1.13, 0.019"),
    ("mnist_mlp", "0.59 %, 0.69 %, 0.81 %"), ("mnist_distill",
                                              "0.67, 0.59 %, 0.74, 0.91 %, 0.81, 0.69, 0.93, 1.05, 1.46 %")])
def test_configs_docstrings_quote_the_paper(name, numbers):
    path, = (path for path in FILES if path.stem == name)
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert [number for number in numbers.split(", ") if number not in text] == []


def test_claims_quote_the_paper():
    text = {name: f"{claim.statement} {claim.quote}" for name, claim in registry.claims().items()}
    contain = lambda name, *parts: [part for part in parts if part not in text[name]] == []
    accuracies = [[float(side.split(" ±")[0]) for side in row.split(" | ")] for row in TABLE_2.values()]
    # hard, scaled, smoothed
    errors = [[float(cell.split(" /")[0]) for cell in row.split(" | ")] for row in TABLE_3.values()]
    gains = [round(after - before, 1) for before, after in accuracies]
    margins = [round((100 - before) / 10, 1) for before, _ in accuracies]
    assert contain("accuracy is similar", *(f"{before} to {after}" for before, after in accuracies),
                   "changes are {}, {} and {} %-points".format(*gains), "errors is {}, {} and {}".format(*margins))
    assert contain("temperature scaling calibrates", *(f"{hard:.3f} to {scaled:.3f}" for hard, scaled, _ in errors))
    assert contain("smoothing calibrates", *(f"{hard:.3f} to {smoothed:.3f}" for hard, _, smoothed in errors))
    excesses = [f"{1e4 * (smoothed**2 - scaled**2):.2f}" for _, scaled, smoothed in errors]
    tenths = [f"{1e3 * hard**2:.2f}" for hard, _, _ in errors]
    assert contain("smoothing calibrates as temperature scaling does", *(f"{scaled:.3f} beside {smoothed:.3f}"
                                                                         for _, scaled, smoothed in errors),
                   "by {}, {} and {} points²".format(*excesses), "is {}, {} and {}".format(*tenths))
    assert contain("smoothing raises BLEU", TABLE_1["EN-DE, Transformer"].replace(" ", " to "))
    assert contain("smoothed teachers are more accurate", "0.59 % error with smoothing, 0.67 % with dropout",
                   "up to 0.6")
    assert contain("matching an unsmoothed teacher's logits helps", "0.74 % error", "1.46 % error")
    assert contain("matching a smoothed teacher's logits is worse", "0.91 % against 0.74 % error")


def test_claims_of_later_work_quote_it():
    quote = lambda name: registry.claims()[f"counter-claim: smoothed teachers {name}"].quote
    against = lambda pair: "{:.1f} against {:.1f} %".format(*pair)
    assert all(against(pair) in quote("distil better at T = 1") for pair in SHEN.values())
    assert all(against(CHANDRASEGARAN[t]) + f" at T = {t}" in quote("hurt at T > 1") for t in (2, 3))
    assert against(CHANDRASEGARAN[1]) in quote("do not hurt at T = 1")
    assert "0.420 against 0.349" in registry.claims()["classes are more separated"].quote


def test_smoothings_that_claims_compare_are_the_papers():
    assert claims.PAPER_ALPHA == 0.1
    assert set(calibration_claims.ALPHAS) == {each.alpha for each in paper.CALIBRATION.values()}


def test_a_network_of_other_sizes_is_not_the_papers():
    run = lambda **model: paper.key({"data": {"name": "imagenet2012"}, "model": {"name": "inception_v4", **model}})
    assert run() == run(blocks=[4, 7, 3], width=1.0) == ("imagenet2012", "inception_v4")
    assert run(blocks=[1, 1, 1]) is None and run(width=0.5) is None
    noisy = lambda noise: paper.key({"data": {"name": "mnist", "label_noise": noise}, "model": {"name": "mlp"}})
    assert noisy(0.0) == ("mnist", "mlp") and noisy(0.4) is None, "the paper's labels are right"
