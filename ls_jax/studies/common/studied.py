"""`Studied`: a trained run, as each study's `collect` receives it."""
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from ls_jax.data import Dataset
from ls_jax.studies.common.records import Record, Row
from ls_jax.training.loop import Run
from ls_jax.training.state import State


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """What is known of networks that were trained elsewhere, in the place of a run.

    Args:
        config: the fields that the studies of predictions read.
        dataset: has class names, and no splits.
    """
    config: ml_collections.ConfigDict
    dataset: Dataset


@dataclasses.dataclass(frozen=True)
class Studied:
    """A trained run and its predictions.

    Args:
        run: config, data set, layout on the devices and compiled programs; or what is known of networks from elsewhere,
            for the studies that need no devices.
        states: the trained members, as slots.
        workdir: holds the checkpoints, and the workdirs of teachers.
        outputs: holds the predictions, and files that a study writes. It is moved into the workdir after all studies.
        rows: each member's hyper-parameters, seed, arm and baseline.
        left_out: members that diverged; they have no predictions.
        measured: (split, a member's row, {accuracy measure: value, "examples": count}) for all predictions.
        primary: whether this process writes files and its records are used; exactly one does.
        records: the records of the studies before this one.
    """
    run: Run | Elsewhere
    states: list[State]
    workdir: pathlib.Path
    outputs: pathlib.Path
    rows: Sequence[Row]
    left_out: frozenset[int] = frozenset()
    measured: Sequence[tuple[str, Row, Mapping[str, Any]]] = ()
    primary: bool = True
    records: Sequence[Record] = ()

    @property
    def kept(self) -> list[int]:
        """The members that did not diverge."""
        return [member for member in range(len(self.rows)) if member not in self.left_out]
