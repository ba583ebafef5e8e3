"""The paper's printed numbers that this code shows beside its own, and the claims that each of its experiments is
about.

Both are by (config.data.name, config.model.name).

"When Does Label Smoothing Help?", Müller, Kornblith and Hinton, NeurIPS 2019, arXiv 1906.02629 v3. The numbers behind
its figures are not published.
"""
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

Key = tuple[str, str]  # the data set and the network, as a config names them
ALPHA = 0.1  # the paper's smoothing, where it does not name another

TITLES: dict[Key, str] = {
    ("cifar10", "alexnet"): "CIFAR-10, AlexNet",
    ("cifar100", "resnet"): "CIFAR-100, ResNet-56",
    ("imagenet2012", "inception_v4"): "ImageNet, Inception-v4",
    ("wmt14_translate/de-en", "transformer"): "EN-DE, Transformer",
    ("mnist", "mlp"): "MNIST, fully connected",
}

# Values of config.model's fields in the paper's networks. Other fields have the model's defaults, which are the
# paper's.
SIZES: dict[str, dict[str, Any]] = {
    "resnet": {"blocks": 9},  # the paper does not state its widths
    "inception_v4": {"blocks": (4, 7, 3), "width": 1.0},
    "transformer": {"layers": 6, "width": 512, "feed_forward": 2048, "heads": 8},
}


class Accuracy(NamedTuple):
    """Accuracy in %; the paper does not say what the spread is."""
    mean: float
    spread: float | None = None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if self.spread is None else f" ± {self.spread:.1f}")


class Calibration(NamedTuple):
    """Expected calibration errors, with the chosen temperature and smoothing."""
    unsmoothed: float    # without smoothing, at T = 1
    scaled: float        # without smoothing, at `temperature`
    temperature: float
    smoothed: float      # with smoothing `alpha`, at T = 1
    alpha: float


class Error(NamedTuple):
    """Test errors in %: the paper's, and the replication's (Wagner, Kurowski, Holländer and Uelwer)."""
    paper: str
    replication: str = ""


# Table 1, from Vaswani et al. 2017: BLEU by α.
BLEU: dict[Key, dict[float, float]] = {("wmt14_translate/de-en", "transformer"): {0.0: 25.3, 0.1: 25.8}}

# Table 2: top-1 accuracy by α, on 10,000 held-out training examples (ImageNet: on the validation set).
ACCURACY: dict[Key, dict[float, Accuracy]] = {
    ("cifar10", "alexnet"): {0.0: Accuracy(86.8, 0.2), 0.1: Accuracy(86.7, 0.3)},
    ("cifar100", "resnet"): {0.0: Accuracy(72.1, 0.3), 0.1: Accuracy(72.7, 0.3)},
    ("imagenet2012", "inception_v4"): {0.0: Accuracy(80.9), 0.1: Accuracy(80.9)},
}

# Table 3.
CALIBRATION: dict[Key, Calibration] = {
    ("cifar100", "resnet"): Calibration(unsmoothed=0.150, scaled=0.021, temperature=1.9, smoothed=0.024, alpha=0.05),
    ("imagenet2012", "inception_v4"): Calibration(unsmoothed=0.071, scaled=0.022, temperature=1.4, smoothed=0.035,
                                                  alpha=0.1),
    ("wmt14_translate/de-en", "transformer"): Calibration(unsmoothed=0.056, scaled=0.018, temperature=1.13,
                                                          smoothed=0.019, alpha=0.1),
}

# Section 4: by role and teacher's α. The paper does not give the student without a teacher; Hinton et al. 2015 do.
ERRORS: dict[Key, dict[tuple[str, float], Error]] = {("mnist", "mlp"): {
    ("teacher", 0.0): Error("0.67", "0.81"),
    ("teacher", 0.1): Error("0.59", "0.69"),
    ("student", 0.0): Error("0.74", "0.93"),
    ("student", 0.1): Error("0.91", "1.05"),
    ("alone", 0.0): Error("1.46 (Hinton et al. 2015)"),
}}


# The claims that each experiment of the paper is about, and the smoothing at which it shows them; None: at every one.
_PROJECTION = dict.fromkeys(("clusters are tighter", "triangles are more regular", "wrong classes are equidistant",
                             "the scale shrinks"), ALPHA)
_CALIBRATION = ("unsmoothed networks are over-confident", "temperature scaling calibrates", "smoothing calibrates",
                "smoothing calibrates as temperature scaling does")
PRIMARY: dict[Key, dict[str, float | None]] = {
    ("cifar10", "alexnet"): {  # Table 2, Figure 1; Figure 5, whose students are of this network
        "accuracy is similar": ALPHA, **_PROJECTION,
        "smoothed teachers are more accurate": 0.6, "smoothing degrades the student": 0.6,
        **dict.fromkeys(("an unsmoothed teacher at T > 1 beats smoothing", "smoothed teachers distil worse",
                         "smoothed teachers are no better than smoothing"))},
    ("cifar100", "resnet"): {"accuracy is similar": ALPHA, **_PROJECTION,  # Tables 2 and 3, Figures 1 and 2
                             **dict.fromkeys(_CALIBRATION, CALIBRATION["cifar100", "resnet"].alpha)},
    ("imagenet2012", "inception_v4"): {"accuracy is similar": ALPHA, **_PROJECTION,
                                       **dict.fromkeys(_CALIBRATION, ALPHA)},
    ("cifar10", "resnet"): dict.fromkeys(  # Figure 6
        ("information rises", "information then falls", "smoothing erases information", "what is left is the class")),
    ("wmt14_translate/de-en", "transformer"): dict.fromkeys(  # Tables 1 and 3, Figures 3 and 4
        ("smoothing raises BLEU", "smoothing worsens the likelihood", "scaling raises BLEU",
         "scaling does not reach smoothing's BLEU", "smoothing is best near T = 1", *_CALIBRATION), ALPHA),
    ("mnist", "mlp"): dict.fromkeys(  # Section 4
        ("smoothed teachers are more accurate", "matching an unsmoothed teacher's logits helps",
         "matching a smoothed teacher's logits is worse"), ALPHA),
}


def primary(experiment: Key | None, claims: Collection[str]) -> Mapping[str, float | None]:
    """{claim's name: the smoothing at which it is primary; None: at every one} of a run.

    Args:
        experiment: the run's `key`.
        claims: names of the claims of the paper that the run can test. All are primary where PRIMARY names none.
    """
    named = {name: alpha for name, alpha in PRIMARY.get(experiment, {}).items() if name in claims}
    return named or dict.fromkeys(claims, ALPHA)


def key(config: Mapping[str, Any]) -> Key | None:
    """The key of a run's data set and network; None where the network's sizes or the labels differ from the paper's."""
    model = config["model"]
    if config["data"].get("label_noise"):
        return None
    if any(_plain(model.get(field, value)) != value for field, value in SIZES.get(model["name"], {}).items()):
        return None
    return config["data"]["name"], model["name"]


def _plain(value):
    """The value, with a list as a tuple: a config that was read from JSON has lists."""
    return tuple(value) if isinstance(value, list) else value


def table_3() -> list[tuple[str, str, str, str]]:
    """The rows of Table 3, as text."""
    return [(f"{TITLES[of]} (paper)", f"{each.unsmoothed:.3f}", f"{each.scaled:.3f} / {each.temperature:g}",
             f"{each.smoothed:.3f} / {each.alpha:g}") for of, each in CALIBRATION.items()]
