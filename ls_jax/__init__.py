"""When does label smoothing help? A sweep over losses and seeds is trained as one program, then studied.

The command `ls_jax` and the functions here do the same:

    records = ls_jax.run(ls_jax.load_config("digits_mlp"), "runs/digits")

`ls_jax.losses`, `ls_jax.models` and `ls_jax.studies` serve your own programs, which call `ls_jax.setup()` first
(docs/library.md). Importing ls_jax imports neither JAX nor NumPy. Each name imports what it needs when it is used.
"""
import importlib
import pathlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ls_jax.devices import cpu
from ls_jax.devices.setup import set_up_process
from ls_jax.version import __version__

if TYPE_CHECKING:
    import ml_collections

    from ls_jax.modes.networks import Analysis
    from ls_jax.report.answer import Answer
    from ls_jax.studies.common.records import Record

cpu.be_safe()  # before anything computes: by default some versions of XLA:CPU return garbage

LAZY = ("losses", "models", "studies")
__all__ = ["__version__", "analyze", "answer", "load_config", "run", "setup", "write_report", *LAZY]


def setup(network: str | None = None) -> None:
    """Set this process up as a run does; call it before JAX's first array.

    XLA_FLAGS gets the fastest value under which XLA:CPU computes right. The first test on a machine takes a few
    seconds. Flags that the user has set stay, and a RuntimeWarning says if XLA computes wrong under them.

    Args:
        network: `config.model.name` of the network to train, whose speed decides among the right flags; None: any.
    """
    from ls_jax import models  # only now: it imports JAX, and `import ls_jax` must be fast

    # A name that is unknown is refused where the config is checked.
    set_up_process(models.cpu_fusion(network) if network in models.MODELS else None)


def load_config(path: str | pathlib.Path, variant: str = "") -> "ml_collections.ConfigDict":
    """The config of an experiment. Its fields are explained in `ls_jax.config.default`.

    Args:
        path: a config file, or the name of one in configs/, such as "digits_mlp".
        variant: what follows the colon in --config=FILE:VARIANT, such as "smoke".

    Raises:
        UserError: there is no such file, or it has no such variant.
    """
    from ls_jax import config
    return config.load(path, variant)


def run(config: "ml_collections.ConfigDict", workdir: str | pathlib.Path) -> "list[Record]":
    """Train, evaluate, study and report an experiment, or resume it: `--mode=run` from Python.

    Args:
        config: the experiment.
        workdir: the run's directory, made if needed. It gets the checkpoints, predictions, results.json and
            report.html.

    Returns:
        The records in results.json; in a job of several processes, process 0 has them and the others have none.

    Raises:
        UserError: the config is wrong, the data are missing, or the workdir holds another experiment.
    """
    setup(config.model.name)
    from ls_jax.modes import experiment
    return experiment.run(config, pathlib.Path(workdir))


def analyze(networks: "str | pathlib.Path | Mapping[Any, Any]",
            workdir: str | pathlib.Path | None = None) -> "Analysis":
    """Study the predictions of networks of any framework: `--mode=analyze` from Python.

        ls_jax.analyze({0.0: [(logits, labels), ...], 0.1: [(logits, labels), ...]}).answer

    Args:
        networks: {label smoothing: the networks that were trained with it, one for each seed}. A network is a mapping
            of arrays, or (logits [N, K], labels [N]); they may be NumPy's, JAX's or PyTorch's.
            `ls_jax.modes.analyze` names the optional arrays, `ls_jax.modes.networks` what may stand beside them, such
            as "seed" and "split". In the place of a number a name says how networks were trained. Or an npz file, or
            a pattern of such files.
        workdir: gets predictions, results.json and report.html; it must hold no experiment. None: nothing is written.

    Raises:
        UserError: an array is missing or wrong, networks do not belong together, or the workdir holds an experiment.
    """
    from ls_jax.modes import networks as analysis
    return analysis.analyze(networks, None if workdir is None else pathlib.Path(workdir))


def answer(records: "Sequence[Record]") -> "Answer":
    """Whether smoothing helped, in plain sentences with a recommendation: `print("\\n".join(answer(records).lines()))`.

    Args:
        records: of one run, as `run` returns them.
    """
    from ls_jax.report import answer as answers
    return answers.of(records)


def write_report(workdirs: str | pathlib.Path | Sequence[str | pathlib.Path]) -> pathlib.Path:
    """Write the report again from the files of one workdir, or one report about several: `--mode=report` from Python.

    Args:
        workdirs: of runs or analyses.

    Returns:
        The path of the report.

    Raises:
        UserError: a workdir holds no results, or a damaged file.
    """
    from ls_jax import report
    if isinstance(workdirs, str | pathlib.Path):
        return report.write(pathlib.Path(workdirs))
    return report.write([pathlib.Path(workdir) for workdir in workdirs])


def __getattr__(name: str) -> ModuleType:
    if name in LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY})
