"""Figures of the penultimate layer: neural collapse during training; separation and transfer against α."""
import itertools
from collections.abc import Sequence
from typing import Any

from ls_jax.studies.common import plots, records, tables

COLLAPSE = {"nc1": "NC1, within over between", "nc2 logits": "NC2 (Guo et al.)", "nc2 angles": "NC2, spread of cosines",
            "nc3": "NC3, duality", "nc4": "NC4, not nearest mean", "class separation": "class separation R²"}
LOGARITHMIC = ("nc1",)


def collapse(results: Sequence[records.Record]) -> Any:
    """Figure of neural collapse and class separation on training examples against the step.

    Each arm has a line, the mean over seeds, and a band, their range.
    """
    here = [record for record in records.select(results, study="representation", split="train", kind=records.VALUE)
            if "step" in record.extra]
    shown = [name for name in COLLAPSE if records.select(here, quantity=name)]
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(2, 3, figsize=(11, 6), sharex=True)
        for axis, quantity in zip(axes.flat, shown):
            plots.by_step(axis, records.select(here, quantity=quantity), "-")
            axis.set(title=COLLAPSE[quantity])
            if quantity in LOGARITHMIC:
                plots.make_logarithmic(axis)
        for axis in list(axes.flat)[len(shown):]:
            axis.set_visible(False)
        figure.supxlabel("step")
        axes[0, 0].legend()
        return figure


def against_alpha(results: Sequence[records.Record]) -> Any:
    """Figure of class separation after training, and of linear probes' accuracy if measured, against α.

    Where more than smoothing varies, each setting of the rest has a line. Arms of other losses are left out.
    """
    results = records.of_smoothing(results)
    separation = records.select(results, study="representation", quantity="class separation", kind=records.VALUE,
                                step=None)
    probes = records.select(results, study="transfer", quantity="probe accuracy", kind=records.VALUE)
    panels = [("class separation R²", "split", separation),
              *([("probe accuracy, test split", "data", probes)] if probes else [])]
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.4), squeeze=False)
        for axis, (title, field, found) in zip(axes[0], panels):
            varying = records.others([record.hyper for record in found])
            lines = [(name, other, group) for name in dict.fromkeys(record.get(field) for record in found)
                     for other, group in records.grouped(records.select(found, **{field: name}))]
            for colour, (name, other, group) in zip(itertools.cycle(plots.COLOURS), lines):
                series = sorted(group, key=lambda record: record.hyper["alpha"])
                alphas = [record.hyper["alpha"] for record in series]
                axis.plot(alphas, [record.mean for record in series], color=colour,
                          label=f"{name}, {tables.label(other, varying, ' = ')}" if varying else name)
                for alpha, record in zip(alphas, series):
                    axis.scatter([alpha] * record.n, record.values, s=16, color=colour, zorder=3)
            axis.set(title=title, xlabel="label smoothing α")
            if lines:
                axis.legend()
        return figure
