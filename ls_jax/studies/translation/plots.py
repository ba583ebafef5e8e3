"""The paper's Figure 4, temperature against BLEU, ECE and NLL; and BLEU against the beam width."""
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ls_jax.studies.common import claims, plots, tables
from ls_jax.studies.common import records as results

BLEU, ECE = plots.COLOURS[:2]


def temperature(records: Sequence[results.Record], split: str) -> Any:
    """Panels over the temperature: BLEU and ECE without smoothing, the same with it, on equal axes, and both networks' NLL.

    Lines are means over seeds, bands the seeds' range. Of several smoothings, all else equal, the one nearest to the paper's is drawn.
    """
    here = results.select(records, study="translation", split=split, kind=results.VALUE)
    names, shown = tables.names_of(here), _shown(here)
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(shown) + 1, figsize=(3.7 * (len(shown) + 1), 3.2))
        others = []
        for axis, arm in zip(axes, shown):
            axis.set(title=tables.label(arm[0], names, " = "), xlabel="temperature")
            _line(axis, _first_file(arm, "bleu"), BLEU, "o")
            axis.set_ylabel("BLEU", color=BLEU)
            other = axis.twinx()
            _line(other, results.select(arm, quantity="ece"), ECE, None)
            other.set_ylabel("ECE", color=ECE)
            other.grid(False)
            other.spines["right"].set_visible(True)
            others.append(other)
        for together in (axes[:-1], others):
            limits = [axis.get_ylim() for axis in together]
            for axis in together:
                axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        for arm, colour, marker in zip(shown, itertools.cycle(plots.COLOURS[2:]), itertools.cycle((None, "o"))):
            _line(axes[-1], results.select(arm, quantity="nll"), colour, marker, tables.label(arm[0], names, " = "))
        axes[-1].set(title="NLL of the next token", xlabel="temperature", ylabel="nats")
        axes[-1].legend()
        return figure


def beams(records: Sequence[results.Record], split: str) -> Any:
    """BLEU, and the translations' length over the references', against the beam width: a line an arm."""
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, 2, figsize=(8, 3.2))
        for axis, quantity, title in zip(axes, ("bleu", "length ratio"), ("BLEU", "length over the references'")):
            here = results.select(records, study="translation", split=split, quantity=quantity, temperature=1.0, kind=results.VALUE)
            names = tables.names_of(here)
            for colour, (_, arm) in zip(itertools.cycle(plots.COLOURS), results.grouped(here, names)):
                _line(axis, arm, colour, "o", tables.label(arm[0], names, " = "), "beams")
            axis.set(title=title, xlabel="beams", xscale="log")
            axis.set_xticks(widths := sorted({record.extra["beams"] for record in here}), [str(width) for width in widths])
            axis.minorticks_off()
        axes[0].legend()
        return figure


def _shown(here):
    """The records of each arm that is drawn: the one without smoothing, and the smoothed one nearest to the paper's."""
    arms = []
    for _, group in results.grouped(here):
        smoothed = claims.nearest({record.hyper["alpha"] for record in group})
        arms += [arm for alpha in (0.0, smoothed) if alpha is not None and (arm := results.select(group, alpha=alpha))]
    return arms


def _first_file(records, quantity):
    """Of the file and beam width that are decoded at every temperature."""
    here = results.select(records, quantity=quantity)
    return results.select(here, file=here[0].extra["file"], beams=here[0].extra["beams"]) if here else []


def _line(axis, records, colour, marker, label=None, over="temperature"):
    records = sorted(records, key=lambda record: record.extra[over])
    if not records:
        return
    x, values = [record.extra[over] for record in records], [record.values for record in records]
    axis.plot(x, [np.mean(each) for each in values], color=colour, marker=marker, markersize=3.5, label=label)
    axis.fill_between(x, [min(each) for each in values], [max(each) for each in values], color=colour, alpha=0.15, linewidth=0)
