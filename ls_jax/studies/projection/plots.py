"""The paper's Figure 1: a row for each network and class triple, columns for splits, without and with smoothing."""
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from matplotlib.transforms import offset_copy

from ls_jax import losses
from ls_jax.studies import projection
from ls_jax.studies.common import claims, records
from ls_jax.studies.common.plots import COLOURS, STYLE, rc_context, subplots
from ls_jax.studies.common.triples import Triple, short
from ls_jax.workdir import predictions

MARKERS = ("o", "^", "s")
SPLIT_TITLES = {"train": "Training", "validation": "Validation", "test": "Test"}


class Panel(NamedTuple):
    """One scatter plot."""
    title: str
    points: Float[np.ndarray, "examples 2"]
    which: Int[np.ndarray, " examples"]  # position in the triple: 0, 1 or 2
    note: str


class Row(NamedTuple):
    """One network and class triple; training and held-out panels come in pairs that share their axes, or alone."""
    label: str
    class_names: Sequence[str]
    panels: Sequence[Panel]
    together: int = 2  # number of panels that share their axes


def row(workdir: str | pathlib.Path, rows: Sequence[Mapping[str, Any]], triple: Triple, held_out: str, label: str,
        ) -> Row | None:
    """A row of the figure, from the predictions on disk: one seed without and with smoothing.

    Args:
        workdir: where predictions/ is.
        rows: each member's hyper-parameters.
        triple: class ids.
        held_out: the split to show beside train.
        label: the network's name.

    Returns:
        None where these classes have no predictions, or their templates lie on a line.
    """
    panels, names, splits = [], (), set()
    for member in chosen_members(workdir, rows, held_out):
        for split in ("train", held_out):
            arrays = predictions.shown(workdir, split, member)
            if arrays is not None:
                splits.add(split)
                names = [short(str(arrays["class_names"][k])) for k in triple]
                try:
                    panels.append(panel(arrays, triple, _title(split, rows[member])))
                except ValueError:
                    return None
    return Row(label, names, panels, len(splits)) if any(len(panel.points) for panel in panels) else None


def panel(arrays: Mapping[str, Any], triple: Triple, title: str, examples: int = projection.EXAMPLES) -> Panel:
    """A panel of evenly spaced examples of three classes; its note is the spread ratio, or names empty classes.

    Raises:
        ValueError: their templates lie on a line.
    """
    labels = np.asarray(arrays["labels"])
    of_class = [np.flatnonzero(labels == k) for k in triple]
    of_class = [ids[np.linspace(0, len(ids) - 1, min(examples, len(ids))).astype(int)] for ids in of_class]
    ids = np.concatenate(of_class)
    plane = projection.template_plane(arrays["kernel"], arrays["bias"], triple)
    missing = [short(str(arrays["class_names"][k])) for k, of in zip(triple, of_class) if not len(of)]
    note = (f"no {' or '.join(missing)}" if missing
            else f"spread ratio {projection.numbers(arrays, triple)['spread ratio']:.2f}")
    return Panel(title, projection.project(arrays["features"][ids], plane),
                 np.repeat(np.arange(3), [len(i) for i in of_class]), note)


def chosen_members(workdir: str | pathlib.Path, rows: Sequence[Mapping[str, Any]], held_out: str) -> list[int]:
    """The members to show: of one seed, the smallest smoothing and the one nearest to the paper's.

    It is the first seed with predictions of both; all else is as in the first member. Members with other losses are
    left out, unless all have them.
    """
    there = [m for m in range(len(rows)) if predictions.file(workdir, held_out, m).exists()]
    there = [m for m in there if records.SMOOTHING.issuperset(losses.active(rows[m]))] or there
    others = [records.without_alpha(records.hyper(row)) for row in rows]
    there = [m for m in there if others[m] == others[there[0]]]
    alphas = sorted({rows[m].get("alpha") for m in there})
    alphas = alphas[:1] + [alpha for alpha in [claims.nearest(alphas[1:])] if alpha is not None]
    by_seed: dict[Any, list[int]] = {}
    for alpha in alphas:
        for m in there:
            if rows[m].get("alpha") == alpha:
                by_seed.setdefault(rows[m].get("seed"), []).append(m)
    return max(by_seed.values(), key=len, default=[])


def figure(rows: Sequence[Row]) -> Any:
    """The panels as a figure; each pair of columns shares its axes, which are centred on 0 as in the paper."""
    columns = max(len(row.panels) for row in rows)
    with rc_context(STYLE):
        longest = max(len(name) for row in rows for name in (row.label, *row.class_names))
        left = 0.9 + 0.1 * max(0, longest - 12)  # inches for the legends
        drawn, axes = subplots(len(rows), columns, figsize=(left + 2.55 * columns, 2.6 * len(rows) + 0.25),
                               squeeze=False)
        for across, above, row in zip(axes, (None, *rows), rows):
            for column, (axis, panel) in enumerate(zip(across, row.panels)):
                first = column // row.together * row.together
                pair = row.panels[first:first + row.together]
                _draw(axis, panel, 1.08 * max(np.abs(each.points).max(initial=0) for each in pair) or 1,
                      row.class_names)
                axis.tick_params(labelleft=column == first)
                if above is None or [each.title for each in above.panels] != [each.title for each in row.panels]:
                    axis.set_title(panel.title)
            for axis in across[len(row.panels):]:
                axis.set_visible(False)
            across[0].legend(title=row.label, loc="center right", bbox_to_anchor=(0, 0.5), markerscale=1.6,
                             handletextpad=0.1, alignment="right",
                             bbox_transform=offset_copy(across[0].transAxes, drawn, x=-0.45))  # inches for the ticks
        return drawn


def _draw(axis, panel, limit, class_names):
    order = np.random.default_rng(0).permutation(len(panel.points))  # so that no class hides the others
    for k, name in enumerate(class_names):
        axis.scatter([], [], s=14, color=COLOURS[k], marker=MARKERS[k], linewidths=0, label=name)
    for at in np.array_split(order, 12):
        for k in range(3):
            here = panel.points[at[panel.which[at] == k]]
            axis.scatter(*here.T, s=14, color=COLOURS[k], marker=MARKERS[k], alpha=0.65, linewidths=0)
    axis.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal",
             anchor="E")  # the remaining space is the legend's
    axis.locator_params(nbins=5, prune="both")
    axis.set_xlabel(panel.note, fontsize=8.5, color="#5b6570")


def _title(split, row):
    alpha = row.get("alpha")
    smoothing = "" if alpha is None else ", no smoothing" if alpha == 0 else f", α = {alpha:g}"
    return SPLIT_TITLES[split] + smoothing
