"""The figure that places label smoothing and its rivals: accuracy against each other quantity."""
from collections.abc import Sequence
from typing import Any

from ls_jax.studies.common import plots, records
from ls_jax.studies.rivals.records import PLAIN
from ls_jax.studies.rivals.tables import SHOWN

MARKERS = "osD^vP*X<>"


def placed(results: Sequence[records.Record], criterion: str) -> Any:
    """Figure of differences from plain cross-entropy: accuracy across, another quantity up, one panel for each.

    Bars are 95 % intervals. Grey lines mark plain cross-entropy. Each panel says where a network is better.
    """
    here = [record for record in records.select(results, study="rivals", chosen_by=criterion, kind=records.DIFFERENCE)
            if record.baseline["family"] == PLAIN and record.quantity in SHOWN]
    found = {(record.quantity, record.hyper["family"]): record for record in here}
    quantities = [name for name in SHOWN if name != "accuracy" and any(quantity == name for quantity, _ in found)]
    families = list(dict.fromkeys(record.hyper["family"] for record in here))
    columns = min(3, len(quantities))
    rows = -(-len(quantities) // columns)
    with plots.rc_context(plots.STYLE):
        figure, axes = plots.subplots(rows, columns, figsize=(3.9 * columns, 3.3 * rows + 0.6), squeeze=False)
        for axis, quantity in zip(axes.flat, quantities):
            for place, family in enumerate(families):
                _point(axis, found["accuracy", family], found[quantity, family], place)
            axis.axhline(0, color="0.6", linewidth=0.8, zorder=0)
            axis.axvline(0, color="0.6", linewidth=0.8, zorder=0)
            axis.set(title=SHOWN[quantity].name, ylabel="better " + ("↑" if SHOWN[quantity].higher else "↓"),
                     xlabel="accuracy, %-points: better →")
        for axis in axes.flat[len(quantities):]:
            axis.set_axis_off()
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(families)))
        return figure


def _point(axis, across, up, place):
    colour = plots.COLOURS[place % len(plots.COLOURS)]
    units = SHOWN["accuracy"].unit, SHOWN[up.quantity].unit
    ends = [None if record.interval is None else [[abs(end - record.mean) / unit] for end in record.interval]
            for record, unit in zip((across, up), units)]
    axis.errorbar(across.mean / units[0], up.mean / units[1], xerr=ends[0], yerr=ends[1], color=colour, linewidth=1,
                  marker=MARKERS[place % len(MARKERS)], markersize=6, label=across.hyper["family"])
