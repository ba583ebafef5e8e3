"""`--mode=reproduce`: every experiment of the paper whose data you have, in the paper's order, and one report.

Each experiment is a run in its own workdir, DIR/NAME, and in its own process, since XLA's flags and an accelerator's
memory belong to a process. Its output is in DIR/NAME.log. Run the command again after an interruption: finished
experiments are skipped, and the others resume.
"""
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple, TextIO

import ml_collections

from ls_jax import config as configs
from ls_jax import data, paper, report, signals
from ls_jax.errors import Interrupted, UserError
from ls_jax.report import overview
from ls_jax.studies.common import records
from ls_jax.training import sweep
from ls_jax.workdir import files, lock

SCALES = ("smoke", "short", "paper")


class Experiment(NamedTuple):
    """A config, the tables and figures of the paper that it shows, and its cost.

    `minutes` were measured on two CPU cores with `:short`; for a `small` experiment, which has no such variant, at full
    length. None: never measured.
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
    Experiment("cifar10_fast", ("Table 2", "Table 3", "Figure 1")),
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
    Experiment("rivals_digits", ("Beyond the paper",), small=True),
    Experiment("rivals_fashion", ("Beyond the paper",)),
    Experiment("rivals_cifar10", ("Beyond the paper",)),
)


class Step(NamedTuple):
    """An experiment at a scale: its config, or why it is skipped."""
    experiment: Experiment
    path: str                                  # FILE.py:VARIANT
    config: ml_collections.ConfigDict | None
    state: str                                 # "to do", "done", or "left out: ..."
    minutes: float | None = None               # estimate for two CPU cores


def run(workdir: pathlib.Path, scale: str, data_dir: str | None) -> None:
    """Print the plan, run the experiments that are not done, and write DIR/report.html about all finished ones.

    Args:
        workdir: gets a workdir for each experiment.
        scale: "smoke" (seconds each; the numbers mean nothing), "short" (a laptop) or "paper" (the paper's lengths).
        data_dir: the folder of the TFDS builds; None: TFDS's default.

    Raises:
        UserError: the workdir holds another scale, or is in use; or an experiment failed, after all others were run.
        Interrupted: a signal came; the running experiment got it too.
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
        command = [sys.executable, "-m", "ls_jax.main", f"--config={step.path}", f"--workdir={workdir / name}"]
        if data_dir is not None:
            command.append(f"--config.data.dir={data_dir}")
        with open(workdir / f"{name}.log", "a", encoding="utf-8") as output:  # stderr still shows progress and errors
            status = call(command, output)
        if status:
            failed.append(name)
            print(f"{name} ended with status {status}; the others go on", file=sys.stderr, flush=True)
    finished = [step.experiment.name for step in steps if _finished(workdir / step.experiment.name)]
    if finished:
        opening = overview.section(PLAN, {name: records.read(workdir / name) for name in finished},
                                   {step.experiment.name: step.state for step in steps},
                                   {name: paper.key(files.read_whole_config(workdir / name / "config.json"))
                                    for name in finished})
        page = report.write([workdir / name for name in finished], page=workdir / "report.html", opening=opening)
        print(f"\nreport: {page}")
    if failed:
        raise UserError(f"{', '.join(failed)} did not finish (see above for the reason); the same command tries again")


def plan(workdir: pathlib.Path, scale: str, data_dir: str | None) -> list[Step]:
    """A step for each experiment of PLAN.

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
        raise UserError(f"{workdir} holds this experiment at another scale or with other settings: choose another "
                        "--workdir")
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
    return (workdir / "report.html").exists() and records.final(workdir)  # a run writes its page last


def _minutes(experiment, config, file):
    """The measured minutes, scaled by the number of training images; at least half a minute, to compile and study."""
    if experiment.minutes is None:
        return None
    measured = configs.load(file, "" if experiment.small else "short")
    return max(0.5, experiment.minutes * _images(config) / _images(measured))


def _images(config):
    """The number of images that all members of a config and of its teachers train on, with repetitions."""
    teachers = config.distill.teachers.values() if config.distill else ()
    of_teachers = sum(_images(teacher) for teacher in teachers if not isinstance(teacher, str))
    return config.steps * config.batch_size * len(sweep.members(config)) + of_teachers


def describe(steps: list[Step], scale: str) -> str:
    """The plan as text: each experiment, what it shows, its time, or why it is skipped."""
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
    if minutes < 90:
        return f"about {minutes:.0f} min"
    return f"about {minutes / 60:.0f} h" if minutes < 48 * 60 else f"about {minutes / 60 / 24:.0f} days"


def call(command: list[str], output: TextIO) -> int:
    """Run a command, with its output in a file, and return its exit status. The first signal is passed on to it.

    The command has its own session, so that Ctrl-C in the terminal reaches it only once, through this process. If this
    process is killed, the command ends too.

    Raises:
        Interrupted: a signal came. It has no message if the command printed its own line about the signal.
    """
    environment = {**os.environ, signals.PARENT: str(os.getpid())}
    with signals.Hold(lambda number: child.send_signal(number)) as hold:
        with subprocess.Popen(command, stdout=output, env=environment, start_new_session=True) as child:
            status = child.wait()
        if hold.signal and status == 128 + hold.signal:
            raise Interrupted("", hold.signal)
    return status
