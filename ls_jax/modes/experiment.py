"""An experiment in its workdir: train, predict, study, report. Each stage leaves files that the next one reads."""
import contextlib
import dataclasses
import os
import pathlib
import sys

import ml_collections
import numpy as np

from ls_jax import config as configs
from ls_jax import data, losses, models, paper
from ls_jax.data import Pictures, TextSplit, memory, notices
from ls_jax.devices import mesh as meshes
from ls_jax.errors import InvalidArray, UserError, described
from ls_jax.studies import registry
from ls_jax.studies.common import course, tables
from ls_jax.studies.common import records as study_records
from ls_jax.studies.common.records import Record
from ls_jax.studies.common.statistics import moments
from ls_jax.studies.common.studied import Studied
from ls_jax.training import evaluate, loop, sweep, teachers
from ls_jax.workdir import checkpoint, files, lock, log, manifest, predictions, progress, replace


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> list[Record]:
    """Train, or resume what the workdir holds; then evaluate, study and report. A distillation first runs its teachers.

    Returns:
        The records in results.json; of several processes, process 0 has them and the others have none.
    """
    with _locked(config, workdir):
        this = _taught(prepare(config, workdir), workdir, run, "report.html")
        with _recorded(this, workdir) as measured:
            records = _study(this, loop.train(this, workdir), workdir, config.steps)
            measured()
            _present(this, records, workdir)
            return records


def measure(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> list[Record]:
    """As `run`, but without the report, for notebooks, which show the records themselves."""
    with _locked(config, workdir):
        this = _taught(prepare(config, workdir), workdir, measure, "results.json")
        with _recorded(this, workdir):
            return _study(this, loop.train(this, workdir), workdir, config.steps)


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Train up to the last checkpoint, or resume what the workdir holds. A distillation first measures its teachers."""
    with _locked(config, workdir):
        this = _taught(prepare(config, workdir), workdir, measure, "results.json")
        with _recorded(this, workdir):
            loop.train(this, workdir)


def study(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Evaluate, study and report the workdir's last checkpoint.

    Raises:
        UserError: there is no checkpoint.
    """
    nothing = UserError(f"{workdir} holds no checkpoint to study: train first (--mode=run or --mode=train)")
    if not (workdir / "checkpoints").exists():
        raise nothing
    with _locked(config, workdir):
        this = prepare(config, workdir)
        restored = checkpoint.Checkpoints(workdir).restore_latest(this.abstract_state())
        if restored is None:
            raise nothing
        if restored[0] < config.steps and meshes.is_primary():
            print(f"the last checkpoint in {workdir} is of step {restored[0]} of {config.steps}: this studies an "
                  "unfinished training", flush=True)
        with _recorded(this, workdir) as measured:
            records = _study(this, this.layout.split(restored[1]), workdir, restored[0])
            measured()
            _present(this, records, workdir)


def report(workdirs: list[pathlib.Path]) -> None:
    """Write the report again from the files of the workdirs; for several workdirs, one report about all.

    Raises:
        UserError: a file is missing, damaged, or does not fit the others, as one that was changed by hand.
    """
    from ls_jax import report as reports
    from ls_jax.report import answer as answers
    try:
        _report(workdirs, reports, answers)
    except UserError:  # of which some are ValueErrors
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{', '.join(map(str, workdirs))}: the files do not fit each other ({described(error)}): "
                        "restore those that were changed, or write them anew with --mode=study or --mode=analyze"
                        ) from error


def _report(workdirs, reports, answers):
    print(f"report: {reports.write(workdirs[0] if len(workdirs) == 1 else workdirs)}")
    for workdir in workdirs:
        name = f"{workdir}: " if len(workdirs) > 1 else ""
        print(f"\n{name}" + "\n".join(answers.of(study_records.read(workdir)).lines()))


def prepare(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> loop.Run:
    """Check the config, the workdir, the data and the devices, before anything but config.json is written.

    Raises:
        UserError: something is wrong with one of them.
    """
    configs.validate(config)
    _check_kept(config)
    _check_workdir(config, workdir)
    dataset = data.load(config.data, workdir)
    if meshes.is_primary():
        for line in notices.notices(dataset):
            print(line, file=sys.stderr, flush=True)
    if config.distill:
        teachers.check(config, dataset)
    for _, check in registry.having("check"):
        check(config, dataset)
    this = loop.setup(config, dataset)
    if meshes.is_primary():
        log.write_json(workdir / "config.json", configs.plain(config))
    return this


@contextlib.contextmanager
def _locked(config, workdir):
    """Lock the workdir, and the workdirs of the teachers that are trained within it."""
    configs.validate(config)
    of_teachers = config.distill.teachers.items() if config.distill else ()
    within = [teachers.workdir(workdir, name, source) for name, source in of_teachers if not isinstance(source, str)]
    with lock.held(workdir, *within):
        yield


def _taught(this, workdir, run_or_measure, last):
    """The run with its teachers. Each is first run, or resumed, in its own workdir until the file `last` is there."""
    if not this.config.distill:
        return this
    for name, source in sorted(this.config.distill.teachers.items()):
        where = teachers.workdir(workdir, name, source)
        if isinstance(source, str):
            continue
        _check_workdir(source, where)
        if not ((where / last).exists() and study_records.final(where)):
            if meshes.is_primary():
                print(f"teacher {name}: {where}", flush=True)
            run_or_measure(source, where)
    return dataclasses.replace(this, teaching=teachers.load(this.config, this.dataset, this.layout, workdir))


def _recorded(this, workdir):
    """A context manager that records a session in the workdir's manifest.json."""
    text = this.dataset.text
    return manifest.manifest(workdir, configs.plain(this.config), mesh=dict(this.layout.mesh.shape),
                             data=text and text.describe())


def _check_kept(config):
    every, keep_every = config.checkpoint.every, config.checkpoint.keep_every
    if every and keep_every and keep_every % every:
        raise UserError(f"config.checkpoint.keep_every={keep_every} must be a multiple of "
                        f"config.checkpoint.every={every}: only what is written can be kept")


def _check_workdir(config, workdir):
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise files.unwritable(workdir, error) from error
    if (workdir / "analysis.json").exists():
        raise UserError(f"{workdir} holds the analysis of a file: choose another --workdir for the experiment")
    held = workdir / "config.json"
    if held.exists():
        differences = configs.differences(files.read_config(held), configs.plain(config))
        if differences:
            raise UserError(f"{workdir} holds another experiment ({'; '.join(differences)}): "
                            "choose another --workdir, or use the config of this one")


def _study(this, states, workdir, taken):
    """Predict and study the states after `taken` steps; writes predictions/ and results.json. Returns the records."""
    primary = meshes.is_primary()
    trained = f"The training is safe up to step {taken}: the same command goes on from there"
    with (files.safe(trained), replace.replacing_together(workdir, replace.RESULTS, primary) as new,
          progress.Stages(primary) as stages):
        diverged = _diverged(this, states)
        left_out = frozenset(record.extra["member"] for record in diverged)
        members = [{**row, "terms": list(losses.active(row))} for row in this.rows]
        rows = study_records.arms(members, this.partners)
        measured = [(split, rows[member], values) for split, member, values in _predict(this, states, left_out, new,
                                                                                             stages)]
        studied = Studied(this, states, workdir, new, rows, left_out, measured, primary)
        found = {}
        for entry, collect in registry.having("collect"):
            if entry.on_devices:
                stages.say(f"studying: {entry.name}")
                found[entry] = collect(studied)
        damaged = _damaged(this)
        if not studied.primary:
            return []
        records = []
        for entry, collect in registry.having("collect"):
            stages.say(f"studying: {entry.name}")
            records += found[entry] if entry.on_devices else collect(dataclasses.replace(studied, records=records))
        still_training = course.still_training(log.read_metrics(workdir), rows, left_out)
        records = [*_unfinished(this, taken), *_label_noise(this), *damaged, *diverged, *still_training, *records]
        study_records.write(new, records)
    return records


def _present(this, records, workdir):
    """Print the studies' summaries and the claims' verdicts, write the report, and print the answer last."""
    if not meshes.is_primary():
        return
    from ls_jax import report as reports  # imports matplotlib, which training does not need
    from ls_jax.report import answer as answers
    measured = f"Predictions and results.json are safe: --mode=report --workdir={workdir} writes the report"
    with files.safe(measured), progress.Stages() as stages:
        page = reports.write(workdir, this.dataset, say=stages.say)
    for split in this.dataset.splits:
        if split != "train" and (summary := registry.summary(records, split)):
            print(f"{summary}\n")
    names = study_records.varying([study_records.hyper(row) for row in this.rows])
    for record in study_records.select(records, study="training", quantity="diverged at step"):
        label = tables.label(record, names)
        print(f"excluded, since it diverged at step {record.mean}: {label}, seed {record.seeds[0]}")
    answer = answers.of(records)
    if answer.sentences:  # else one line says that nothing can be decided
        for line in registry.lines(records, paper.key(configs.plain(this.config))):
            print(f"claim: {line}")
    print(f"report: {page}")
    print("\n" + "\n".join(answer.lines()))


def _unfinished(this, taken):
    """A record of the step that is studied, if the training is unfinished; `results.final` looks for it."""
    if taken >= this.config.steps:
        return []
    extra = {"of_steps": this.config.steps}
    return [Record("training", study_records.UNFINISHED, "train", **moments([taken]), extra=extra)]


def _label_noise(this):
    """A record of how many training labels were made wrong, if any."""
    changed = this.dataset.changed_labels
    extra = {"rate": this.config.data.label_noise, "of_examples": this.examples}
    return [Record("data", "changed labels", "train", **moments([changed]), extra=extra)] if changed else []


def _damaged(this):
    """A record for each split with images that could not be decoded: how many."""
    counts = {name: len(split.damaged()) for name, split in this.dataset.splits.items() if isinstance(split, Pictures)}
    return [Record("data", "damaged pictures", name, **moments([count])) for name, count in counts.items() if count]


def _diverged(this, states):
    """A record for each member whose training diverged. No study sees such a member."""
    steps = meshes.fetch(this.layout.join([state.diverged for state in states]))
    rows = study_records.arms(this.rows, this.partners)
    return [Record("training", "diverged at step", "train", n=1, mean=int(step), std=None, values=[int(step)],
                   hyper=study_records.hyper(row), arm=row["arm"], seeds=[row["seed"]], extra={"member": member})
            for member, (row, step) in enumerate(zip(rows, steps, strict=True)) if step >= 0]


def _predict(this, states, left_out, workdir, stages):
    """Predict every split, save the predictions, and yield (split, member, measures) of each member in the studies."""
    weights = [state.ema if this.config.optimizer.ema else state.params for state in states]
    heads = meshes.fetch(this.layout.join([models.head(tree) for tree in weights]))

    def save(name, member, predicted, folder):
        if meshes.is_primary():
            head = sweep.take(heads, member)
            predictions.save(workdir, name, member, predicted, head, this.dataset.class_names, folder)

    stages.say("predicting")
    done, total = 0, len(this.dataset.splits) * (len(this.rows) - len(left_out))
    for name, split in this.dataset.splits.items():
        arrays, streamed = memory.place(split, this.layout.mesh), isinstance(split, Pictures)
        tokens = _all_tokens(this, states, name, split, arrays) if isinstance(split, TextSplit) else None
        for member, predicted in this.evaluator.predict(states, arrays, evaluate.chosen(this.config, name, split),
                                                        features=name == "train" or not streamed):
            if member in left_out:
                continue
            if isinstance(split, TextSplit):
                predicted = predicted._replace(sentence=split.sentences(predicted.index))
            save(name, member, predicted, predictions.ALL)
            yield name, member, tokens[member] if tokens else _measures(predicted, workdir, name, member)
            done += 1
            stages.say("predicting", done, total)
        shown = _shown(this, split) if streamed else ()
        for member, predicted in this.evaluator.predict(states, arrays, shown) if len(shown) else ():
            if member not in left_out:
                save(name, member, predicted, predictions.SHOWN)


def _measures(predicted, workdir, name, member):
    """What the studies measure of a member's predictions while these are in memory."""
    measured = {}
    try:
        for _, measure_all in registry.having("measure_all"):
            measured |= measure_all(predicted.logits, predicted.labels)
    except InvalidArray as error:
        raise UserError(f"{predictions.file(workdir, name, member)}: {error}") from error
    return measured


def _shown(this, split):
    """The examples of a streamed split whose features are saved, for the studies that need some."""
    ids = [features(this.config, this.dataset, split) for _, features in registry.having("features")]
    return np.unique(np.concatenate([*ids, np.zeros(0, np.int32)]))


def _all_tokens(this, states, name, split, arrays):
    """Each member's measures over all tokens of a split, since only a part of the predictions is saved.

    Of the training split these are the tokens of `config.evaluate.train_examples` evenly spaced rows.
    """
    count = min(len(split), this.config.evaluate.train_examples) if name == "train" else len(split)
    sums = this.evaluator.measure(states, this.hypers(), arrays, evaluate.evenly_spaced(len(split), count))
    return [{**means, "examples": int(count)} for means, count in zip(loop.means(sums), sums.count)]
