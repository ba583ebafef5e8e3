"""A trained run as every study gets it."""
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ls_jax.studies.common.records import Record, Row
from ls_jax.training.loop import Run
from ls_jax.training.state import State


@dataclasses.dataclass(frozen=True)
class Studied:
    """What training leaves, and what was predicted with it.

    Args:
        run: its config, data set, layout on the devices and compiled programs.
        states: the trained members, as slots.
        workdir: where its checkpoints are, and its teachers' workdirs.
        outputs: where its predictions are, and where a study keeps what it makes; it becomes the workdir's when all studies are done.
        rows: of each member the hyper-parameters, seed, arm and baseline.
        left_out: members that diverged, which have no predictions.
        measured: (split, a member's row, {accuracy measure: value, "examples": count}) of all that was predicted.
        primary: whether this is the process whose records count, and that writes; there is one.
        records: those of the studies that came before; without those of the run itself.
    """
    run: Run
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
