"""`Shown`: a workdir's contents, as each study's `section` receives them."""
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ls_jax.studies.common.records import Record, Row


@dataclasses.dataclass(frozen=True)
class Shown:
    """An experiment, or the analysis of a file of predictions.

    Args:
        workdir: its folder.
        figures: the folder into which sections write figures.
        title, subtitle: headings of its part of the page.
        records: the records in its results.json.
        rows: each member's hyper-parameters; for an analysis, one empty dict.
        held_out: the reported split.
        config: the experiment's config; None for an analysis.
        analysis: the content of analysis.json; None for an experiment.
        dataset: the source of pictures for the explorer; None: no pictures.
        share: the fraction of the page's size budget that it may use.
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
