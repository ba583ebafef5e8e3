"""The risk-coverage figure."""
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ls_jax.studies.common import plots, records, tables
from ls_jax.studies.selective.records import COVERAGES, CURVE


def risk_coverage(results: Sequence[records.Record], split: str) -> Any:
    """Figure of the error rate of the most certain predictions against their share, one panel for each score.

    Lines are means over seeds. Bands are 95 % intervals at each coverage, for new seeds and new examples. Thin lines
    mark 80 % coverage and 5 % risk.
    """
    here = records.select(results, study="selective", quantity=CURVE, split=split)
    scores, names = dict.fromkeys(record.extra["score"] for record in here), tables.names_of(here)
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(scores), figsize=(4.6 * len(scores), 4.2), squeeze=False, sharey=True)
        for axis, score in zip(axes[0], scores):
            for place, record in enumerate(records.select(here, score=score)):
                _draw(axis, record, names, place)
            axis.axvline(0.8, color="0.5", linewidth=0.8, linestyle=":")
            if axis.get_ylim()[1] > 0.05:
                axis.axhline(0.05, color="0.5", linewidth=0.8, linestyle=":")
            axis.set(xlim=(0, 1), xlabel="coverage: share of predictions accepted", title=f"{split} split, by {score}")
            axis.set_ylim(bottom=0)
        axes[0][0].set_ylabel("risk: their error rate")
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(here)))
        return figure


def _draw(axis, record, names, place):
    colour = plots.COLOURS[place % len(plots.COLOURS)]
    style = next(itertools.islice(itertools.cycle(("-", "--", "-.", ":")), place // len(plots.COLOURS), None))
    low, high = (np.array([np.nan if end is None else end for end in record.extra[name]]) for name in ("low", "high"))
    axis.fill_between(COVERAGES, np.maximum(low, 0), high, color=colour, alpha=0.15, linewidth=0)
    axis.plot(COVERAGES, record.extra["risk"], style, color=colour, linewidth=1.6,
              label=tables.label(record, names, " = "))
