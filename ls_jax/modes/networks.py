"""`--mode=analyze` of many networks of any framework: every study, difference and verdict that a run of ours gets.

A file holds one network on one split: the arrays of `analyze`, and beside them numbers or names without axes that say
which network it is:

- `alpha`, its label smoothing, and any other hyper-parameter; or `arm`, a name for how it was trained;
- `seed`, which pairs networks that were trained alike; without it they are paired by their order;
- `split`: "test" (the default), "validation" or "train". Temperatures are fitted on validation.

A table says the same of files that cannot be changed: --networks=FILE.csv or FILE.json, with a column `file`. All
networks have the same examples of a split, in the same order, or numbered alike by `index`.
"""
import dataclasses
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from ls_jax import report
from ls_jax.data import Dataset
from ls_jax.modes import analyze as files
from ls_jax.modes import given
from ls_jax.modes.given import Given
from ls_jax.report import answer
from ls_jax.studies import registry
from ls_jax.studies.accuracy import measure as accuracy
from ls_jax.studies.common import records
from ls_jax.studies.common.studied import Elsewhere, Studied
from ls_jax.version import __version__
from ls_jax.workdir import lock, log, manifest, predictions, replace
from ls_jax.workdir.predictions import Predictions
from ls_jax.workdir.progress import Stages

NOT_STUDIED = ("distillation",)  # needs teachers and students


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
        return study(list(given.of_arrays(networks)), new)


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
        return study(list(given.of_files(patterns, table, scratch)), new)


def study(networks: Sequence[Given], outputs: pathlib.Path) -> list[records.Record]:
    """The records of networks; writes predictions, results.json and analysis.json to the folder `outputs`.

    Raises:
        UserError: an array is wrong, or the networks do not belong together; nothing is written then.
    """
    start = time.monotonic()
    gathered = given.gather(networks)
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
        "files": sorted(each.name for each in networks),
        "arrays": {name: list(np.shape(array)) for name, array in first.items()},
        "seconds": round(time.monotonic() - start, 1), "version": __version__,
        "git": manifest.commit(pathlib.Path(__file__).parents[1])})
    return found


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


def _reported(gathered):
    there = gathered.members[0]
    return "test" if "test" in there else next(iter(there))


def _held_out(found):
    splits = {record.split for record in found}
    return "test" if "test" in splits else "validation"
