"""Networks of any framework as they are given, in files or as arrays, checked and in the form of a run's members.

The module `networks` says what stands in a file. Here each network is checked by itself and beside the others, before
anything is written.
"""
import csv
import glob
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ls_jax.errors import UserError
from ls_jax.modes import analyze as files
from ls_jax.studies.common import records
from ls_jax.workdir import npz_map

SPLITS = ("train", "validation", "test")
PLAIN = ("plain", "baseline", "hard", "unsmoothed", "none", "ce", "cross-entropy")  # names of arms without smoothing
ARMS_OF_LOSSES = "loss"  # the hyper-parameter that tells arms apart whose alpha is not given
ALIKE = ("logits", "features")  # whose number of columns all networks share


class Given(NamedTuple):
    """One network on one split, as it was given."""
    name: str                  # for messages: its file
    facts: dict[str, Any]      # alpha, seed, split, arm and other hyper-parameters; those that were given
    arrays: Mapping[str, Any]


class Gathered(NamedTuple):
    """Checked networks, in the form of a run's members."""
    rows: list[dict[str, Any]]                         # hyper-parameters, seed, arm and terms
    partners: list[int | None]                         # the baseline's index
    members: list[dict[str, dict[str, Any]]]           # {split: arrays}
    notes: list[str]                                   # what a reader of the differences must know


def of_files(patterns: str, table: pathlib.Path | None, scratch: pathlib.Path) -> Iterator[Given]:
    """The networks in files.

    Args:
        patterns, table: as in `run`.
        scratch: a folder for the arrays of compressed files.
    """
    told = {} if table is None else _read_table(table)
    paths = [path for pattern in patterns.split(",") for path in _matching(pattern)]
    unknown = told.keys() - {pathlib.Path(path).name for path in paths}
    if unknown:
        raise UserError(f"{table} names the file {sorted(unknown)[0]}, which --predictions does not match")
    for place, path in enumerate(dict.fromkeys(paths)):
        name, here = pathlib.Path(path).name, scratch / str(place)
        here.mkdir()
        arrays = npz_map.open_npz(path, here)
        facts = {key: np.asarray(array)[()].item() for key, array in arrays.items()
                 if np.ndim(array) == 0 and key not in files.KNOWN}
        for key, value in told.get(name, {}).items():
            if key in facts and facts[key] != value:
                raise UserError(f"{name}: {key} is {facts[key]} in the file and {value} in {table}: leave one out")
        yield Given(name, facts | told.get(name, {}), {key: array for key, array in arrays.items()
                                                       if np.ndim(array) > 0})


def of_arrays(networks: Mapping[Any, Any]) -> Iterator[Given]:
    """The networks of {α or name: arrays of each seed}; arrays are a mapping, or (logits, labels)."""
    for key, several in networks.items():
        for place, arrays in enumerate(several if isinstance(several, list) else [several]):
            arrays = arrays if isinstance(arrays, Mapping) else dict(zip(("logits", "labels"), arrays, strict=True))
            plain = {name: _array(value) for name, value in arrays.items()}
            known = {"alpha": float(key)} if isinstance(key, int | float) else {"arm": str(key)}
            facts = {name: value[()].item() for name, value in plain.items() if value.ndim == 0}
            yield Given(f"networks[{key!r}][{place}]", known | facts, {name: value for name, value in plain.items()
                                                                     if value.ndim > 0})


def gather(given: Sequence[Given]) -> Gathered:
    """Check each network and whether all belong together; give them the form of a run's members.

    Raises:
        UserError: one line that names the file, and what differs.
    """
    checked = [each._replace(facts=_facts(each), arrays=_checked(each)) for each in given]
    aligned = [each._replace(arrays=_aligned(each, first)) for each, first in zip(checked, _first(checked))]
    several = len({_arm(each) for each in aligned}) > 1
    members: dict[tuple, dict[str, Given]] = {}
    counts: dict[tuple, int] = {}
    for each in aligned:
        arm, split = _arm(each), each.facts["split"]
        if several and not {"alpha", "arm"} & each.facts.keys() and len(arm) < 2:
            raise UserError(f"{each.name} says neither alpha nor arm: add one, or name the file in --networks")
        place = counts[arm, split] = counts.get((arm, split), -1) + 1
        seed = each.facts.get("seed", ("place", place))
        other = members.setdefault((arm, seed), {}).get(split)
        if other is not None:
            raise UserError(f"{each.name} and {other.name} are both the {split} split of {_words(each)}: give the "
                            "networks different seeds")
        members[arm, seed][split] = each
    _check_splits(members)
    return _with_rows(members)


def _with_rows(members):
    """Rows and partners. Networks of arms that share no seed are paired by their order."""
    by_arm: dict[tuple, list[Any]] = {}
    for arm, seed in members:
        by_arm.setdefault(arm, []).append(seed)
    known = [{seed for seed in seeds if not isinstance(seed, tuple)} for seeds in by_arm.values()]
    shared = len(by_arm) < 2 or set.intersection(*known) != set()
    paired = shared and not any(isinstance(seed, tuple) for seeds in by_arm.values() for seed in seeds)
    seeds = {(arm, seed): seed if paired else place
             for arm, of in by_arm.items() for place, seed in enumerate(of)}
    rows, kept = [], []
    firsts = [next(iter(members[arm, of[0]].values())) for arm, of in by_arm.items()]
    names = dict.fromkeys(name for each in firsts for name in each.facts if name not in ("seed", "split", "arm"))
    unsaid = [each for each in firsts if "alpha" not in each.facts]
    plain = _plain(firsts)
    for (arm, seed), splits in members.items():
        facts = next(iter(splits.values())).facts
        row = {"alpha": 0.0, **{name: facts.get(name) for name in names if name != "alpha"}}
        row["alpha"] = facts.get("alpha", 0.0)
        if unsaid and len(by_arm) > 1:
            row[ARMS_OF_LOSSES] = facts.get("arm", "") if "alpha" not in facts and arm != plain else "cross-entropy"
        row["seed"] = seeds[arm, seed]
        if "arm" in facts:
            row["arm"] = facts["arm"]
        row["terms"] = ["label_smoothing"] if row["alpha"] else (
            [facts["arm"]] if "alpha" not in facts and arm != plain and "arm" in facts else [])
        rows.append(row)
        kept.append({split: dict(each.arrays) for split, each in splits.items()})
    notes = [] if paired or len(by_arm) < 2 else [_by_order(all(known))]
    others = [each.facts["arm"] for each in unsaid if "arm" in each.facts and _arm(each) != plain]
    if others and len(by_arm) > 1:
        notes.append(f"{', '.join(map(repr, others))} gives no alpha: its differences are shown, and the claims on "
                     "label smoothing leave it out.")
    return Gathered(rows, _partners(rows), kept, notes)


def _by_order(seeds_known):
    why = "share no seeds" if seeds_known else "have no seeds, or some have none"
    return (f"The networks {why}, so they are paired by their order: differences are right for networks that were "
            "trained independently.")


def _partners(rows):
    """Each row's baseline: of the same seed and hyper-parameters, with cross-entropy alone."""
    def bare(row):
        return records.key({name: value for name, value in records.hyper(row).items()
                            if name not in ("alpha", ARMS_OF_LOSSES)} | {"seed": row["seed"]})

    plain = {bare(row): place for place, row in enumerate(rows) if not row["terms"]}
    return [plain.get(bare(row)) for row in rows]


def _plain(firsts):
    """The arm without smoothing: of α = 0, else of a name such as "plain", else the first."""
    for is_plain in (lambda each: each.facts.get("alpha") == 0,
                     lambda each: str(each.facts.get("arm", "")).lower() in PLAIN,
                     lambda each: "alpha" not in each.facts):
        found = [_arm(each) for each in firsts if is_plain(each)]
        if found:
            return found[0]
    return None


def _facts(each):
    facts = dict(each.facts)
    facts.setdefault("split", "test")
    if facts["split"] not in SPLITS:
        raise UserError(f"{each.name}: split is {facts['split']!r}; it must be one of {', '.join(SPLITS)}")
    alpha = facts.get("alpha")
    if alpha is not None and not (isinstance(alpha, int | float) and 0 <= alpha < 1):
        raise UserError(f"{each.name}: alpha is {alpha!r}; label smoothing must be a number in [0, 1)")
    seed = facts.get("seed")
    if seed is not None and not (isinstance(seed, int | float) and seed == int(seed) and seed >= 0):
        raise UserError(f"{each.name}: seed is {seed!r}; it must be a whole number of at least 0")
    if seed is not None:
        facts["seed"] = int(seed)
    if alpha is not None:
        facts["alpha"] = float(alpha)
    return facts


def _checked(each):
    try:
        return files.check(each.arrays)
    except UserError as error:
        raise UserError(f"{each.name}: {error}") from error


def _first(given):
    """The first network of each one's split."""
    firsts: dict[str, Given] = {}
    return [firsts.setdefault(each.facts["split"], each) for each in given]


def _aligned(each, first):
    """The arrays in the order of `index`, after a check that the examples and classes are those of another network."""
    arrays = dict(each.arrays)
    for name in ALIKE:
        if name in arrays and name in first.arrays and arrays[name].shape[1] != first.arrays[name].shape[1]:
            raise UserError(f"{each.name}: {name} has {arrays[name].shape[1]} columns, but in {first.name} "
                            f"{first.arrays[name].shape[1]}")
    order, due = (np.argsort(of["index"], kind="stable") for of in (arrays, first.arrays))
    if len(order) != len(due) or (arrays["index"][order] != first.arrays["index"][due]).any():
        raise UserError(f"{each.name} and {first.name} have different examples of the {each.facts['split']} split: "
                        "give the same examples, in the same order or numbered by index")
    differ = np.flatnonzero(arrays["labels"][order] != first.arrays["labels"][due])
    if len(differ):
        here = order[differ[0]]
        raise UserError(f"{each.name}: labels[{here}] is {arrays['labels'][here]}, but {first.name} has "
                        f"{first.arrays['labels'][due[differ[0]]]} for that example: the same examples in the same "
                        "order are due")
    if list(arrays["class_names"]) != list(first.arrays["class_names"]):
        raise UserError(f"{each.name}: class_names differ from those of {first.name}")
    if (order != np.arange(len(order))).any():
        arrays |= {name: np.asarray(arrays[name])[order] for name in ("logits", "labels", "features", "index",
                                                                     "sentence") if name in arrays}
    return arrays


def _check_splits(members):
    """Every network has the splits that one of them has."""
    there = dict.fromkeys(split for splits in members.values() for split in splits)
    for splits in members.values():
        missing = [split for split in there if split not in splits]
        if missing:
            one = next(iter(splits.values()))
            raise UserError(f"{_words(one)} has no {missing[0]} split ({one.name} is its {one.facts['split']} split), "
                            "and others have: give it, or leave theirs out")


def _arm(each):
    """What tells an arm apart, hashable."""
    return tuple(sorted((name, value) for name, value in each.facts.items() if name not in ("seed", "split")))


def _words(each):
    facts = {name: value for name, value in each.facts.items() if name != "split"}
    return ", ".join(f"{name} {value}" for name, value in facts.items()) or "the network"


def _matching(pattern):
    found = sorted(glob.glob(str(pathlib.Path(pattern.strip()).expanduser())))
    if not found:
        raise UserError(f"--predictions={pattern}: no such file")
    return found


def _read_table(path):
    """{file: {column: value}} of a table; numbers are numbers, and empty cells are left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError) as error:
        raise UserError(f"--networks={path} cannot be read: {error}") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and row.get("file") for row in rows):
        raise UserError(f"--networks={path} must have a row for each file, with a column file and columns such as "
                        "alpha, seed and split")
    told = {}
    for row in rows:
        name = pathlib.Path(row["file"]).name
        if name in told:
            raise UserError(f"--networks={path} names the file {name} twice")
        told[name] = {key: _number(value) for key, value in row.items() if key != "file" and value not in ("", None)}
    return told


def _number(value):
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    return int(number) if number == int(number) and "." not in str(value) else number


def _array(value):
    """A NumPy array of a NumPy, JAX or PyTorch array, or of a number or name."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
