"""`--mode=analyze` of many networks of any framework: every study, difference and verdict that a run of ours gets.

A file holds one network on one split: the arrays of `analyze`, and beside them numbers or names without axes that say
which network it is:

- `alpha`, its label smoothing, and any other hyper-parameter; or `arm`, a name for how it was trained;
- `seed`, which pairs networks that were trained alike; without it they are paired by their order;
- `split`: "test" (the default), "validation" or "train". Temperatures are fitted on validation.

A table says the same of files that cannot be changed: --networks=FILE.csv or FILE.json, with a column `file`. All
networks have the same examples of a split, in the same order, or numbered alike by `index`.
"""
import csv
import dataclasses
import glob
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from ls_jax import report
from ls_jax.data import Dataset
from ls_jax.errors import UserError
from ls_jax.modes import analyze as files
from ls_jax.report import answer
from ls_jax.studies import registry
from ls_jax.studies.accuracy import measure as accuracy
from ls_jax.studies.common import records
from ls_jax.studies.common.studied import Elsewhere, Studied
from ls_jax.version import __version__
from ls_jax.workdir import lock, log, manifest, npz_map, predictions, replace
from ls_jax.workdir.predictions import Predictions
from ls_jax.workdir.progress import Stages

SPLITS = ("train", "validation", "test")
PLAIN = ("plain", "baseline", "hard", "unsmoothed", "none", "ce", "cross-entropy")  # names of arms without smoothing
ARMS_OF_LOSSES = "loss"  # the hyper-parameter that tells arms apart whose alpha is not given
NOT_STUDIED = ("distillation",)  # needs teachers and students
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


class Analysis(NamedTuple):
    """What an analysis found."""
    records: list[records.Record]   # as in results.json
    answer: answer.Answer           # in plain sentences
    page: pathlib.Path | None       # report.html; None without a workdir

    def __repr__(self) -> str:
        """The answer, as a notebook shows it."""
        return "\n".join(self.answer.lines())


def analyze(networks: str | pathlib.Path | Mapping[Any, Any], workdir: pathlib.Path | None) -> Analysis:
    """As `ls_jax.analyze`."""
    if workdir is None:
        with tempfile.TemporaryDirectory() as scratch:
            found = _of_any(networks, pathlib.Path(scratch))
            return Analysis(found, answer.of(found), None)
    with lock.held(workdir):
        found = _of_any(networks, workdir)
        return Analysis(found, answer.of(found), report.write(workdir))


def _of_any(networks, workdir):
    """The records of arrays, of one file, or of the files of a pattern."""
    if not isinstance(networks, Mapping):
        alone = pathlib.Path(networks)
        return files.measure(alone, workdir) if alone.is_file() else measure(str(networks), workdir)
    files.check_workdir(workdir)
    with lock.held(workdir), replace.replacing_together(workdir, replace.RESULTS) as new:
        return study(list(of_arrays(networks)), new)


def run(patterns: str, workdir: pathlib.Path, table: pathlib.Path | None = None) -> pathlib.Path:
    """Check all files, run every study that their arrays allow, and write the report. Returns the report's path.

    Args:
        patterns: file names with * and ?, separated by commas.
        workdir: gets predictions, results.json, answer.json and report.html. It must hold no experiment.
        table: says which network each file holds; see the module.

    Raises:
        UserError: a file is missing or wrong, networks do not belong together, or the workdir holds an experiment.
            The workdir is then as it was.
    """
    files.check_workdir(workdir)
    with lock.held(workdir):
        found = measure(patterns, workdir, table)
        print(registry.summary(found, _held_out(found)))
        for line in registry.lines(found, None):
            print(f"claim: {line}")
        page = report.write(workdir)
        print("\n" + "\n".join(answer.of(found).lines()))
        return page


def measure(patterns: str, workdir: pathlib.Path, table: pathlib.Path | None = None) -> list[records.Record]:
    """As `run`, but without the report: writes results.json and returns its records."""
    files.check_workdir(workdir)
    with lock.held(workdir), replace.replacing_together(workdir, replace.RESULTS) as new:
        scratch = new / "unpacked"
        scratch.mkdir()
        return study(list(of_files(patterns, table, scratch)), new)


def study(given: Sequence[Given], outputs: pathlib.Path) -> list[records.Record]:
    """The records of networks; writes predictions, results.json and analysis.json to the folder `outputs`.

    Raises:
        UserError: an array is wrong, or the networks do not belong together; nothing is written then.
    """
    start = time.monotonic()
    gathered = gather(given)
    for note in gathered.notes:
        print(note, file=sys.stderr, flush=True)
    first = gathered.members[0][_reported(gathered)]
    triples = files.triples(first)
    for member, splits in enumerate(gathered.members):
        for split, arrays in splits.items():
            _save(outputs, split, member, arrays)
    rows = records.arms(gathered.rows, gathered.partners)
    with Stages() as stages:
        found = _records(rows, outputs, first["class_names"], triples, stages)
    records.write(outputs, found)
    log.write_json(outputs / "analysis.json", {
        "file": f"{len(rows)} networks", "examples": first["logits"].shape[0], "classes": first["logits"].shape[1],
        "triples": triples, "kept": None, "notes": gathered.notes, "networks": rows,
        "files": sorted(each.name for each in given),
        "arrays": {name: list(np.shape(array)) for name, array in first.items()},
        "seconds": round(time.monotonic() - start, 1), "version": __version__,
        "git": manifest.commit(pathlib.Path(__file__).parents[1])})
    return found


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
    paired = len(by_arm) < 2 or set.intersection(*known) != set()
    seeds = {(arm, seed): seed if paired and not isinstance(seed, tuple) else place
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
    why = "share no seeds" if any(known) else "have no seeds"
    notes = [] if paired else [f"The networks {why}, so they are paired by their order: differences are right for "
                               "networks that were trained independently."]
    others = [each.facts["arm"] for each in unsaid if "arm" in each.facts and _arm(each) != plain]
    if others and len(by_arm) > 1:
        notes.append(f"{', '.join(map(repr, others))} gives no alpha: its differences are shown, and the claims on "
                     "label smoothing leave it out.")
    return Gathered(rows, _partners(rows), kept, notes)


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


def _records(rows, outputs, class_names, triples, stages):
    config = ml_collections.ConfigDict({
        "distill": None, "data": {"name": ""},
        "projection": {"classes": tuple(tuple(str(class_names[k]) for k in triple) for triple in triples)}})
    measured = []
    for split, member, arrays in predictions.every(outputs, len(rows)):
        stages.say(f"predictions: {split} split, network {member + 1} of {len(rows)}")
        measured.append((split, rows[member], accuracy.measure_all(arrays["logits"], arrays["labels"])))
    elsewhere = Elsewhere(config, Dataset("", tuple(str(name) for name in class_names), {}))
    studied = Studied(elsewhere, [], outputs, outputs, rows, frozenset(), measured)
    found: list[records.Record] = []
    for entry, collect in registry.having("collect"):
        if not entry.on_devices and entry.name not in NOT_STUDIED:
            stages.say(f"studying: {entry.name}")
            found += collect(dataclasses.replace(studied, records=found))
    return found


def _save(outputs, split, member, arrays):
    predicted = Predictions(np.asarray(arrays["logits"]), np.asarray(arrays["features"]) if "features" in arrays
                            else None, arrays["labels"], arrays["index"], arrays.get("sentence"))
    predictions.save(outputs, split, member, predicted, arrays, tuple(str(name) for name in arrays["class_names"]))


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


def _reported(gathered):
    there = gathered.members[0]
    return "test" if "test" in there else next(iter(there))


def _held_out(found):
    splits = {record.split for record in found}
    return "test" if "test" in splits else "validation"


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
