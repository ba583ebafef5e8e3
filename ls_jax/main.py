"""`ls_jax --config=configs/NAME.py[:smoke|:short] --workdir=DIR [--mode=MODE] [--config.field=value ...]`, also `python
-m ls_jax`

The modes, with an example each:

run        train or resume, then evaluate, study and report; the default
             ls_jax --config=configs/digits_mlp.py --workdir=runs/digits
train      train or resume only
             ls_jax --mode=train --config=configs/digits_mlp.py --workdir=runs/digits --config.sweep.seed='(0,1,2)'
study      evaluate, study and report the workdir's last checkpoint
             ls_jax --mode=study --config=configs/digits_mlp.py --workdir=runs/digits
report     write the report again from one workdir, or one report about several
             ls_jax --mode=report --workdir=runs/digits,runs/mnist
analyze    study the predictions of any framework's networks
             ls_jax --mode=analyze --predictions='predictions/*.npz' --workdir=runs/analysis
translate  translate lines from standard input with a member of a workdir's sweep
             ls_jax --mode=translate --workdir=runs/multi30k --member=1 < sentences.en > sentences.de
compile    compile for a machine that you do not have, and tell its time and memory
             ls_jax --mode=compile --config=configs/imagenet_inception.py --topology=v5e:16x16
reproduce  every experiment of the paper whose data you have, at a scale, and one report
             ls_jax --mode=reproduce --scale=short --data_dir=TFDS_DIR --workdir=runs/paper

--version tells the versions, the devices, and how XLA computes on this CPU.

This is the only file that imports absl's flags.
"""
import ast
import contextlib
import functools
import os
import pathlib
import sys
import textwrap
from collections.abc import Callable

from ls_jax import signals, terminal

if __name__ == "__main__":
    signals.install()  # before the slow imports

from absl import app, flags, logging  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from ls_jax import setup  # noqa: E402
from ls_jax.errors import Interrupted, UserError  # noqa: E402
from ls_jax.workdir.quiet import Quiet  # noqa: E402

MODES = ("run", "train", "study", "report", "analyze", "translate", "compile", "reproduce")
_CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment: FILE.py or FILE.py:VARIANT.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's directory: checkpoints, logs, predictions, results, report.")
_MODE = flags.DEFINE_enum("mode", "run", MODES, "What to do.")
_PREDICTIONS = flags.DEFINE_string("predictions", None, "analyze: npz files with logits and labels, a network each: "
                                   "names with * and ?, separated by commas.")
_NETWORKS = flags.DEFINE_string("networks", None, "analyze: a table (.csv or .json) that says which network each file "
                                "holds: columns file, alpha, seed, split.")
_MEMBER = flags.DEFINE_integer("member", 0, "translate: which member of the sweep, from 0.")
_SCALE = flags.DEFINE_enum("scale", "short", ("smoke", "short", "paper"),
                           "reproduce: seconds each, a laptop's lengths, or the paper's.")
_DATA_DIR = flags.DEFINE_string("data_dir", None,
                                "reproduce: the folder of the TFDS builds (the experiments' config.data.dir).")
_TOPOLOGY = flags.DEFINE_string("topology", None, "compile: the machine, as in v5e:16x16, v4:4x4x4 or cpu:8.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, for several processes.")
_PROCESSES = flags.DEFINE_integer("processes", None, "How many processes there are.")
_PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0.")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False,
                                 "Let JAX find the other processes (Cloud TPU pods, Slurm, Open MPI).")


def main(argv: list[str], work: Callable[..., None] | None = None) -> None:
    """Run the command. Bad input ends it with one line and status 2, a signal with one line and 128 + its number.

    Args:
        argv: the arguments that are no flags, after the program's name.
        work: for another command with the same flags, `work(arguments, workdir, config)`; config is None without
            --config.
    """
    logging.set_verbosity(logging.WARNING)  # at INFO JAX logs every backend that it does not find
    status = 1
    try:
        if work is None and len(argv) > 1:
            raise UserError(f"unexpected argument {argv[1]!r}: flags are written --name=value")
        if work is None and _MODE.value == "compile":
            _compile()  # it writes no files, so a signal need not wait for the compiler
        else:
            with signals.unwinding():
                run() if work is None else work(argv[1:], _workdir(), _CONFIG.value)
        status = 0
    except UserError as error:
        status = _complain(error)
    except Interrupted as stop:
        if str(stop):
            signals.say(str(stop))
        _let_go()
        status = 128 + stop.signal
    finally:
        _decide(status)
    if status:
        sys.exit(status)


def run() -> None:
    """Run every mode but compile, once the flags are parsed."""
    workdir = _workdir()
    if _MODE.value == "reproduce":
        return _reproduce(workdir)
    setup(_CONFIG.value and _CONFIG.value.model.name)  # before JAX starts its backends
    from ls_jax.devices import processes
    processes.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value, auto=_DISTRIBUTED.value)
    with processes.together():
        _work(workdir)


def _work(workdir):
    from ls_jax.modes import experiment
    if _MODE.value == "report":
        experiment.report([pathlib.Path(part) for part in _WORKDIR.value.split(",")])
    elif _MODE.value == "analyze":
        if not _PREDICTIONS.value:
            raise UserError("--predictions=FILE.npz is missing: a file with the arrays logits and labels")
        _analyze(workdir)
    elif _MODE.value == "translate":
        _translate(workdir)
    elif _CONFIG.value is None:
        raise UserError("--config=configs/NAME.py is missing: which experiment to run, e.g. "
                        "--config=configs/digits_mlp.py")
    else:
        modes = {"run": experiment.run, "train": experiment.train, "study": experiment.study}
        modes[_MODE.value](_CONFIG.value, workdir)


def _analyze(workdir):
    from ls_jax.modes import analyze, networks
    alone = pathlib.Path(_PREDICTIONS.value)
    if _NETWORKS.value is None and alone.is_file():
        page = analyze.run(alone, workdir)
    else:
        page = networks.run(_PREDICTIONS.value, workdir, _NETWORKS.value and pathlib.Path(_NETWORKS.value))
    print(f"report: {page}")


def _compile():
    if _CONFIG.value is None or _TOPOLOGY.value is None:
        raise UserError("--mode=compile needs --config=configs/NAME.py and --topology, as in --topology=v5e:16x16")
    os.environ["JAX_PLATFORMS"] = "cpu"  # the named machine is not used
    setup(_CONFIG.value.model.name)
    from ls_jax.modes import compile
    compile.lay_out(_TOPOLOGY.value)
    compile.run(_CONFIG.value, _TOPOLOGY.value)


def _translate(workdir):
    if _CONFIG.value is not None:
        raise UserError("--mode=translate takes no --config: the workdir has its own")
    from ls_jax.modes import translate
    try:
        translate.run(workdir, _MEMBER.value, sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:  # as in "| head"
        _let_go()


def _let_go():
    """If nobody reads stdout or stderr any more, discard the rest: the interpreter would complain when it flushes."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _workdir():
    if not _WORKDIR.value:
        raise UserError("--workdir=DIR is missing: the run's directory, e.g. --workdir=runs/digits")
    if "://" in _WORKDIR.value:
        raise UserError(f"--workdir={_WORKDIR.value} is no directory: mount the bucket (gcsfuse) or a shared disk on "
                        "every host, and name the directory there")
    return pathlib.Path(_WORKDIR.value)


def _reproduce(workdir):
    if _CONFIG.value is not None:
        raise UserError("--mode=reproduce takes no --config: it runs every experiment in configs/ that the paper has")
    if _PROCESSES.value or _DISTRIBUTED.value:
        raise UserError("--mode=reproduce is for one process; on several hosts launch its experiments one by one "
                        "(--mode=run)")
    setup()
    import jax

    jax.config.update("jax_platforms", "cpu")  # the experiments' own processes need the accelerator
    from ls_jax.modes import reproduce
    reproduce.run(workdir, _SCALE.value, _DATA_DIR.value)


def parse(argv: list[str]) -> list[str]:
    """Parse with absl, after finding the config and checking the names of its fields.

    Without the check config_flags answers a typo with "AttributeError: 'typo'".
    """
    if "--version" in argv[1:]:
        print("\n".join(_version()))
        sys.exit()
    try:
        found, unset = _without_none(_check_config(argv))
        rest = flags.FLAGS(found)
        for name in unset:
            _unset(name)
        return rest
    except (flags.Error, UserError, TypeError, ValueError) as error:
        sys.exit(_complain(error))


def _without_none(argv):
    """The arguments without the overrides --config.NAME=None, which config_flags does not understand, and their names.

    As elsewhere, the last of several overrides of a field counts.
    """
    overrides = {argument[len("--config."):].partition("=")[0]: argument.partition("=")[2] for argument in argv
                 if argument.startswith("--config.")}
    unset = [name for name, value in overrides.items() if value == "None"]
    return [argument for argument in argv
            if not argument.startswith(tuple(f"--config.{name}=" for name in unset))], unset


def _unset(name):
    """Set an optional field of the config to None."""
    from ls_jax import config
    section, _, field = name.rpartition(".")
    if not config.optional(name):
        raise UserError(f"--config.{name}=None: this field is not optional; here it is "
                        f"{config.get(_CONFIG.value, name)!r}")
    (config.get(_CONFIG.value, section) if section else _CONFIG.value)[field] = None


def _version():
    """What a report of a fault should say, in lines."""
    setup()
    from ls_jax.workdir import manifest
    facts = manifest.describe(None)
    versions, devices, cpu = facts["versions"], facts["devices"], facts["cpu"]
    others = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "ls_jax" and version)
    return [f"ls_jax {versions['ls_jax']}", others,
            f"devices: {devices['count']} × {devices['kind']} ({devices['platform']})",
            f"CPU: {cpu['model']}, {cpu['cores']} cores",
            "XLA on the CPU: " + ", ".join(f"{name} {value or 'none'}" for name, value in facts["xla_on_cpu"].items())]


def _help():
    """The first part of this file's docstring, and the configs that came with the package."""
    from ls_jax import config
    paths = config.shipped()
    width = max((len(path.stem) for path in paths), default=0)
    about = (ast.get_docstring(ast.parse(path.read_text())).partition("\n\n")[0] for path in paths)
    lines = (f"{path.stem:{width}}  {textwrap.shorten(text, 100, placeholder=' ...')}"
             for path, text in zip(paths, about))
    return "\n\n".join([__doc__.rpartition("\n\n")[0], "The configs that came with it:", "\n".join(lines)]) + "\n"


def _check_config(argv):
    """The arguments, with the path of the config file that was found."""
    paths = [a.split("=", 1)[1] for a in argv if a.startswith("--config=")]
    names = [a[len("--config."):].split("=", 1)[0] for a in argv if a.startswith("--config.")]
    if not paths:
        return argv
    from ls_jax import config
    for name, value in (a[len("--"):].split("=", 1) for a in argv if a.startswith("--config.") and "={" in a):
        with contextlib.suppress(SyntaxError):  # which the flag itself complains of
            config.check_named_once(value, name)
    path, colon, variant = paths[-1].partition(":")
    config.check_overrides(config.load(path, variant), names)
    found = f"--config={config.find(path)}{colon}{variant}"
    return [found if a == f"--config={paths[-1]}" else a for a in argv]


def _decide(status):
    """Flush stdout, and let the process end with `status` whatever comes."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        if terminal.complaint():
            print(f"ls_jax: {terminal.complaint()}", file=sys.stderr)
        if not (_PROCESSES.value or _DISTRIBUTED.value):  # several processes may have to wait for each other
            signals.decide(status)


def _complain(error):
    print(f"ls_jax: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def start(work: Callable[..., None] | None = None) -> None:
    """Run the command with the process's arguments; see `main`."""
    terminal.prepare()
    started = sys.modules["__main__"]  # absl's --help shows its docstring and flags
    if work is None and {"--help", "-help", "--helpfull"} & {*sys.argv}:
        started.__doc__ = _help()
    for flag in flags.FLAGS.get_key_flags_for_module(flags.FLAGS.find_module_defining_flag("workdir")):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    signals.install()
    Quiet().__enter__()  # until the process ends
    app.run(functools.partial(main, work=work), flags_parser=parse)


if __name__ == "__main__":
    start()
