"""The paper's Figure 4, BLEU, ECE and NLL against temperature; and BLEU against beam width."""
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ls_jax.studies.common import claims, plots, records, tables

BLEU, ECE = plots.COLOURS[:2]


def temperature(results: Sequence[records.Record], split: str) -> Any:
    """Figure over temperature: BLEU and ECE without smoothing, the same with smoothing on equal axes, and NLL of both.

    Lines are means over seeds, bands their range. Of several smoothings with all else equal, the one nearest to the
    paper's is drawn.
    """
    here = records.select(results, study="translation", split=split, kind=records.VALUE)
    names, shown = tables.names_of(here), _shown(here)
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(shown) + 1, figsize=(3.7 * (len(shown) + 1), 3.2))
        others = []
        for axis, arm in zip(axes, shown):
            axis.set(title=tables.label(arm[0], names, " = "), xlabel="temperature")
            _line(axis, _first_file(arm, "bleu"), BLEU, "o")
            axis.set_ylabel("BLEU", color=BLEU)
            other = axis.twinx()
            _line(other, records.select(arm, quantity="ece"), ECE, None)
            other.set_ylabel("ECE", color=ECE)
            other.grid(False)
            other.spines["right"].set_visible(True)
            others.append(other)
        for together in (axes[:-1], others):
            limits = [axis.get_ylim() for axis in together]
            for axis in together:
                axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        for arm, colour, marker in zip(shown, itertools.cycle(plots.COLOURS[2:]), itertools.cycle((None, "o"))):
            _line(axes[-1], records.select(arm, quantity="nll"), colour, marker, tables.label(arm[0], names, " = "))
        axes[-1].set(title="NLL of the next token", xlabel="temperature", ylabel="nats")
        axes[-1].legend()
        return figure


def beams(results: Sequence[records.Record], split: str) -> Any:
    """Figure of BLEU and length ratio (translations over references) against beam width, with a line for each arm."""
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, 2, figsize=(8, 3.2))
        for axis, quantity, title in zip(axes, ("bleu", "length ratio"), ("BLEU", "length ratio to the references")):
            here = records.select(results, study="translation", split=split, quantity=quantity, temperature=1.0,
                                  kind=records.VALUE)
            names = tables.names_of(here)
            for colour, (_, arm) in zip(itertools.cycle(plots.COLOURS), records.grouped(here, names)):
                _line(axis, arm, colour, "o", tables.label(arm[0], names, " = "), "beams")
            axis.set(title=title, xlabel="beam width", xscale="log")
            axis.set_xticks(widths := sorted({record.extra["beams"] for record in here}),
                            [str(width) for width in widths])
            axis.minorticks_off()
        axes[0].legend()
        return figure


def _shown(here):
    """The records of each arm to draw: without smoothing, and with the smoothing nearest to the paper's."""
    arms = []
    for _, group in records.grouped(here):
        smoothed = claims.nearest({record.hyper["alpha"] for record in group})
        arms += [arm for alpha in (0.0, smoothed) if alpha is not None and (arm := records.select(group, alpha=alpha))]
    return arms


def _first_file(results, quantity):
    """The records of the file and beam width that are decoded at every temperature."""
    here = records.select(results, quantity=quantity)
    return records.select(here, file=here[0].extra["file"], beams=here[0].extra["beams"]) if here else []


def _line(axis, results, colour, marker, label=None, over="temperature"):
    results = sorted(results, key=lambda record: record.extra[over])
    if not results:
        return
    x, values = [record.extra[over] for record in results], [record.values for record in results]
    axis.plot(x, [np.mean(each) for each in values], color=colour, marker=marker, markersize=3.5, label=label)
    axis.fill_between(x, [min(each) for each in values], [max(each) for each in values], color=colour, alpha=0.15,
                      linewidth=0)
