"""The paper's Figure 4, temperature against BLEU, ECE and NLL; and BLEU against the beam width."""
from collections.abc import Sequence
from typing import Any

import numpy as np

from ls_jax.studies.common import plots
from ls_jax.studies.common import records as results

BLEU, ECE = plots.COLOURS[:2]


def temperature(records: Sequence[results.Record], split: str) -> Any:
    """Panels over the temperature: BLEU and ECE without smoothing, the same with it, on equal axes, and both networks' NLL.

    Lines are means over seeds, bands the seeds' range. Of several smoothings the one nearest to the paper's 0.1 is drawn.
    """
    here = [record for record in results.select(records, study="translation", split=split) if "baseline_alpha" not in record]
    alphas = sorted({record["alpha"] for record in here})
    smoothed = min((alpha for alpha in alphas if alpha > 0), key=lambda alpha: abs(alpha - 0.1), default=None)
    shown = [alpha for alpha in (0.0, smoothed) if alpha in alphas]
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(shown) + 1, figsize=(3.7 * (len(shown) + 1), 3.2))
        others = []
        for axis, alpha in zip(axes, shown):
            axis.set(title=f"α = {alpha:g}", xlabel="temperature")
            _line(axis, results.select(_first_file(here, "bleu"), alpha=alpha), BLEU, "o")
            axis.set_ylabel("BLEU", color=BLEU)
            other = axis.twinx()
            _line(other, results.select(here, quantity="ece", alpha=alpha), ECE, None)
            other.set_ylabel("ECE", color=ECE)
            other.grid(False)
            other.spines["right"].set_visible(True)
            others.append(other)
        for together in (axes[:-1], others):
            limits = [axis.get_ylim() for axis in together]
            for axis in together:
                axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        for alpha, colour, marker in zip(shown, plots.COLOURS[2:], (None, "o")):
            _line(axes[-1], results.select(here, quantity="nll", alpha=alpha), colour, marker, f"α = {alpha:g}")
        axes[-1].set(title="NLL of the next token", xlabel="temperature", ylabel="nats")
        axes[-1].legend()
        return figure


def beams(records: Sequence[results.Record], split: str) -> Any:
    """BLEU, and the translations' length over the references', against the beam width: a line a smoothing."""
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, 2, figsize=(8, 3.2))
        for axis, quantity, title in zip(axes, ("bleu", "length ratio"), ("BLEU", "length over the references'")):
            here = [record for record in results.select(records, study="translation", split=split, quantity=quantity, temperature=1.0)
                    if "baseline_alpha" not in record]
            for colour, alpha in zip(plots.COLOURS, sorted({record["alpha"] for record in here})):
                _line(axis, results.select(here, alpha=alpha), colour, "o", f"α = {alpha:g}", "beams")
            axis.set(title=title, xlabel="beams", xscale="log")
            axis.set_xticks(widths := sorted({record["beams"] for record in here}), [str(width) for width in widths])
            axis.minorticks_off()
        axes[0].legend()
        return figure


def _first_file(records, quantity):
    """Of the file and beam width that are decoded at every temperature."""
    here = results.select(records, quantity=quantity)
    return results.select(here, file=here[0]["file"], beams=here[0]["beams"]) if here else []


def _line(axis, records, colour, marker, label=None, over="temperature"):
    records = sorted(records, key=lambda record: record[over])
    if not records:
        return
    x, values = [record[over] for record in records], [record["values"] for record in records]
    axis.plot(x, [np.mean(each) for each in values], color=colour, marker=marker, markersize=3.5, label=label)
    axis.fill_between(x, [min(each) for each in values], [max(each) for each in values], color=colour, alpha=0.15, linewidth=0)
