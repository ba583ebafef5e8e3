"""The numbers that the paper prints and that this code shows beside its own, by (config.data.name, config.model.name).

"When Does Label Smoothing Help?", Müller, Kornblith and Hinton, NeurIPS 2019, arXiv 1906.02629 v3. Its figures come without numbers.
"""
from collections.abc import Mapping
from typing import Any, NamedTuple

Key = tuple[str, str]  # the data set and the network, as a config names them

TITLES: dict[Key, str] = {
    ("cifar10", "alexnet"): "CIFAR-10, AlexNet",
    ("cifar100", "resnet"): "CIFAR-100, ResNet-56",
    ("imagenet2012", "inception_v4"): "ImageNet, Inception-v4",
    ("wmt14_translate/de-en", "transformer"): "EN-DE, Transformer",
    ("mnist", "mlp"): "MNIST, fully connected",
}

# Fields of config.model that make a network the paper's; a field that is not there has the model's default, which is the paper's.
SIZES: dict[str, dict[str, Any]] = {
    "resnet": {"blocks": 9},  # its widths are not stated
    "inception_v4": {"blocks": (4, 7, 3), "width": 1.0},
    "transformer": {"layers": 6, "width": 512, "feed_forward": 2048, "heads": 8},
}


class Accuracy(NamedTuple):
    """In %; what the spread is, is not stated."""
    mean: float
    spread: float | None = None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if self.spread is None else f" ± {self.spread:.1f}")


class Calibration(NamedTuple):
    """Expected calibration errors, and what was chosen for the smallest."""
    hard: float          # without smoothing, at T = 1
    scaled: float        # without smoothing, at this temperature:
    temperature: float
    smoothed: float      # with this smoothing, at T = 1:
    alpha: float


class Error(NamedTuple):
    """Test error in %, and that of the replication (Wagner, Kurowski, Holländer and Uelwer)."""
    paper: str
    replication: str = ""


# Table 1, of Vaswani et al. 2017: BLEU by α.
BLEU: dict[Key, dict[float, float]] = {("wmt14_translate/de-en", "transformer"): {0.0: 25.3, 0.1: 25.8}}

# Table 2: top-1 accuracy by α, on 10,000 held-out training examples (ImageNet: on its validation set).
ACCURACY: dict[Key, dict[float, Accuracy]] = {
    ("cifar10", "alexnet"): {0.0: Accuracy(86.8, 0.2), 0.1: Accuracy(86.7, 0.3)},
    ("cifar100", "resnet"): {0.0: Accuracy(72.1, 0.3), 0.1: Accuracy(72.7, 0.3)},
    ("imagenet2012", "inception_v4"): {0.0: Accuracy(80.9), 0.1: Accuracy(80.9)},
}

# Table 3.
CALIBRATION: dict[Key, Calibration] = {
    ("cifar100", "resnet"): Calibration(hard=0.150, scaled=0.021, temperature=1.9, smoothed=0.024, alpha=0.05),
    ("imagenet2012", "inception_v4"): Calibration(hard=0.071, scaled=0.022, temperature=1.4, smoothed=0.035, alpha=0.1),
    ("wmt14_translate/de-en", "transformer"): Calibration(hard=0.056, scaled=0.018, temperature=1.13, smoothed=0.019, alpha=0.1),
}

# Section 4: by the role and the teacher's α. The student without a teacher is left out; Hinton et al. 2015 have it.
ERRORS: dict[Key, dict[tuple[str, float], Error]] = {("mnist", "mlp"): {
    ("teacher", 0.0): Error("0.67", "0.81"),
    ("teacher", 0.1): Error("0.59", "0.69"),
    ("student", 0.0): Error("0.74", "0.93"),
    ("student", 0.1): Error("0.91", "1.05"),
    ("alone", 0.0): Error("1.46 (Hinton et al. 2015)"),
}}


def key(config: Mapping[str, Any]) -> Key | None:
    """The key of a run's data set and network; None where the network has other sizes than the paper's."""
    model = config["model"]
    plain = lambda value: tuple(value) if isinstance(value, list) else value  # of a config that was read from JSON
    if any(plain(model.get(field, value)) != value for field, value in SIZES.get(model["name"], {}).items()):
        return None
    return config["data"]["name"], model["name"]


def table_3() -> list[tuple[str, str, str, str]]:
    """The rows of Table 3, as text."""
    return [(f"{TITLES[of]} (paper)", f"{each.hard:.3f}", f"{each.scaled:.3f} / {each.temperature:g}",
             f"{each.smoothed:.3f} / {each.alpha:g}") for of, each in CALIBRATION.items()]
