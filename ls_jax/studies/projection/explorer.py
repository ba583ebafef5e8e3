"""The data of the report's projection explorer: quantised activations and templates of many networks, small pictures.

A plane needs only an activation's components (with a 1 appended) in the span of the templates' differences. So at most
classes - 1 numbers are embedded for each example, as integers of one or two bytes: `offset + step * integer` in each
dimension. A budget of bytes decides how many seeds, classes, and examples of each class are embedded.
"""
import base64
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from scipy.special import softmax

from ls_jax import checked
from ls_jax.data import Dataset, Pictures, Split
from ls_jax.studies import projection
from ls_jax.studies.common import records, tables
from ls_jax.studies.common.triples import Triple
from ls_jax.studies.projection.plots import SPLIT_TITLES
from ls_jax.workdir import predictions

POINTS_BYTES = 2_000_000    # of embedded activations, before base64
PICTURES_BYTES = 700_000    # of embedded pictures, before base64
MOST_EXAMPLES = 100         # for each class and split
FEWEST_EXAMPLES = 40        # with fewer, first the precision and then the number of seeds is reduced
MOST_CLASSES = 100
PICTURE_SIDE, TILES_A_ROW = 32, 40


def data(workdir: pathlib.Path, rows: Sequence[Mapping[str, Any]], triples: Sequence[Triple],
         dataset: Dataset | None = None, share: float = 1.0) -> dict[str, Any] | None:
    """The explorer's data as JSON types, from a workdir's predictions; None where no member can be projected.

    Args:
        workdir: where predictions/ is.
        rows: each member's hyper-parameters.
        triples: class ids; the first triple is shown at the start.
        dataset: the source of pictures; None: no pictures.
        share: the fraction of the budgets that this explorer may use.
    """
    held = {
        split: [m for m in range(len(rows)) if predictions.file(workdir, split, m).exists()] for split in SPLIT_TITLES
    }
    first = {split: predictions.shown(workdir, split, members[0]) for split, members in held.items() if members}
    first = {split: arrays for split, arrays in first.items() if arrays}
    if not first or not triples:
        return None
    held = {split: held[split] for split in first}
    names = [str(name) for name in next(iter(first.values()))["class_names"]]
    classes = _chosen_classes(set().union(*(map(int, np.unique(arrays["labels"])) for arrays in first.values())),
                              triples)
    dimensions, _ = next(iter(first.values()))["kernel"].shape
    rank = min(len(classes) - 1, dimensions + 1)
    plan = _plan(sum(len(members) for members in held.values()), {rows[m].get("seed") for m in held[next(iter(held))]},
                 len(classes) * rank, POINTS_BYTES * share)
    chosen = {split: _chosen_examples(arrays["labels"], classes, plan["examples"]) for split, arrays in first.items()}
    splits = {split: _split(split, first[split], ids, classes, dataset, PICTURES_BYTES * share / len(held))
              for split, ids in chosen.items()}
    members = [_member(workdir, m, rows, chosen, classes, plan["bytes"]) for m in sorted(set().union(*held.values()))
               if plan["seeds"] is None or rows[m].get("seed") in plan["seeds"]]
    members = [member for member in members if member and len(member["splits"]) == len(splits)]
    return {
        "class_names": [names[k] for k in classes], "all_names": names, "classes": classes, "bytes": plan["bytes"],
        "start": [classes.index(k) for k in triples[0]], "splits": splits, "members": members,
        "note": _note(plan, classes, names, rows, splits),
    } if members else None


def _chosen_classes(present, triples):
    """The classes of the triples, and other classes with examples: all, or evenly spaced ones up to MOST_CLASSES."""
    wanted = list(dict.fromkeys(k for triple in triples for k in triple))[:MOST_CLASSES]
    others = sorted(present - {*wanted})
    room = min(MOST_CLASSES - len(wanted), len(others))
    return sorted({*wanted, *(others[int(at)] for at in np.linspace(0, len(others) - 1, room))})


def _plan(sets, seeds, numbers, budget):
    """Bytes per number, examples per class, and seeds (None: all), for `numbers` numbers per example of each class."""
    several = len(seeds) > 1
    for width, kept in ((2, None), (1, None), *(((2, {min(seeds)}), (1, {min(seeds)})) if several else ())):
        count = sets if kept is None else sets / len(seeds)
        examples = int(budget // (count * numbers * width))
        if examples >= FEWEST_EXAMPLES:
            break
    return {"bytes": width, "examples": max(1, min(examples, MOST_EXAMPLES)), "seeds": kept}


def _chosen_examples(labels, classes, most):
    """Positions of evenly spaced examples, at most `most` of each class."""
    of_class = (np.flatnonzero(labels == k) for k in classes)
    return np.concatenate([ids[np.linspace(0, len(ids) - 1, min(most, len(ids))).astype(int)] for ids in of_class])


def _split(name, arrays, ids, classes, dataset, budget):
    index = arrays["index"][ids]
    there = dataset is not None and isinstance(dataset.splits.get(name), (Split, Pictures))
    return {"title": SPLIT_TITLES[name], "labels": _encode(np.searchsorted(classes, arrays["labels"][ids]), np.uint16),
            "index": index.tolist(), "total": int(np.isin(arrays["labels"], classes).sum()),
            "pictures": _pictures(dataset.splits[name].take(index).images, budget) if there else None}


def _member(workdir, member, rows, chosen, classes, width):
    """A network's templates and points; None where its templates span no plane."""
    splits, basis = {}, None
    for split, ids in chosen.items():
        arrays = predictions.shown(workdir, split, member)
        if arrays is None:
            continue
        if basis is None:
            kernel, bias = arrays["kernel"][:, classes], arrays["bias"][classes]
            basis = projection.template_span(kernel, bias)
        logits = checked.reals(arrays["logits"][ids])  # float16 would overflow in the confidences below
        splits[split] = {**_quantise(projection.project(arrays["features"][ids], basis), width),
                         "predicted": _encode(np.argmax(logits, axis=1), np.uint16),
                         "confidence": _encode(np.round(softmax(logits, axis=1).max(axis=1) * 65535), np.uint16)}
    if basis is None or basis.shape[1] < 2:
        return None
    return {
        "setting": _setting(rows, member), "seed": rows[member].get("seed"), "rank": basis.shape[1], "splits": splits,
        "templates": _encode(projection.templates(kernel, bias) @ basis, np.float32)
    }


def _setting(rows, member):
    """The label of a member's arm: its name, or the hyper-parameters that vary."""
    if "arm" in rows[member]:
        return rows[member]["arm"]
    names = records.varying([records.hyper(row) for row in rows])
    return tables.label(rows[member], names, " = ") if names else ""


def _quantise(points, width):
    most = 2 ** (8 * width - 1) - 1
    low, high = points.min(axis=0), points.max(axis=0)
    offset, step = (low + high) / 2, np.where(high > low, (high - low) / (2 * most), 1.0)
    levels = np.round((points - offset) / step)
    return {
        "offset": offset.tolist(), "step": step.tolist(), "points": _encode(levels, np.int16 if width == 2 else np.int8)
    }


def _encode(array, dtype):
    """The array's little-endian bytes as base64."""
    return base64.b64encode(np.ascontiguousarray(array).astype(np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def _pictures(images: UInt8[np.ndarray, "examples height width channels"], budget: float) -> dict[str, Any]:
    """One JPEG sheet of small pictures within the budget; tiles are multiples of 8 pixels, so no JPEG block has two."""
    for side, quality in ((PICTURE_SIDE, 85), (PICTURE_SIDE, 60), (PICTURE_SIDE, 35), (PICTURE_SIDE // 2, 60), (8, 40)):
        zoom = min(1.0, side / max(images.shape[1:3]))
        height, width = (max(1, round(zoom * length)) for length in images.shape[1:3])
        tile = -(-max(height, width) // 8) * 8
        columns = min(TILES_A_ROW, len(images))
        sheet = Image.new("L" if images.shape[3] == 1 else "RGB", (columns * tile, -(-len(images) // columns) * tile))
        for number, image in enumerate(images):
            picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
            sheet.paste(picture.resize((width, height), Image.Resampling.BOX) if zoom < 1 else picture,
                        (number % columns * tile, number // columns * tile))
        file = io.BytesIO()
        sheet.save(file, "JPEG", quality=quality, subsampling=0)  # optimize= fails on noise
        if file.tell() <= budget:
            break
    return {
        "sheet": f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}", "tile": tile,
        "columns": columns, "width": width, "height": height
    }


def _note(plan, classes, names, rows, splits):
    """What the explorer shows of the data, in words."""
    parts = []
    for split in splits.values():
        if len(split["index"]) < split["total"]:
            parts.append(f"{len(split['index']):,} of {split['total']:,} {split['title'].lower()} examples "
                         f"(at most {plan['examples']} per class, evenly spaced)")
    if len(classes) < len(names):
        parts.append(f"{len(classes)} of {len(names):,} classes")
    if plan["seeds"] is not None:
        parts.append(f"seed {min(plan['seeds'])} of {len({row['seed'] for row in rows})}")
    shown = f"To keep this page small, it shows {'; '.join(parts)}. " if parts else ""
    pictures = "" if all(split["pictures"] for split in splits.values()) else (
        " Pictures are not shown: the data set has none, or was not available when this page was written.")
    return f"{shown}Coordinates have {8 * plan['bytes']} bits.{pictures}"
