"""The logs of a training run: metrics.jsonl, TensorBoard events, and progress on stderr.

One process, the primary, writes the files. A resumed run first removes the rows after the restored step, so that it
leaves the same rows as a run without interruption.
"""
import functools
import json
import math
import operator
import os
import pathlib
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, TextIO

import numpy as np

from ls_jax.devices.mesh import is_primary
from ls_jax.workdir import files
from ls_jax.workdir.progress import Progress


class Logs:
    """The logs of a training run. It is a context manager that closes the files.

    Args:
        workdir: the run's directory.
        run: `training.loop.Run`; its members' hyper-parameters and its config are read.
        first_step: steps already taken, where a run is resumed.
    """

    def __init__(self, workdir: str | pathlib.Path, run: Any, first_step: int = 0):
        config, members = run.config, run.rows
        self._hyper = set(members[0]) | {"step", "member", "split"}
        self._runs = run_names(members)
        self._metrics = Metrics(workdir, is_primary())
        self._metrics.truncate_after(first_step or -1)
        self._tensorboard = (TensorBoard(pathlib.Path(workdir) / "tensorboard", first_step)
                             if config.log.tensorboard and is_primary() else None)
        number, of = run.seen
        self._progress = Progress(config.steps, number * len(members), first_step, is_primary(), of=of)

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.close()
        self._metrics.close()
        if self._tensorboard:
            self._tensorboard.close()

    def progress(self, step: int) -> None:
        """Report that `step` steps are taken. It is cheap enough for every step."""
        self._progress.reach(step)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a row for each member: {"step", "member", "split", hyper-parameters, measures}.

        TensorBoard gets each measure as `split/name` in the member's run. The progress line gets the training loss and
        the held-out accuracy, averaged over the members.
        """
        self._metrics.write(rows)
        if self._tensorboard:
            for row in rows:
                scalars = {f"{row['split']}/{name}": value for name, value in row.items() if name not in self._hyper}
                self._tensorboard.write(self._runs[row["member"]], row["step"], scalars)
        for split in dict.fromkeys(row["split"] for row in rows):
            name = "loss" if split == "train" else "accuracy"
            values = [row[name] for row in rows if row["split"] == split and row.get(name) is not None]
            if values:
                self._progress.show({name if split == "train" else f"{split} {name}": float(np.mean(values))})


class Metrics:
    """metrics.jsonl: a JSON object per line, on the disk when `write` returns."""

    def __init__(self, workdir: str | pathlib.Path, primary: bool = True):
        self._path, self._primary = pathlib.Path(workdir) / "metrics.jsonl", primary
        self._file: TextIO | None = None

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows; a number that is not finite becomes null.

        Raises:
            UserError: the disk is full or the file cannot be written.
        """
        if self._primary and rows:
            with files.writing(self._path):
                self._file = self._file or open(self._path, "a", encoding="utf-8")
                self._file.write("".join(json.dumps(plain(row), allow_nan=False) + "\n" for row in rows))
                self._file.flush()

    def truncate_after(self, step: int) -> None:
        """Remove the rows of later steps, and lines that are no rows, such as a half-written last line."""
        if self._primary and self._path.exists():
            self.close()
            text = self._path.read_text(encoding="utf-8", errors="replace")
            kept = "".join(f"{line}\n" for line in text.splitlines() if _row_step(line) <= step)
            if kept != text:
                files.write_text(self._path, kept)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None


def read_metrics(workdir: str | pathlib.Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; [] without the file. None stands for a number that was not finite.

    Lines that are no rows are skipped, as a resumed run removes them.
    """
    path = pathlib.Path(workdir) / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if _row_step(line) < math.inf]


def _row_step(line: str) -> float:
    """The step of a line of metrics.jsonl; infinity for a line that is no row."""
    try:
        return operator.index(files.parse_json(line)["step"])
    except (ValueError, LookupError, TypeError):
        return math.inf


class TensorBoard:
    """TensorBoard's event files, written without TensorFlow. Each member is a TensorBoard run, a directory.

    Events are on the disk when `write` returns.

    Args:
        directory: the folder of the runs.
        first_step: steps already taken; TensorBoard will ignore earlier events of later steps.
    """

    def __init__(self, directory: str | pathlib.Path, first_step: int = 0):
        self._directory, self._first_step = pathlib.Path(directory), first_step
        self._files: dict[str, BinaryIO] = {}

    def write(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        """Append scalars to a run.

        Raises:
            UserError: the disk is full or the file cannot be written.
        """
        events, summaries, _ = _tensorboard()
        with files.writing(self._directory / run):
            if run not in self._files:
                self._files[run] = self._open(run)
                self._event(run, events.Event(file_version="brain.Event:2"))
                restart = events.SessionLog(status=events.SessionLog.START)  # also at step 0, after a killed run
                self._event(run, events.Event(step=self._first_step + 1, session_log=restart))
            values = [summaries.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
            self._event(run, events.Event(step=step, summary=summaries.Summary(value=values)))

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _open(self, run: str) -> BinaryIO:
        (self._directory / run).mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"  # sorts by time
        return open(self._directory / run / name, "wb", buffering=0)

    def _event(self, run: str, event: Any) -> None:
        """Append an event in the TFRecord framing: length, its checksum, data, its checksum."""
        *_, records = _tensorboard()
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._files[run].write(length + struct.pack("<I", records.masked_crc32c(length)) + data
                               + struct.pack("<I", records.masked_crc32c(data)))


@functools.cache
def _tensorboard() -> tuple[Any, Any, Any]:
    """tensorboardX's modules of events, summaries and records. It imports PyTorch, if that is installed."""
    from tensorboardX import record_writer
    from tensorboardX.proto import event_pb2, summary_pb2
    return event_pb2, summary_pb2, record_writer


def run_names(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each member, such as "alpha=0.1,seed=3": alpha, seed, and every hyper-parameter that differs."""
    varying = [name for name in members[0] if len({member[name] for member in members}) > 1]
    names = sorted({"alpha", "seed"} & members[0].keys() | set(varying))
    return [",".join(f"{name}={_shown(member[name])}" for name in names if member[name] is not None)
            for member in members]


def _shown(value):
    return f"{value:g}" if isinstance(value, (int, float)) else value


def write_json(path: str | pathlib.Path, value: Any) -> None:
    """Write a JSON file completely or not at all; a number that is not finite becomes null.

    Raises:
        UserError: the disk is full or the file cannot be written.
    """
    files.write_text(path, json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def plain(value: Any) -> Any:
    """A value in JSON's types: arrays and tuples become lists, paths strings, NaN and infinities None."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, pathlib.PurePath):
        return str(value)
    return plain(value.tolist()) if hasattr(value, "tolist") else value
