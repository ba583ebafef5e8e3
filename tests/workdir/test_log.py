"""Logs: strict JSON, exact on a resume, readable by TensorBoard, cheap, and never more said than was asked."""
import io
import json
import math
import pathlib
import re
import struct
import types
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from ls_jax.errors import UserError
from ls_jax.workdir import log, writers
from ls_jax.workdir.progress import Progress

ROWS = [{"step": step, "split": "train", "loss": 1.0 / step} for step in (1, 2, 3)]


def strict(line: str) -> Any:
    return json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_metrics_lines_are_strict_json_and_on_the_disk_at_once(tmp_path: pathlib.Path) -> None:
    metrics = log.Metrics(tmp_path)
    metrics.write([{"step": np.int32(5), "loss": np.float32(0.5), "bad": float("nan"),
                    "list": (jnp.float32(jnp.inf), 2)},
                   {"step": 6, "array": np.array([1.0, -np.inf]), "flag": np.True_, "path": tmp_path, "none": None}])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [strict(line) for line in lines] == [
        {"step": 5, "loss": 0.5, "bad": None, "list": [None, 2]},
        {"step": 6, "array": [1.0, None], "flag": True, "path": str(tmp_path), "none": None}]
    assert log.read_metrics(tmp_path) == [strict(line) for line in lines]


def test_a_resumed_run_has_the_rows_of_an_uninterrupted_one(tmp_path: pathlib.Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for directory in (whole, killed):
        directory.mkdir()
        log.Metrics(directory).write(ROWS)
    with open(killed / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "los')
    assert log.read_metrics(killed) == ROWS
    metrics = log.Metrics(killed)
    metrics.truncate_after(1)
    metrics.write(ROWS[1:])
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert [path.name for path in killed.iterdir()] == ["metrics.jsonl"]


def test_a_whole_row_is_kept_though_its_end_of_line_is_lost(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('not a row\n{"loss": 1}\n{"step": 1}\n{"step": 2}')
    log.Metrics(tmp_path).truncate_after(2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_truncate_while_open_and_where_there_is_nothing(tmp_path: pathlib.Path) -> None:
    metrics = log.Metrics(tmp_path)
    metrics.truncate_after(3)
    assert log.read_metrics(tmp_path) == [] and list(tmp_path.iterdir()) == []
    metrics.write(ROWS)
    metrics.truncate_after(2)
    metrics.write([{"step": 7}])
    assert [row["step"] for row in log.read_metrics(tmp_path)] == [1, 2, 7]


def test_only_the_primary_process_writes(tmp_path: pathlib.Path) -> None:
    metrics = log.Metrics(tmp_path, primary=False)
    metrics.write(ROWS)
    metrics.truncate_after(0)
    metrics.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError, match="cannot write .*metrics.jsonl: No such file or directory"):
        log.Metrics(tmp_path / "absent").write(ROWS)
    with pytest.raises(UserError, match="cannot write .*results.json: No such file or directory"):
        log.write_json(tmp_path / "absent" / "results.json", [])


def test_write_json_is_whole_or_absent(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "results.json"
    log.write_json(path, {"mean": np.float64("nan"), "values": jnp.arange(3), "ε": [np.inf]})
    assert strict(path.read_text()) == {"mean": None, "values": [0, 1, 2], "ε": [None]}
    with pytest.raises(TypeError):
        log.write_json(path, {"values": object()})
    assert strict(path.read_text())["values"] == [0, 1, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """The checksum as the TFRecord framing has it."""
    return ((crc32c(data) >> 15 | crc32c(data) << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(directory: pathlib.Path) -> list[Any]:
    """The events of a run, as TensorBoard reads them: files by name, records in TFRecord framing."""
    from tensorboardX.proto.event_pb2 import Event
    found = []
    for path in sorted(directory.iterdir()):
        assert ".tfevents." in path.name
        data, here = path.read_bytes(), 0
        while here < len(data):
            length, check = struct.unpack_from("<QI", data, here)
            record = data[here + 12:here + 12 + length]
            assert check == masked(data[here:here + 8])
            assert struct.unpack_from("<I", data, here + 12 + length)[0] == masked(record)
            found.append(Event.FromString(record))
            here += 16 + length
    return found


def scalars(found: list[Any]) -> list[tuple[int, str, float]]:
    return [(event.step, value.tag, value.simple_value) for event in found for value in event.summary.value]


def hyper_parameters(found: list[Any]) -> list[Any]:
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
    return [HParamsPluginData.FromString(value.metadata.plugin_data.content) for event in found
            for value in event.summary.value if value.metadata.plugin_data.plugin_name == "hparams"]


def test_tensorboard_events(tmp_path: pathlib.Path) -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the published check value
    runs = {"alpha=0,seed=1": {"alpha": 0.0, "seed": 1}, "alpha=0.1,seed=1": {"alpha": 0.1, "seed": 1}}
    board = writers.TensorBoard(tmp_path, runs)
    for step in (10, 20):
        for run in runs:
            board.write(run, step, {"train/loss": step / 8, "train/nll": np.float32(0.25), "test/accuracy": math.nan})
    found = events(tmp_path / "tensorboard" / "alpha=0.1,seed=1")  # before it is closed: a kill loses nothing
    assert found[0].file_version == "brain.Event:2" and all(event.wall_time > 1.7e9 for event in found)
    experiment, start = hyper_parameters(found)
    assert {info.name for info in experiment.experiment.hparam_infos} == {"alpha", "seed"}
    assert {name: value.number_value for name, value in start.session_start_info.hparams.items()} == {
        "alpha": 0.1, "seed": 1.0}
    found = [event for event in found if not any(value.tag.startswith("_hparams_/") for value in event.summary.value)]
    assert [row for row in scalars(found) if row[1] != "test/accuracy"] == [
        (10, "train/loss", 1.25), (10, "train/nll", 0.25), (20, "train/loss", 2.5), (20, "train/nll", 0.25)]
    assert math.isnan(scalars(found)[2][2])
    assert sorted(path.name for path in (tmp_path / "tensorboard").iterdir()) == sorted(runs)
    board.close()


@pytest.mark.parametrize("resumed_from, left", [(20, [(10, 1.0), (20, 1.0)]), (0, [])])
def test_tensorboard_drops_what_a_resumed_run_repeats(tmp_path: pathlib.Path, resumed_from: int,
                                                      left: list[Any]) -> None:
    from tensorboardX.proto.event_pb2 import SessionLog
    first = writers.TensorBoard(tmp_path, {"run": {}})
    second = writers.TensorBoard(tmp_path, {"run": {}}, first_step=resumed_from)
    for step in (10, 20, 30):
        first.write("run", step, {"train/loss": 1.0})
    for step in (30, 40):
        second.write("run", step, {"train/loss": 2.0})
    kept: list[Any] = []
    for event in events(tmp_path / "tensorboard" / "run"):
        if event.session_log.status == SessionLog.START:  # TensorBoard then drops events of this step and later
            kept = [other for other in kept if other.step < event.step]
        kept.append(event)
    assert [row[::2] for row in scalars(kept) if row[1] == "train/loss"] == [*left, (30, 2.0), (40, 2.0)]


def test_run_names() -> None:
    members = [{"alpha": alpha, "seed": seed, "learning_rate": 0.1, "weight_decay": decay}
               for alpha, seed, decay in ((0.0, 0, 1e-4), (0.1, 3, 5e-4))]
    assert log.run_names(members) == ["alpha=0,seed=0,weight_decay=0.0001", "alpha=0.1,seed=3,weight_decay=0.0005"]
    assert log.run_names(members[1:]) == ["alpha=0.1,seed=3"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """tqdm's clock; `clock.now` sets it, in seconds."""
    clock = types.SimpleNamespace(now=1000.0)
    monkeypatch.setattr("tqdm.std.time", lambda: clock.now)
    return clock


def advance(progress: Progress, clock: Any, steps: range, seconds: float) -> None:
    for step in steps:
        clock.now += seconds
        progress.reach(step)


def test_progress_lines(clock: Any) -> None:
    stream = io.StringIO()
    progress = Progress(5000, per_step=128, stream=stream)
    clock.now += 60  # compilation
    assert stream.getvalue() == ""
    progress.reach(1)
    assert stream.getvalue() == "step 1/5000  0%  ? steps/s  ? images/s  ETA ?\n"
    progress.show({"loss": 0.12345})
    progress.show({"test accuracy": 0.9876})
    advance(progress, clock, range(2, 1202), 1 / 256)
    assert len(stream.getvalue().splitlines()) == 1  # 5 s have passed
    advance(progress, clock, range(1202, 2562), 1 / 256)
    assert stream.getvalue().splitlines()[1:] == [
        "step 2561/5000  51%  256.00 steps/s  32,768 images/s  ETA 00:09, loss=0.123, test accuracy=0.988"]
    progress.reach(5000)
    progress.close()
    assert stream.getvalue().splitlines()[2].startswith("step 5000/5000  100%") and "ETA 00:00" in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 3


def test_the_last_step_is_shown_once(clock: Any) -> None:
    stream = io.StringIO()
    progress = Progress(5000, per_step=128, stream=stream)
    progress.reach(1)
    clock.now += 20
    progress.reach(5000)
    shown = stream.getvalue()
    progress.close()
    assert stream.getvalue() == shown and shown.count("step 5000/5000") == 1


def test_progress_rate_is_recent_and_survives_a_resume(clock: Any) -> None:
    stream = io.StringIO()
    progress = Progress(10_000, per_step=10, initial=9000, stream=stream, seconds=0)
    advance(progress, clock, range(9001, 9011), 10.0)
    assert stream.getvalue().splitlines()[-1] == "step 9010/10000  90%   0.10 steps/s  1 images/s  ETA 2:45:00"
    advance(progress, clock, range(9011, 9212), 0.5)  # faster from here on: the slow steps are forgotten
    assert stream.getvalue().splitlines()[-1] == "step 9211/10000  92%   2.00 steps/s  20 images/s  ETA 06:34"


def test_progress_bar_on_a_terminal(clock: Any) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    progress = Progress(100, per_step=10, stream=stream)
    progress.show({"loss": 2.0})
    advance(progress, clock, range(1, 101), 0.5)
    progress.close()
    shown = re.split("[\r\n]", stream.getvalue())
    line = next(line for line in shown if "51/100" in line)
    assert re.search(r"\|[#\d ]+\| step 51/100  51%   2.00 steps/s  20 images/s  ETA 00:24, loss=2", line)
    assert "step 100/100" in shown[-2] and stream.getvalue().endswith("\n")


def test_progress_of_another_process_is_silent() -> None:
    stream = io.StringIO()
    progress = Progress(10, 1, primary=False, stream=stream)
    progress.show({"loss": 1.0})
    progress.reach(10)
    progress.close()
    assert stream.getvalue() == ""


class Pipe(io.StringIO):
    """A stream that nobody reads from some time on."""
    broken, refused = False, 0

    def write(self, text: str) -> int:
        if not self.broken:
            return super().write(text)
        self.refused += 1
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_that_nobody_reads_is_given_up(clock: Any, terminal: bool) -> None:
    stream = Pipe()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    progress = Progress(100, 1, stream=stream)
    progress.reach(1)
    assert "step 1/100" in stream.getvalue()
    stream.broken = True
    advance(progress, clock, range(2, 100), 20.0)
    progress.close()
    assert stream.refused == 1


def test_logs_of_a_run(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    members = [{"alpha": alpha, "seed": 0, "learning_rate": 0.1, "weight_decay": 0.0} for alpha in (0.0, 0.1)]
    run = types.SimpleNamespace(rows=members, seen=(8, "images"), config=types.SimpleNamespace(
        steps=20, batch_size=8, log=types.SimpleNamespace(writers=("tensorboard",))))

    def rows(step: int, split: str) -> list[dict[str, Any]]:
        return [{"step": step, "member": m, **member, "split": split, "loss": step + m / 2, "accuracy": 0.5,
                 "rate": 0.25}
                for m, member in enumerate(members)]

    with log.Logs(tmp_path, run) as logs:
        for step in (10, 20):
            logs.progress(step)
            logs.write(rows(step, "train"))
            logs.write(rows(step, "test"))
    with log.Logs(tmp_path, run, first_step=10) as logs:
        logs.progress(20)
        logs.write(rows(20, "train"))
        logs.write(rows(20, "test"))
    assert log.read_metrics(tmp_path) == rows(10, "train") + rows(10, "test") + rows(20, "train") + rows(20, "test")
    found = scalars(events(tmp_path / "tensorboard" / "alpha=0.1,seed=0"))
    assert [row for row in found if row[1][0] != "_"][:6] == [
        (10, "train/loss", 10.5), (10, "train/accuracy", 0.5), (10, "train/learning rate", 0.25),
        (10, "test/loss", 10.5), (10, "test/accuracy", 0.5), (10, "test/learning rate", 0.25)]
    lines = capsys.readouterr().err.splitlines()
    assert "step 20/20  100%" in lines[-1]
