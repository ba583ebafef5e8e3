"""The logs of a training run: metrics.jsonl, progress on stderr, and the writers that the config names.

One process, the primary, writes the files. A resumed run first removes the rows after the restored step, so that it
leaves the same rows as a run without interruption.
"""
import json
import math
import operator
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from ls_jax.devices.mesh import is_primary
from ls_jax.workdir import files, writers
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
        self._writers = writers.opened(config.log.writers if is_primary() else (), workdir,
                                       dict(zip(self._runs, members)), first_step)
        number, of = run.seen
        self._progress = Progress(config.steps, number * len(members), first_step, is_primary(), of=of)

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.close()
        self._metrics.close()
        for writer in self._writers:
            writer.close()

    def progress(self, step: int) -> None:
        """Report that `step` steps are taken. It is cheap enough for every step."""
        self._progress.reach(step)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a row for each member: {"step", "member", "split", hyper-parameters, measures}.

        The writers get each measure as `split/name` in the member's run. The progress line gets the training loss and
        the held-out accuracy, averaged over the members.
        """
        self._metrics.write(rows)
        for row in rows if self._writers else ():
            scalars = {f"{row['split']}/{'learning rate' if name == 'rate' else name}": value
                       for name, value in row.items() if name not in self._hyper}
            for writer in self._writers:
                writer.write(self._runs[row["member"]], row["step"], scalars)
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
