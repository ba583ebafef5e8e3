"""What a page shows: a workdir as every study's section gets it."""
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ls_jax.studies.common.records import Record, Row


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a workdir holds: an experiment, or the analysis of a file of predictions.

    Args:
        workdir: where it is.
        figures: the folder for a section's figures.
        title, subtitle: of its part of the page.
        records: its results.
        rows: the members' hyper-parameters; of an analysis one without any.
        held_out: the reported split.
        config: the experiment's; None of an analysis.
        analysis: what its analysis.json says; None of an experiment.
        dataset: a `data.Dataset` for its pictures, or None.
        share: the part of the page's size that it may take.
    """
    workdir: pathlib.Path
    figures: pathlib.Path
    title: str
    subtitle: str
    records: Sequence[Record]
    rows: Sequence[Row]
    held_out: str
    config: Mapping[str, Any] | None = None
    analysis: Mapping[str, Any] | None = None
    dataset: Any = None
    share: float = 1.0
