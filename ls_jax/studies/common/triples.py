"""The classes to show: triples for Figure 1, a pair for Figure 6, from config.STUDY.classes."""
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ls_jax.errors import UserError, did_you_mean

Triple = tuple[int, int, int]

# Figure 1's class triples by data set. CIFAR-100 has two candidates: the printed names are the first three of
# tensor2tensor's list, which is in the order of superclasses, but labels 0, 1 and 2 are really the second triple.
PAPER_TRIPLES = {
    "cifar10": (("airplane", "automobile", "bird"),),
    "cifar100": (("beaver", "dolphin", "otter"), ("apple", "aquarium_fish", "baby")),
    "imagenet2012": (("n01440764", "n02138441", "n03041632"),   # tench, meerkat, cleaver
                     ("n02113624", "n02113712", "n01440764")),  # toy poodle, miniature poodle, tench
}

PAPER_PAIRS = {"cifar10": ("airplane", "dog")}


def resolve_pair(classes: Sequence[Any], dataset: str, class_names: Sequence[str]) -> tuple[int, int]:
    """The class ids of `config.information.classes`, two names or ids.

    () means the paper's pair where the data set has it, else the first two classes.

    Raises:
        UserError: a class is unknown, or there are not exactly two different ones.
    """
    if not classes:
        classes = PAPER_PAIRS.get(dataset, ())
        classes = classes if has(classes, class_names) else ()
    pair = tuple(_class_id(entry, class_names, "config.information.classes") for entry in classes or (0, 1))
    if len(pair) != 2 or pair[0] == pair[1]:
        raise UserError(f"config.information.classes={tuple(classes)} must be two different classes")
    return pair


def resolve(classes: Sequence[Any], dataset: str, class_names: Sequence[str]) -> list[Triple]:
    """The class ids of `config.projection.classes`, one triple or several; [] with fewer than three classes.

    () means the paper's triples where the data set has them, else the first three classes.

    Raises:
        UserError: a class is unknown, or a triple does not have three different classes.
    """
    if len(class_names) < 3:
        return []
    if not classes:
        classes = PAPER_TRIPLES.get(dataset, ())
        classes = classes if has(set().union(*classes), class_names) else ()
    if classes and all(isinstance(entry, (str, int)) for entry in classes):
        classes = (classes,)
    triples = [tuple(_class_id(entry, class_names) for entry in triple) for triple in classes or ((0, 1, 2),)]
    for triple, given in zip(triples, classes):
        if len(triple) != 3 or len(set(triple)) != 3:
            raise UserError(f"config.projection.classes holds {tuple(given)}: a triple needs three different classes")
    return triples


def has(names: Iterable[str], class_names: Sequence[str]) -> bool:
    """Whether each of these names matches exactly one class."""
    return all(len(_matches(name, class_names)) == 1 for name in names)


def short(name: str) -> str:
    """A class's name without ImageNet's id: "tench" for "tench (n01440764)"."""
    return re.sub(r" \(n\d{8}\)$", "", name)


def _matches(entry, class_names):
    """Ids of the classes of that name. ImageNet's names have two parts, "tench (n01440764)"; either one matches."""
    return [k for k, name in enumerate(class_names) if entry == name or entry in name.rstrip(")").split(" (")]


def _class_id(entry, class_names, field="config.projection.classes"):
    if isinstance(entry, int) and 0 <= entry < len(class_names):
        return entry
    matches = _matches(entry, class_names)
    if len(matches) == 1:
        return matches[0]
    if len(matches) > 1:
        raise UserError(f"{field} holds {entry!r}, which matches {len(matches)} classes: choose "
                        f"{' or '.join(class_names[k] for k in matches)}")
    if isinstance(entry, int):
        raise UserError(f"{field} holds {entry}: class ids go from 0 to {len(class_names) - 1}")
    known = ", ".join(class_names[:8]) + (", ..." if len(class_names) > 8 else "")
    raise UserError(f"{field} holds {entry!r}, which is no class of this data set"
                    f"{did_you_mean(str(entry), class_names) or f': it has {known}'}")
