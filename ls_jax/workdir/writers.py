"""Where a run's metrics go beside metrics.jsonl: TensorBoard's event files, Weights & Biases, MLflow.

`config.log.writers` names them. Each member of a sweep is a run of its own there, with its hyper-parameters.
"""
import contextlib
import functools
import hashlib
import importlib.util
import os
import pathlib
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol, runtime_checkable

from ls_jax.errors import UserError
from ls_jax.workdir import files

# The members by the names of their runs, with their hyper-parameters.
Runs = Mapping[str, Mapping[str, Any]]


@runtime_checkable
class Writer(Protocol):
    """A place for metrics."""

    def write(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        """Add scalars, such as {"train/loss": 0.3}, of a step to a run."""
        ...

    def close(self) -> None:
        """End all runs."""
        ...


class TensorBoard:
    """TensorBoard's event files, written without TensorFlow. Each run is a directory in WORKDIR/tensorboard.

    Events are on the disk when `write` returns.

    Args:
        workdir: the run's directory.
        runs: the hyper-parameters of each run, for TensorBoard's tab "HPARAMS".
        first_step: steps already taken; TensorBoard will ignore earlier events of later steps.
    """

    def __init__(self, workdir: str | pathlib.Path, runs: Runs, first_step: int = 0):
        self._directory, self._runs, self._first_step = pathlib.Path(workdir) / "tensorboard", runs, first_step
        self._files: dict[str, BinaryIO] = {}

    def write(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        """Append scalars to a run.

        Raises:
            UserError: the disk is full or the file cannot be written.
        """
        events, summaries, *_ = _tensorboard()
        with files.writing(self._directory / run):
            if run not in self._files:
                self._files[run] = self._open(run)
                self._event(run, events.Event(file_version="brain.Event:2"))
                restart = events.SessionLog(status=events.SessionLog.START)  # also at step 0, after a killed run
                self._event(run, events.Event(step=self._first_step + 1, session_log=restart))
                for summary in self._hyper_parameters(run):
                    self._event(run, events.Event(summary=summary))
            values = [summaries.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
            self._event(run, events.Event(step=step, summary=summaries.Summary(value=values)))

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _hyper_parameters(self, run):
        """The summaries from which TensorBoard makes its table of runs."""
        *_, hyper_parameters = _tensorboard()
        experiment, start, _ = hyper_parameters(dict(self._runs[run]), {"test/accuracy": None, "test/nll": None})
        return experiment, start

    def _open(self, run: str) -> BinaryIO:
        (self._directory / run).mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"  # sorts by time
        return open(self._directory / run / name, "wb", buffering=0)

    def _event(self, run: str, event: Any) -> None:
        """Append an event in the TFRecord framing: length, its checksum, data, its checksum."""
        _, _, records, _ = _tensorboard()
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._files[run].write(length + struct.pack("<I", records.masked_crc32c(length)) + data
                               + struct.pack("<I", records.masked_crc32c(data)))


class WeightsAndBiases:
    """Weights & Biases: a group of runs, named as the workdir. A resumed run goes on under the same id.

    The variables of wandb's own, such as WANDB_MODE=offline or WANDB_PROJECT, are heeded.
    """

    def __init__(self, workdir: str | pathlib.Path, runs: Runs, first_step: int = 0):
        import wandb

        self._runs = {}
        with _told("wandb", "run `wandb login`, or set WANDB_MODE=offline"):
            for name, hyper in runs.items():
                self._runs[name] = wandb.init(
                    project=os.environ.get("WANDB_PROJECT", "ls_jax"), group=_title(workdir), name=name,
                    id=_identity(workdir, name), dir=str(workdir), config=dict(hyper), resume="allow",
                    reinit="create_new")

    def write(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        """Log scalars."""
        with _told("wandb", "see the message"):
            self._runs[run].log(dict(scalars), step=step)

    def close(self) -> None:
        """Finish the runs, which waits until they are sent."""
        for each in self._runs.values():
            each.finish()


class MLflow:
    """MLflow: an experiment, named as the workdir, with a run for each member. A resumed run goes on under the same id.

    MLFLOW_TRACKING_URI says where; without it MLflow chooses.
    """

    def __init__(self, workdir: str | pathlib.Path, runs: Runs, first_step: int = 0):
        from mlflow import MlflowClient

        with _told("mlflow", "is the server of MLFLOW_TRACKING_URI there?"):
            self._client = MlflowClient()
            known = self._client.get_experiment_by_name(_title(workdir))
            self._experiment = known.experiment_id if known else self._client.create_experiment(_title(workdir))
            self._runs = {name: self._open(workdir, name, hyper) for name, hyper in runs.items()}

    def write(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        """Log scalars."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        with _told("mlflow", "is the server of MLFLOW_TRACKING_URI there?"):
            self._client.log_batch(self._runs[run],
                                   [Metric(tag, float(value), now, step) for tag, value in scalars.items()])

    def close(self) -> None:
        """Mark the runs as finished."""
        for each in self._runs.values():
            self._client.set_terminated(each)

    def _open(self, workdir, name, hyper):
        identity = _identity(workdir, name)
        found = self._client.search_runs([self._experiment], f"tags.ls_jax = '{identity}'")
        if found:
            return found[0].info.run_id
        run = self._client.create_run(self._experiment, run_name=name, tags={"ls_jax": identity}).info.run_id
        for key, value in hyper.items():
            self._client.log_param(run, key, value)
        return run


# Of a name: the writer, the module that it needs, and the extra that brings it.
WRITERS: dict[str, tuple[Any, str, str]] = {
    "tensorboard": (TensorBoard, "tensorboardX", "ls_jax"),
    "wandb": (WeightsAndBiases, "wandb", "ls_jax[wandb]"),
    "mlflow": (MLflow, "mlflow", "ls_jax[mlflow]"),
}


def check(names: Sequence[str]) -> None:
    """Raise UserError for a name that is none of WRITERS, or whose library is not installed."""
    if isinstance(names, str) or any(name not in WRITERS for name in names):
        raise UserError(f"config.log.writers={names!r} must be a tuple of some of {', '.join(WRITERS)}, as in "
                        "('tensorboard',)")
    for name in names:
        _, module, extra = WRITERS[name]
        if importlib.util.find_spec(module) is None:
            raise UserError(f"config.log.writers names {name!r}, which is not installed: pip install '{extra}'")


def opened(names: Sequence[str], workdir: str | pathlib.Path, runs: Runs, first_step: int = 0) -> list[Writer]:
    """The writers of these names."""
    return [WRITERS[name][0](workdir, runs, first_step) for name in names]


@contextlib.contextmanager
def _told(name: str, remedy: str) -> Iterator[None]:
    """What a service complains of, as one line."""
    try:
        yield
    except Exception as error:  # each library has its own
        raise UserError(f"{name}: {' '.join(str(error).split())[:300]} ({remedy}; --config.log.writers chooses others)"
                        ) from error


def _title(workdir):
    return pathlib.Path(workdir).resolve().name


def _identity(workdir, name):
    """A name that the same member of the same workdir has again when it is resumed."""
    return hashlib.sha256(f"{pathlib.Path(workdir).resolve()}\n{name}".encode()).hexdigest()[:16]


@functools.cache
def _tensorboard() -> tuple[Any, Any, Any, Any]:
    """tensorboardX's modules of events, summaries and records, and its function for hyper-parameters."""
    from tensorboardX import record_writer
    from tensorboardX.proto import event_pb2, summary_pb2
    from tensorboardX.summary import hparams
    return event_pb2, summary_pb2, record_writer, hparams
