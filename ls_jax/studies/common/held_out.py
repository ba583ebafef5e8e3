"""Held-out predictions of networks, as the studies of logits take them: from a run's files, or as arrays."""
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ls_jax.studies.common.crossed import Units
from ls_jax.studies.common.records import Record, Row
from ls_jax.studies.common.studied import Studied
from ls_jax.workdir import predictions

SPLITS = ("validation", "test")
UNKNOWN = {"alpha": 0.0, "seed": 0}  # stands for hyper-parameters that nobody told


class Network(NamedTuple):
    """One network's held-out predictions; the logits may be on disk."""
    row: Row                                # its hyper-parameters
    splits: Mapping[str, tuple[Float[Any, "examples classes"], Int[Any, " examples"]]]  # {name: (logits, labels)}
    # {name: numbers of what an interval draws anew, such as sentences}; None: the examples
    ids: Mapping[str, Int[np.ndarray, " examples"]] | None = None

    def units(self) -> dict[str, Units]:
        """What an interval draws anew, of each split."""
        return {split: Units.of(None if self.ids is None else self.ids[split], len(labels))
                for split, (_, labels) in self.splits.items()}


def of_run(studied: Studied) -> Iterator[Network]:
    """Each member of a run, one at a time; none of students, which have their own study."""
    if studied.run.config.distill:
        return
    for member, row in enumerate(studied.rows):
        held = {split: predictions.mapped(studied.outputs, split, member) for split in SPLITS
                if predictions.file(studied.outputs, split, member).exists()}
        yield Network(row, {split: (arrays["logits"], arrays["labels"]) for split, arrays in held.items()},
                      {split: arrays.get("sentence", arrays["index"]) for split, arrays in held.items()})


def of_arrays(arrays: Mapping[str, Any]) -> Network:
    """A network of which only predictions are known: `logits`, `labels` and perhaps `index`."""
    return Network(UNKNOWN, {"test": (arrays["logits"], arrays["labels"])},
                   {"test": arrays["index"]} if "index" in arrays else None)


def of_unknown_training(found: Sequence[Record]) -> list[Record]:
    """The records of `of_arrays`, without the hyper-parameters that nobody told."""
    return [dataclasses.replace(record, hyper={}, arm="", seeds=[]) for record in found]
