"""What about a data set its user may not have meant: classes without examples, labels that count from 1."""
import numpy as np

from ls_jax.data.dataset import Dataset, Split
from ls_jax.errors import UserError

NAMED = 5  # number of classes that a line names
FEW = 20   # test examples; intervals for new examples come from 20 groups of them


def check(dataset: Dataset) -> None:
    """Refuse a data set of pictures with one class.

    Raises:
        UserError: there is nothing to tell apart.
    """
    if dataset.text is None and len(dataset.class_names) < 2:
        raise UserError(f"{dataset.name} has one class, {', '.join(dataset.class_names)}: a classifier needs two or "
                        "more")


def notices(dataset: Dataset) -> list[str]:
    """A line for each oddity of a data set of pictures in memory; [] for text, and for streamed pictures, whose labels
    are known only when all are read."""
    if not isinstance(dataset.splits["train"], Split):
        return []
    classes = len(dataset.class_names)
    counts = {name: np.bincount(split.labels, minlength=classes) for name, split in dataset.splits.items()}
    lines = []
    if counts["train"][0] == 0 and counts["train"][1:].all() and dataset.class_names[0] == "0":
        lines.append(f"{dataset.name}: no training example has label 0: if your labels count from 1, subtract 1; else "
                     f"{classes} classes are trained, one of them never seen")
    else:
        lines += [_empty(dataset, name, count) for name, count in counts.items()
                  if (count == 0).any() and len(dataset.splits[name]) > classes]
    lines += [f"{dataset.name}: {name} has {len(split)} example{'s' if len(split) > 1 else ''}: no interval for new "
              "examples can be trusted" for name, split in dataset.splits.items()
              if name != "train" and len(split) < FEW]
    return lines


def _empty(dataset, split, count):
    names = [dataset.class_names[i] for i in np.flatnonzero(count == 0)]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (f"{dataset.name}: {split} has no example of {len(names)} of {len(count)} classes: "
            f"{', '.join(names[:NAMED])}{more}")
