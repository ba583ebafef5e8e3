"""The whole paper from one command: every experiment whose data is there, in the paper's order, and one report about them.

Each experiment is an ordinary run in a workdir of its own, DIR/NAME, started as a process of its own, since XLA's flags and an
accelerator's memory are a process's; what it prints is in DIR/NAME.log. So a run that is killed goes on when the command is
given again, and what is finished stays.
"""
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple, TextIO

import ml_collections

from ls_jax import config as configs
from ls_jax import data, report, signals
from ls_jax.errors import Interrupted, UserError
from ls_jax.report import overview
from ls_jax.studies.common import records as results
from ls_jax.training import sweep
from ls_jax.workdir import files, lock

SCALES = ("smoke", "short", "paper")


class Experiment(NamedTuple):
    """A config, which of the paper's tables and figures it shows, and what it costs.

    `minutes` were measured on two CPU cores at `:short`, or at full length of what is `small` and needs no such variant; None: never
    run to its end.
    """
    name: str
    shows: tuple[str, ...]
    minutes: float | None = None
    small: bool = False


PLAN = (
    Experiment("digits_mlp", ("Figure 1", "Figure 2"), 0.5, small=True),
    Experiment("mnist_mlp", ("Figure 1", "Figure 6"), 30),
    Experiment("fashion_mnist_mlp", ("Table 3", "Figure 2"), 30),
    Experiment("fashion_mnist_alexnet", ("Figure 1", "Figure 6"), 12),
    Experiment("cifar10_alexnet", ("Table 2", "Figure 1"), 30),
    Experiment("cifar10_resnet56", ("Table 2", "Figure 6"), 12),
    Experiment("cifar100_resnet56", ("Table 2", "Table 3", "Figure 1", "Figure 2")),
    Experiment("imagenet_inception", ("Table 2", "Table 3", "Figure 1", "Figure 2")),
    Experiment("multi30k_transformer", ("Table 3", "Figure 3", "Figure 4", "Figure 7"), 150),
    Experiment("wmt_transformer", ("Table 3", "Figure 3", "Figure 4", "Figure 7")),
    Experiment("digits_distill", ("Figure 5",), 3, small=True),
    Experiment("fashion_mnist_distill", ("Figure 5",), 25),
    Experiment("cifar10_distill", ("Figure 5",)),
    Experiment("mnist_distill", ("Section 4",), 32),
    Experiment("mnist_noise", ("Beyond the paper",)),
    Experiment("mnist_noise_distill", ("Beyond the paper",)),
)


class Step(NamedTuple):
    """An experiment at a scale: its config, or why it is left out."""
    experiment: Experiment
    path: str                                  # FILE.py:VARIANT
    config: ml_collections.ConfigDict | None
    state: str                                 # "to do", "done", or "left out: ..."
    minutes: float | None = None               # estimated for two CPU cores


def run(workdir: pathlib.Path, scale: str, data_dir: str | None) -> None:
    """Show the plan, run what is not done, and write DIR/report.html about all that is.

    Args:
        workdir: holds a workdir for each experiment.
        scale: "smoke" (seconds each: every part runs, and no number means anything), "short" (a laptop) or "paper" (its lengths).
        data_dir: where the TFDS builds are; None: TFDS's own place.

    Raises:
        UserError: the workdir holds another scale, or is in use; or an experiment failed (after all others were run).
        Interrupted: a signal came, which the running experiment has been sent.
    """
    with lock.held(workdir):
        _run(workdir, scale, data_dir)


def _run(workdir, scale, data_dir):
    steps = plan(workdir, scale, data_dir)
    print(describe(steps, scale), flush=True)
    to_do = [step for step in steps if step.state == "to do"]
    failed = []
    for number, step in enumerate(to_do, 1):
        name = step.experiment.name
        print(f"\n[{number}/{len(to_do)}] {name}", flush=True)
        place = [] if data_dir is None else [f"--config.data.dir={data_dir}"]
        with open(workdir / f"{name}.log", "a", encoding="utf-8") as output:  # its progress and errors are still shown
            status = call([sys.executable, "-m", "ls_jax.main", f"--config={step.path}", f"--workdir={workdir / name}", *place], output)
        if status:
            failed.append(name)
            print(f"{name} ended with status {status}; the others go on", file=sys.stderr, flush=True)
    finished = [step.experiment.name for step in steps if _finished(workdir / step.experiment.name)]
    if finished:
        opening = overview.section(PLAN, {name: results.read(workdir / name) for name in finished},
                                   {step.experiment.name: step.state for step in steps})
        print(f"\nreport: {report.write([workdir / name for name in finished], page=workdir / 'report.html', opening=opening)}")
    if failed:
        raise UserError(f"{', '.join(failed)} did not finish (why is said above); the same command tries again")


def plan(workdir: pathlib.Path, scale: str, data_dir: str | None) -> list[Step]:
    """What would be done for each experiment of PLAN.

    Raises:
        UserError: the workdir holds an experiment at another scale.
    """
    return [_step(experiment, workdir / experiment.name, scale, data_dir) for experiment in PLAN]


def _step(experiment, workdir, scale, data_dir):
    file = configs.find(f"configs/{experiment.name}.py")
    variant = {"smoke": "smoke", "short": "" if experiment.small else "short", "paper": ""}[scale]
    path = f"{file}:{variant}".rstrip(":")
    if not _has(file, variant):
        return Step(experiment, path, None, f"left out: it has no variant {variant!r}; --scale=paper runs it")
    config = configs.load(file, variant)
    if data_dir is not None:
        config.data.dir = data_dir
    try:
        data.check(config.data)
    except UserError as error:
        return Step(experiment, path, None, f"left out: {error}")
    held = workdir / "config.json"
    if held.exists() and configs.differences(files.read_config(held), configs.plain(config)):
        raise UserError(f"{workdir} holds this experiment at another scale or with other settings: choose another --workdir")
    if _finished(workdir):
        return Step(experiment, path, config, "done")
    return Step(experiment, path, config, "to do", _minutes(experiment, config, file))


def _has(file, variant):
    try:
        configs.load(file, variant)
    except UserError:
        return False
    return True


def _finished(workdir):
    return (workdir / "report.html").exists() and results.final(workdir)  # the page is the last thing that a run writes


def _minutes(experiment, config, file):
    """The measured minutes, scaled by the images that are trained on; half a minute at least, for compiling and studying."""
    if experiment.minutes is None:
        return None
    measured = configs.load(file, "" if experiment.small else "short")
    return max(0.5, experiment.minutes * _images(config) / _images(measured))


def _images(config):
    """Images that all trainings of a config read, its teachers' included, each as often as a member reads it."""
    return config.steps * config.batch_size * len(sweep.members(config)) + sum(
        _images(teacher) for teacher in (config.distill.teachers.values() if config.distill else ()) if not isinstance(teacher, str))


def describe(steps: list[Step], scale: str) -> str:
    """The plan as text: what is run, what it shows, how long it takes, and what is left out and why."""
    width = max(len(step.experiment.name) for step in steps)
    shows = max(len(", ".join(step.experiment.shows)) for step in steps)
    lines = [f"The paper at scale {scale!r}. Times are estimates for two CPU cores.", ""]
    for step in steps:
        state = _time(step.minutes) if step.state == "to do" else step.state
        lines.append(f"  {step.experiment.name:{width}}  {', '.join(step.experiment.shows):{shows}}  {state}")
    to_do = [step for step in steps if step.state == "to do"]
    unknown = sum(step.minutes is None for step in to_do)
    total = sum(step.minutes or 0 for step in to_do)
    lines += ["", f"  {len(to_do)} to do, {_time(total)}" + (f" and {unknown} of unknown length" if unknown else "")]
    return "\n".join(lines)


def _time(minutes):
    if minutes is None:
        return "never timed"
    return f"about {minutes:.0f} min" if minutes < 90 else f"about {minutes / 60:.0f} h" if minutes < 48 * 60 else (
        f"about {minutes / 60 / 24:.0f} days")


def call(command: list[str], output: TextIO) -> int:
    """Run a command to its end, what it prints going to a file, and return its exit status; the first signal is passed on to it.

    It has a session of its own, so that a terminal's Ctrl-C reaches it once, by us; where we are killed, it ends.

    Raises:
        Interrupted: a signal came. It has no message where the command has ended by the signal's status, and so with its own line.
    """
    environment = {**os.environ, signals.PARENT: str(os.getpid())}
    with signals.Hold(lambda number: child.send_signal(number)) as hold:
        with subprocess.Popen(command, stdout=output, env=environment, start_new_session=True) as child:
            status = child.wait()
        if hold.signal and status == 128 + hold.signal:
            raise Interrupted("", hold.signal)
    return status
