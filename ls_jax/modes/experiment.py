"""An experiment in its workdir: train, predict, study, report. Each stage leaves files that the next one reads."""
import contextlib
import dataclasses
import os
import pathlib

import ml_collections
import numpy as np

from ls_jax import config as configs
from ls_jax import data, models
from ls_jax.data import Pictures, TextSplit, memory
from ls_jax.devices import mesh as meshes
from ls_jax.errors import InvalidArray, UserError
from ls_jax.studies import accuracy, registry
from ls_jax.studies.common import records as results
from ls_jax.studies.common import tables
from ls_jax.studies.common.statistics import moments
from ls_jax.studies.common.studied import Studied
from ls_jax.training import evaluate, sweep, teachers
from ls_jax.training import loop as training
from ls_jax.workdir import checkpoint, files, lock, log, predictions, replace
from ls_jax.workdir import manifest as provenance


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Train, or resume what the workdir holds; then evaluate, study and report. A distillation first runs its teachers."""
    with _locked(config, workdir):
        this = _taught(prepare(config, workdir), workdir, run, "report.html")
        with _recorded(this, workdir) as measured:
            records = _study(this, training.train(this, workdir), workdir, config.steps)
            measured()
            _present(this, records, workdir)


def measure(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> list[results.Record]:
    """What `run` does, up to results.json, whose records it returns: for notebooks, which show what they like."""
    with _locked(config, workdir):
        this = _taught(prepare(config, workdir), workdir, measure, "results.json")
        with _recorded(this, workdir):
            return _study(this, training.train(this, workdir), workdir, config.steps)


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Train, or resume what the workdir holds, and leave the checkpoint. A distillation first measures its teachers, for `study`."""
    with _locked(config, workdir):
        this = _taught(prepare(config, workdir), workdir, measure, "results.json")
        with _recorded(this, workdir):
            training.train(this, workdir)


def study(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Evaluate, study and report the workdir's last checkpoint."""
    nothing = UserError(f"{workdir} holds no checkpoint to study: train first (--mode=run or --mode=train)")
    if not (workdir / "checkpoints").exists():
        raise nothing
    with _locked(config, workdir):
        this = prepare(config, workdir)
        restored = checkpoint.Checkpoints(workdir).restore_latest(this.abstract_state())
        if restored is None:
            raise nothing
        if restored[0] < config.steps and meshes.is_primary():
            print(f"{workdir} holds no checkpoint after step {restored[0]} of {config.steps}: this studies an unfinished training",
                  flush=True)
        with _recorded(this, workdir) as measured:
            records = _study(this, this.layout.split(restored[1]), workdir, restored[0])
            measured()
            _present(this, records, workdir)


def report(workdirs: list[pathlib.Path]) -> None:
    """Write the report again from the results, predictions and logs that the workdirs hold; of several, one about all."""
    from ls_jax import report as reports  # with matplotlib, for which training need not wait
    print(f"report: {reports.write(workdirs[0] if len(workdirs) == 1 else workdirs)}")


def prepare(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> training.Run:
    """Check the config against itself, the workdir, the data and the devices, before anything is written."""
    configs.validate(config)
    _check_workdir(config, workdir)
    dataset = data.load(config.data, workdir)
    if config.distill:
        teachers.check(config, dataset)
    for _, check in registry.having("check"):
        check(config, dataset)
    this = training.setup(config, dataset)
    if meshes.is_primary():
        log.write_json(workdir / "config.json", configs.plain(config))
    return this


@contextlib.contextmanager
def _locked(config, workdir):
    """Nobody else writes to the workdir, nor to those of the teachers that are trained in it, from before the first file to the last."""
    configs.validate(config)
    of_teachers = config.distill.teachers.items() if config.distill else ()
    with lock.held(workdir, *(teachers.workdir(workdir, name, source) for name, source in of_teachers if not isinstance(source, str))):
        yield


def _taught(this, workdir, run_or_measure, last):
    """The run with its teachers, if it has any: each is first run, or resumed, in a workdir of its own, until its last file is there."""
    if not this.config.distill:
        return this
    for name, source in sorted(this.config.distill.teachers.items()):
        where = teachers.workdir(workdir, name, source)
        if isinstance(source, str):
            continue
        _check_workdir(source, where)
        if not ((where / last).exists() and results.final(where)):
            if meshes.is_primary():
                print(f"teacher {name}: {where}", flush=True)
            run_or_measure(source, where)
    return dataclasses.replace(this, teaching=teachers.load(this.config, this.dataset, this.layout, workdir))


def _recorded(this, workdir):
    """A session in the workdir's manifest.json: code, hardware, settings, time and outcome of what happens in it; see `provenance`."""
    text = this.dataset.text
    return provenance.manifest(workdir, configs.plain(this.config), mesh=dict(this.layout.mesh.shape), data=text and text.describe())


def _check_workdir(config, workdir):
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written to: {error.strerror}") from error
    if (workdir / "analysis.json").exists():
        raise UserError(f"{workdir} holds the analysis of a file: choose another --workdir for the experiment")
    held = workdir / "config.json"
    if held.exists():
        differences = configs.differences(files.read_config(held), configs.plain(config))
        if differences:
            raise UserError(f"{workdir} holds another experiment ({'; '.join(differences)}): "
                            "choose another --workdir, or go on with the config it has")


def _study(this, states, workdir, taken):
    """Predict and study the states after `taken` steps; leaves predictions/ and results.json, and returns the records."""
    with replace.replacing_together(workdir, replace.RESULTS, meshes.is_primary()) as new:
        diverged = _diverged(this, states)
        left_out = frozenset(record.extra["member"] for record in diverged)
        rows = results.arms(this.rows, this.partners)
        measured = [(split, rows[member], values) for split, member, values in _predict(this, states, left_out, new)]
        studied = Studied(this, states, workdir, new, rows, left_out, measured, meshes.is_primary())
        found = {study: collect(studied) for study, collect in registry.having("collect") if study.on_devices}
        damaged = _damaged(this)
        if not studied.primary:
            return []
        records = []
        for study, collect in registry.having("collect"):
            records += found[study] if study.on_devices else collect(dataclasses.replace(studied, records=records))
        records = [*_unfinished(this, taken), *_label_noise(this), *damaged, *diverged, *records]
        results.write(new, records)
    return records


def _present(this, records, workdir):
    """Print the accuracy tables and the claims' verdicts, and write the report."""
    if not meshes.is_primary():
        return
    from ls_jax import report as reports
    for split in this.dataset.splits:
        if split != "train" and (summary := registry.summary(records, split)):
            print(f"{summary}\n")
    names = results.varying([results.hyper(row) for row in this.rows])
    for record in results.select(records, study="training", quantity="diverged at step"):
        print(f"left out, since it diverged at step {record.mean}: {tables.label(record, names)}, seed {record.seeds[0]}")
    for line in registry.lines(records):
        print(f"claim: {line}")
    print(f"report: {reports.write(workdir, this.dataset)}")


def _unfinished(this, taken):
    """After which step the networks are studied, where the training was to go on; `results.final` looks for it."""
    return [results.Record("training", results.UNFINISHED, "train", **moments([taken]), extra={"of_steps": this.config.steps})
            ] if taken < this.config.steps else []


def _label_noise(this):
    """How many training labels were made wrong, where any were."""
    changed = this.dataset.changed_labels
    extra = {"rate": this.config.data.label_noise, "of_examples": this.examples}
    return [results.Record("data", "changed labels", "train", **moments([changed]), extra=extra)] if changed else []


def _damaged(this):
    """How many pictures of each split could not be decoded, where any could not."""
    counts = {name: len(split.damaged()) for name, split in this.dataset.splits.items() if isinstance(split, Pictures)}
    return [results.Record("data", "damaged pictures", name, **moments([count])) for name, count in counts.items() if count]


def _diverged(this, states):
    """A record for each member whose training diverged: it is left out of every study."""
    steps = meshes.fetch(this.layout.join([state.diverged for state in states]))
    rows = results.arms(this.rows, this.partners)
    return [results.Record("training", "diverged at step", "train", n=1, mean=int(step), std=None, values=[int(step)],
                           hyper=results.hyper(row), arm=row["arm"], seeds=[row["seed"]], extra={"member": member})
            for member, (row, step) in enumerate(zip(rows, steps, strict=True)) if step >= 0]


def _predict(this, states, left_out, workdir):
    """Predict every split, keep the predictions, and yield (split, member, measures) of each healthy member."""
    weights = [state.ema if this.config.optimizer.ema else state.params for state in states]
    heads = meshes.fetch(this.layout.join([models.head(tree) for tree in weights]))
    save = lambda name, member, predicted, folder: predictions.save(
        workdir, name, member, predicted, sweep.take(heads, member), this.dataset.class_names, folder)
    for name, split in this.dataset.splits.items():
        arrays, streamed = memory.place(split, this.layout.mesh), isinstance(split, Pictures)
        tokens = _all_tokens(this, states, name, split, arrays) if isinstance(split, TextSplit) else None
        for member, predicted in this.evaluator.predict(states, arrays, evaluate.chosen(this.config, name, split),
                                                        features=name == "train" or not streamed):
            if member in left_out:
                continue
            if meshes.is_primary():
                save(name, member, predicted, predictions.ALL)
            try:
                measured = tokens[member] if tokens else accuracy.measure_all(predicted.logits, predicted.labels)
            except InvalidArray as error:
                raise UserError(f"{predictions.file(workdir, name, member)}: {error}") from error
            yield name, member, measured
        shown = _shown(this, split) if streamed else ()
        for member, predicted in this.evaluator.predict(states, arrays, shown) if len(shown) else ():
            if meshes.is_primary() and member not in left_out:
                save(name, member, predicted, predictions.SHOWN)


def _shown(this, split):
    """The examples of a streamed split whose features are kept, for the studies that need some."""
    ids = [features(this.config, this.dataset, split) for _, features in registry.having("features")]
    return np.unique(np.concatenate([*ids, np.zeros(0, np.int32)]))


def _all_tokens(this, states, name, split, arrays):
    """Every member's measures over all tokens of a split, of which the predictions keep a part; of the training split over its first
    `config.evaluate.train_examples` rows."""
    count = min(len(split), this.config.evaluate.train_examples) if name == "train" else len(split)
    sums = this.evaluator.measure(states, this.hypers(), arrays, evaluate.evenly_spaced(len(split), count))
    return [{"accuracy": each["accuracy"], "nll": each["nll"], "examples": int(count)}
            for each, count in zip(training.means(sums), sums.count)]
