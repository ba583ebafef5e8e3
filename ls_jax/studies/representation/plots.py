"""Figures on the penultimate layer: neural collapse along the training; separation and transfer against α."""
import itertools
from collections.abc import Sequence
from typing import Any

from ls_jax.studies.common import plots, tables
from ls_jax.studies.common import records as results

COLLAPSE = {"nc1": "NC1, within over between", "nc2 logits": "NC2 (Guo et al.)", "nc2 angles": "NC2, spread of cosines",
            "nc3": "NC3, duality", "nc4": "NC4, not the nearest mean", "class separation": "class separation R²"}
LOGARITHMIC = ("nc1",)


def collapse(records: Sequence[results.Record]) -> Any:
    """Neural collapse and class separation on training examples against the step: a line an arm, its band the seeds' range."""
    here = [record for record in results.select(records, study="representation", split="train", kind=results.VALUE)
            if "step" in record.extra]
    shown = [name for name in COLLAPSE if results.select(here, quantity=name)]
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(2, 3, figsize=(11, 6), sharex=True)
        for axis, quantity in zip(axes.flat, shown):
            plots.by_step(axis, results.select(here, quantity=quantity), "-")
            axis.set(title=COLLAPSE[quantity])
            if quantity in LOGARITHMIC:
                plots.make_logarithmic(axis)
        for axis in list(axes.flat)[len(shown):]:
            axis.set_visible(False)
        figure.supxlabel("step")
        axes[0, 0].legend()
        return figure


def against_alpha(records: Sequence[results.Record]) -> Any:
    """Class separation at the end of the training, and the accuracy of linear probes where there are some, against α; where more than
    smoothing varies, a line for each setting of the rest."""
    separation = results.select(records, study="representation", quantity="class separation", kind=results.VALUE, step=None)
    probes = results.select(records, study="transfer", quantity="probe accuracy", kind=results.VALUE)
    panels = [("class separation R²", "split", separation), *([("probe accuracy, test split", "data", probes)] if probes else [])]
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.4), squeeze=False)
        for axis, (title, field, found) in zip(axes[0], panels):
            varying = results.others([record.hyper for record in found])
            lines = [(name, other, group) for name in dict.fromkeys(record.get(field) for record in found)
                     for other, group in results.grouped(results.select(found, **{field: name}))]
            for colour, (name, other, group) in zip(itertools.cycle(plots.COLOURS), lines):
                series = sorted(group, key=lambda record: record.hyper["alpha"])
                alphas = [record.hyper["alpha"] for record in series]
                axis.plot(alphas, [record.mean for record in series], color=colour,
                          label=f"{name}, {tables.label(other, varying, ' = ')}" if varying else name)
                for alpha, record in zip(alphas, series):
                    axis.scatter([alpha] * record.n, record.values, s=16, color=colour, zorder=3)
            axis.set(title=title, xlabel="label smoothing α")
            axis.legend()
        return figure
