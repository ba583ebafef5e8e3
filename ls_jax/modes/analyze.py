"""`--mode=analyze --predictions=FILE.npz`: the studies of a network of any framework, from its arrays.

The file holds logits [N, K] and labels [N]. The projections also need features [N, d], kernel [d, K] and bias [K] of
the output layer: logits = features @ kernel + bias. Optional are class_names [K] (strings, or bytes in UTF-8) and index
[N], the examples' numbers. Labels and index are integers of any type. The rest are floats of any type, also bfloat16,
as np.savez writes it.

A logit of -inf means that the class does not exist for that example: its probability is 0. It must not be the label. It
is allowed only without features and kernel, since their product is finite. All other numbers must be finite in float32.
"""
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ls_jax import checked, report
from ls_jax.errors import UserError, did_you_mean
from ls_jax.report import answer
from ls_jax.studies import registry
from ls_jax.studies.common.blocks import blocks
from ls_jax.studies.common.records import Record, write
from ls_jax.studies.common.triples import PAPER_TRIPLES, Triple, has, resolve
from ls_jax.version import __version__
from ls_jax.workdir import lock, log, manifest, npz_map, predictions, replace
from ls_jax.workdir.predictions import Predictions

KNOWN = {"logits": "NK", "labels": "N", "features": "Nd", "kernel": "dK", "bias": "K", "class_names": "K", "index": "N",
         "sentence": "N"}
KEPT = 10_000            # examples that are saved in the workdir, for the figure and the explorer
KEPT_OF_A_TRIPLE = 100   # further examples of each class that the figure shows, at most


def run(file: pathlib.Path, workdir: pathlib.Path) -> pathlib.Path:
    """Check the file's arrays, run every study that they allow, and write the report. Returns the report's path.

    Raises:
        UserError: an array is missing or wrong, or the workdir holds an experiment.
    """
    check_workdir(workdir)
    with lock.held(workdir):
        records = measure(file, workdir)
        print(registry.summary(records, "test"))
        page = report.write(workdir)
        print("\n" + "\n".join(answer.of(records).lines()))
        return page


def measure(file: pathlib.Path, workdir: pathlib.Path) -> list[Record]:
    """As `run`, but without the report: writes results.json and returns its records."""
    check_workdir(workdir)
    start = time.monotonic()
    with lock.held(workdir), replace.replacing_together(workdir, replace.RESULTS) as new:
        scratch = new / "unpacked"
        scratch.mkdir()
        arrays = check(npz_map.open_npz(file, scratch))
        chosen = triples(arrays)
        print(f"studying {arrays['logits'].shape[0]:,} × {arrays['logits'].shape[1]:,} logits; "
              f"{', '.join(name for name in KNOWN if name in arrays)}", file=sys.stderr, flush=True)
        records = study(arrays, chosen)
        kept = _keep(arrays, chosen, new) if "kernel" in arrays else 0
        write(new, records)
        log.write_json(new / "analysis.json", {
            "file": file.name, "examples": arrays["logits"].shape[0], "classes": arrays["logits"].shape[1],
            "triples": chosen, "kept": kept,
            "arrays": {name: list(np.shape(array)) for name, array in arrays.items()},
            "seconds": round(time.monotonic() - start, 1), "version": __version__,
            "git": manifest.commit(pathlib.Path(__file__).parents[1])})
    return records


def check_workdir(workdir: pathlib.Path) -> None:
    """Raise UserError if the workdir holds an experiment."""
    if (workdir / "config.json").exists():
        raise UserError(f"{workdir} holds an experiment: choose another --workdir for the analysis")


def study(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[Record]:
    """Records of every study that the arrays allow, for one network on the split "test"."""
    records: list[Record] = []
    done: list[str] = []
    for entry, analyze in sorted(registry.having("analyze"), key=lambda each: bool(each[0].slow)):
        if entry.slow:
            print(f"done: {', '.join(done)}; {entry.name} {entry.slow}", file=sys.stderr, flush=True)
        records += analyze(arrays, triples)
        done.append(entry.name)
    return records


def check(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays that the studies use, with defaults for bias, class_names and index. The small ones are in memory.

    Raises:
        UserError: one line that names the array, the first bad index, and the fix.
    """
    for name in ("logits", "labels"):
        if name not in arrays:
            raise UserError(f"the file holds no array {name!r}, only {', '.join(map(repr, arrays)) or 'nothing'}")
    for name in sorted(arrays.keys() - KNOWN.keys()):  # only names that are ours exactly are read
        hint = did_you_mean(name, KNOWN.keys() - arrays.keys()) if np.ndim(arrays[name]) else ""
        if hint:
            print(f"the array {name!r} is not read{hint}", file=sys.stderr, flush=True)
    arrays = {name: arrays[name] for name in KNOWN if name in arrays}
    if not {"features", "kernel"} <= arrays.keys():
        arrays = {name: array for name, array in arrays.items() if name not in ("features", "kernel", "bias")}
    _check_shapes(arrays)
    examples, classes = arrays["logits"].shape
    small = {name: np.asarray(array) for name, array in arrays.items() if name not in ("logits", "features")}
    arrays = {**arrays, **small}
    arrays |= {name: checked.integers(arrays[name], name) for name in ("labels", "index", "sentence")
               if name in arrays}
    arrays |= {name: checked.reals(arrays[name], name) for name in ("kernel", "bias") if name in arrays}
    _check_labels(arrays["labels"], classes)
    if "kernel" in arrays:
        arrays.setdefault("bias", np.zeros(classes, np.float32))
    if "class_names" in arrays:
        arrays["class_names"] = np.asarray(checked.strings(arrays["class_names"]))
    else:
        arrays["class_names"] = np.asarray([f"class {k}" for k in range(classes)])
    arrays.setdefault("index", np.arange(examples))
    _check_values(arrays)
    return arrays


def _check_shapes(arrays):
    for name in ("labels", "index", "sentence", "logits", "features", "kernel", "bias"):
        due = checked.is_integer if name in ("labels", "index", "sentence") else checked.is_floating
        if name in arrays and not due(arrays[name].dtype):
            right = "integers are" if due is checked.is_integer else "float32 is"
            raise UserError(f"{name} has dtype {checked.described(arrays[name].dtype)}: {right} due")
    if arrays["logits"].ndim != 2 or arrays["logits"].shape[1] < 2 or len(arrays["logits"]) < 1:
        raise UserError(f"logits has shape {arrays['logits'].shape}: it must be [examples, classes], with at least two "
                        "classes")
    sizes = dict(zip("NK", arrays["logits"].shape))
    if "features" in arrays:
        sizes["d"] = arrays["features"].shape[-1] if arrays["features"].ndim == 2 else -1
    for name, array in arrays.items():
        due = tuple(sizes[axis] for axis in KNOWN[name])
        if name == "features" and array.ndim != 2:
            raise UserError(f"features has shape {array.shape}: it must be [examples, features], flattened if need be")
        if array.shape != due:
            hint = ": PyTorch's weight is its transpose, kernel = weight.T" if name == "kernel" else ""
            partner = f" and features of shape {arrays['features'].shape}" if name == "kernel" else ""
            raise UserError(f"{name} has shape {array.shape}, but {due} goes with logits of shape "
                            f"{arrays['logits'].shape}{partner}{hint if array.shape == due[::-1] else ''}")


def _check_labels(labels, classes):
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad):
        hint = " (do they count from 1?)" if labels.min() == 1 and labels.max() == classes else ""
        raise UserError(f"labels[{bad[0]}] is {labels[bad[0]]}: labels must be from 0 to {classes - 1}, "
                        f"as logits have {classes} columns{hint}")


def _check_values(arrays):
    for name in ("kernel", "bias"):
        if name in arrays:
            checked.check_finite(name, arrays[name])
    probabilities, width = True, max(arrays[name].shape[1] for name in ("logits", "features") if name in arrays)
    for rows in blocks(len(arrays["logits"]), width):
        logits = checked.reals(arrays["logits"][rows])
        checked.check_finite("logits", logits, rows.start, absent="features" not in arrays)
        _check_exist(logits, arrays["labels"][rows], rows.start)
        probabilities &= checked.are_probabilities(logits)
        if "features" in arrays:
            features = checked.reals(arrays["features"][rows], "features")
            checked.check_finite("features", features, rows.start)
            if not probabilities:
                _check_consistent(logits, features, arrays, rows.start)
    if probabilities:
        raise UserError("logits[0] is not negative and sums to 1, as all rows do: these are probabilities; give the "
                        "outputs before the softmax, or np.log of these without features and kernel")


def _check_exist(logits, labels, start):
    """Raise UserError if the label's class does not exist for an example."""
    bad = np.flatnonzero(logits[np.arange(len(labels)), labels] == -np.inf)
    if len(bad):
        raise UserError(f"logits[{start + bad[0]}, {labels[bad[0]]}] is -inf, which means that the class does not "
                        "exist for that example, but it is its label: remove the example")


def _check_consistent(logits, features, arrays, start):
    """Check a few rows of each block, which is fast for a file of any size."""
    few = np.linspace(0, len(logits) - 1, min(8, len(logits))).astype(int)
    expected = features[few].astype(np.float64) @ arrays["kernel"].astype(np.float64) + arrays["bias"]
    error = np.abs(logits[few] - expected).max(axis=1)
    wrong = np.flatnonzero(error > 0.02 * (1 + np.abs(expected).max(axis=1)))  # half precision has errors too
    if len(wrong):
        first = wrong[0]
        raise UserError(f"logits[{start + few[first]}] differs from features @ kernel + bias by {error[first]:.3g}: "
                        "give inputs, weights and bias of the layer that made the logits, or leave out features and "
                        "kernel")


def triples(arrays: Mapping[str, Any]) -> list[Triple]:
    """The paper's triples, if the classes have those names; else the first three classes with examples."""
    names, present = [str(name) for name in arrays["class_names"]], np.unique(arrays["labels"])
    for dataset, triples in PAPER_TRIPLES.items():
        if has(set().union(*triples), names):
            return resolve((), dataset, names)
    return [tuple(map(int, present[:3]))] if len(present) > 2 else []


def _keep(arrays, triples, workdir):
    """Save evenly spaced examples of each class as the predictions of member 0 on "test". Returns their number."""
    labels = arrays["labels"]
    chosen = {k for triple in triples for k in triple}
    kept = []
    for k in np.unique(labels):
        ids = np.flatnonzero(labels == k)
        most = max(1, KEPT // len(arrays["class_names"]), KEPT_OF_A_TRIPLE * (k in chosen))
        kept.append(ids[np.linspace(0, len(ids) - 1, min(most, len(ids))).astype(int)])
    kept = np.sort(np.concatenate(kept))
    predicted = Predictions(arrays["logits"][kept], arrays["features"][kept], labels[kept], arrays["index"][kept])
    predictions.save(workdir, "test", 0, predicted, arrays, tuple(str(name) for name in arrays["class_names"]))
    return len(kept)
