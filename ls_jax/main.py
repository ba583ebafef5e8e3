"""`ls_jax --config=configs/NAME.py[:smoke|:short] --workdir=DIR [--mode=MODE] [--config.field=value ...]`, also `python -m ls_jax`

MODE is run (the default: train or resume, then evaluate, study and report), train, study (from the workdir's last
checkpoint), report (from the results of one workdir, or of several: --workdir=A,B), analyze (--predictions=FILE.npz, what any
framework's network predicted; no training), translate (lines from standard input to standard output, by a --member of a workdir's
sweep), compile (--topology=v5e:16x16: what the steps need on a machine that is not here) or reproduce (every experiment of the paper
whose data is there, at a --scale, and one report). This is the only file that knows absl.
"""
import contextlib
import functools
import os
import pathlib
import sys
from collections.abc import Callable

from ls_jax import signals

if __name__ == "__main__":
    signals.install()  # before what takes long to import

from absl import app, flags, logging  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from ls_jax.devices.setup import setup  # noqa: E402
from ls_jax.errors import Interrupted, UserError  # noqa: E402
from ls_jax.workdir.quiet import Quiet  # noqa: E402

MODES = ("run", "train", "study", "report", "analyze", "translate", "compile", "reproduce")
_CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment: FILE.py or FILE.py:VARIANT.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives: checkpoints, logs, predictions, results, report.")
_MODE = flags.DEFINE_enum("mode", "run", MODES, "What to do.")
_PREDICTIONS = flags.DEFINE_string("predictions", None, "analyze: a npz file with logits and labels.")
_MEMBER = flags.DEFINE_integer("member", 0, "translate: which member of the sweep, from 0.")
_SCALE = flags.DEFINE_enum("scale", "short", ("smoke", "short", "paper"), "reproduce: seconds each, for a laptop, or the paper's lengths.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "reproduce: where the TFDS builds are (the experiments' config.data.dir).")
_TOPOLOGY = flags.DEFINE_string("topology", None, "compile: the machine, as in v5e:16x16, v4:4x4x4 or cpu:8.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, for several processes.")
_PROCESSES = flags.DEFINE_integer("processes", None, "How many processes there are.")
_PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0.")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Let JAX find the other processes (Cloud TPU pods, Slurm, Open MPI).")


def main(argv: list[str], work: Callable[..., None] | None = None) -> None:
    """Run the command; one line ends it on bad input, with status 2, and on a signal, with 128 + its number.

    Another command with the same flags passes its `work(arguments, workdir, config)`; the config is None where none is named.
    """
    logging.set_verbosity(logging.WARNING)  # JAX tells at INFO of every backend that it does not find
    status = 1
    try:
        if work is None and len(argv) > 1:
            raise UserError(f"unexpected argument {argv[1]!r}: flags are written --name=value")
        if work is None and _MODE.value == "compile":
            _compile()  # which leaves nothing: a signal need not wait for the compiler
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
    """The modes but compile, once the flags are parsed."""
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
        if _PREDICTIONS.value is None:
            raise UserError("--predictions=FILE.npz is missing: a file with the arrays logits and labels")
        from ls_jax.modes import analyze
        print(f"report: {analyze.run(pathlib.Path(_PREDICTIONS.value), workdir)}")
    elif _MODE.value == "translate":
        _translate(workdir)
    elif _CONFIG.value is None:
        raise UserError("--config=configs/NAME.py is missing: which experiment to run, e.g. --config=configs/digits_mlp.py")
    else:
        {"run": experiment.run, "train": experiment.train, "study": experiment.study}[_MODE.value](_CONFIG.value, workdir)


def _compile():
    if _CONFIG.value is None or _TOPOLOGY.value is None:
        raise UserError("--mode=compile needs --config=configs/NAME.py and --topology, as in --topology=v5e:16x16")
    os.environ["JAX_PLATFORMS"] = "cpu"  # the machine is only named, not used
    setup(_CONFIG.value.model.name)
    from ls_jax.modes import compile
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
    """Where nobody reads on what is printed, let it go nowhere: the interpreter would complain when it flushes."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _workdir():
    if _WORKDIR.value is None:
        raise UserError("--workdir=DIR is missing: where the run shall live, e.g. --workdir=runs/digits")
    if "://" in _WORKDIR.value:
        raise UserError(f"--workdir={_WORKDIR.value} is no directory: mount the bucket (gcsfuse) or a shared disk on every host, and name "
                        "the directory there")
    return pathlib.Path(_WORKDIR.value)


def _reproduce(workdir):
    if _CONFIG.value is not None:
        raise UserError("--mode=reproduce takes no --config: it runs every experiment in configs/ that the paper has")
    if _PROCESSES.value or _DISTRIBUTED.value:
        raise UserError("--mode=reproduce is for one process; on several hosts launch its experiments one by one (--mode=run)")
    setup()
    import jax

    jax.config.update("jax_platforms", "cpu")  # the experiments are processes of their own, which need the accelerator
    from ls_jax.modes import reproduce
    reproduce.run(workdir, _SCALE.value, _DATA_DIR.value)


def parse(argv: list[str]) -> list[str]:
    """absl's parsing, with the config found and its names checked first: config_flags answers a typo with "AttributeError: 'typo'"."""
    try:
        return flags.FLAGS(_check_config(argv))
    except (flags.Error, UserError, TypeError, ValueError) as error:
        sys.exit(_complain(error))


def _check_config(argv):
    """The arguments, naming the config's file as it was found."""
    paths = [a.split("=", 1)[1] for a in argv if a.startswith("--config=")]
    names = [a[len("--config."):].split("=", 1)[0] for a in argv if a.startswith("--config.")]
    if not paths:
        return argv
    from ls_jax import config
    path, colon, variant = paths[-1].partition(":")
    config.check_overrides(config.load(path, variant), names)
    found = f"--config={config.find(path)}{colon}{variant}"
    return [found if a == f"--config={paths[-1]}" else a for a in argv]


def _decide(status):
    """Once all that was printed is written; where it cannot be, Python says so at its end."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        if not (_PROCESSES.value or _DISTRIBUTED.value):  # which may have to wait for each other
            signals.decide(status)


def _complain(error):
    print(f"ls_jax: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def start(work: Callable[..., None] | None = None) -> None:
    """The command from the process's arguments; see `main`."""
    started = sys.modules["__main__"]  # whose docstring and flags absl's --help shows: the console script has none
    started.__doc__ = started.__doc__ or __doc__
    for flag in flags.FLAGS.get_key_flags_for_module(flags.FLAGS.find_module_defining_flag("workdir")):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    signals.install()
    Quiet().__enter__()  # until the process ends
    app.run(functools.partial(main, work=work), flags_parser=parse)


if __name__ == "__main__":
    start()
