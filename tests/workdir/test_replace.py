"""Whatever a mode writes replaces all that it wrote before, whole or not at all: no page shows files of two runs."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from ls_jax import config, report
from ls_jax.errors import Interrupted, UserError
from ls_jax.modes import analyze, experiment, reproduce
from ls_jax.studies.calibration import records as calibration_records
from ls_jax.studies.calibration import section as calibration_section
from ls_jax.studies.common import records
from ls_jax.studies.common.statistics import moments
from ls_jax.training import loop, teachers
from ls_jax.workdir import replace
from tests.modes.test_analyze import network, without


def contents(folder):
    """{path: bytes} of all that is there, but the lock."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
            and path.name != ".lock"}


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_png", ".png").replace("_npz", ".npz").replace("_de", ".de")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_all_names_are_replaced_at_once(tmp_path):
    names = ("first", "folder", "gone")
    write(tmp_path, first="1", folder__a="1", folder__b="1", gone="1", other="1",
          **{f"{replace.NEW}__of_a_killed_run": "1"})
    with replace.replacing_together(tmp_path, names) as new:
        write(new, first="2", folder__a="2", scratch="2")
        assert contents(tmp_path / "folder") == {"a": b"1", "b": b"1"} and not (new / "of_a_killed_run").exists()
    assert contents(tmp_path) == {"first": b"2", "folder/a": b"2", "other": b"1"}
    with pytest.raises(ValueError), replace.replacing_together(tmp_path, names) as new:
        write(new, first="3")
        raise ValueError
    assert contents(tmp_path) == {"first": b"2", "folder/a": b"2", "other": b"1"}


NAMES = ("first", "folder", "gone", "fresh")


def renames(monkeypatch, which, act):
    """Call `act` instead of the move number `which` (the file that says what is moved is no such move)."""
    rename, count = pathlib.Path.rename, iter(range(100))
    monkeypatch.setattr(pathlib.Path, "rename", lambda path, target: act() if next(count) == which
                        else rename(path, target))


@pytest.mark.parametrize("which", range(6))  # three old names go, three new ones come
def test_an_exception_between_moves_brings_all_back(tmp_path, monkeypatch, which):
    def fail():
        raise KeyboardInterrupt
    write(tmp_path, first="1", folder__a="1", gone="1")
    before = contents(tmp_path)
    with pytest.raises(KeyboardInterrupt), replace.replacing_together(tmp_path, NAMES) as new:
        write(new, first="2", folder__b="2", fresh="2")
        renames(monkeypatch, which, fail)
    assert contents(tmp_path) == before and not (tmp_path / replace.NEW).exists()


@pytest.mark.parametrize("which", range(6))
def test_what_a_killed_process_moved_comes_back(tmp_path, which):
    write(tmp_path, first="1", folder__a="1", gone="1")
    before = contents(tmp_path)
    program = ("import os, pathlib, sys; from ls_jax.workdir import replace; rename, count = pathlib.Path.rename, "
               "iter(range(100))\n"
               "with replace.replacing_together(sys.argv[1], ('first', 'folder', 'gone', 'fresh')) as new:\n"
               "    (new / 'folder').mkdir()\n"
               "    for name in ('first', 'folder/b', 'fresh'): (new / name).write_text('2')\n"
               f"    pathlib.Path.rename = lambda path, to: os._exit(9) if next(count) == {which} else rename(path, "
               "to)\n")
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)]).returncode == 9
    assert contents(tmp_path) != before
    with pytest.raises(ValueError), replace.replacing_together(tmp_path, ("first",)):
        raise ValueError
    assert contents(tmp_path) == before


def test_a_signal_waits_until_all_are_moved(tmp_path, monkeypatch):
    write(tmp_path, first="1", folder__a="1", gone="1")
    rename = pathlib.Path.rename
    with pytest.raises(KeyboardInterrupt), replace.replacing_together(tmp_path, NAMES) as new:
        write(new, first="2", folder__b="2", fresh="2")
        once = iter([lambda: os.kill(os.getpid(), signal.SIGINT)])
        monkeypatch.setattr(pathlib.Path, "rename", lambda path, to: (rename(path, to), next(once, lambda: None)()))
    assert contents(tmp_path) == {"first": b"2", "folder/b": b"2", "fresh": b"2"}


def test_an_analysis_shows_nothing_of_the_one_before(tmp_path):
    arrays = network()
    np.savez(tmp_path / "full.npz", **arrays)
    np.savez(tmp_path / "logits.npz", logits=arrays["logits"][:, :2], labels=arrays["labels"] % 2)
    analyze.run(tmp_path / "full.npz", tmp_path / "run")
    assert (tmp_path / "run" / "figures" / "projection.png").exists()
    text = analyze.run(tmp_path / "logits.npz", tmp_path / "run").read_text()
    analyze.run(tmp_path / "logits.npz", tmp_path / "fresh")
    assert "Explore the projection" not in text and "Figure 1" not in text and "the file does not have" in text
    assert contents(tmp_path / "run").keys() == contents(tmp_path / "fresh").keys()
    before = contents(tmp_path / "run")
    np.savez(tmp_path / "wrong.npz", **without(arrays, "bias"))
    with pytest.raises(UserError, match="differs from features"):
        analyze.run(tmp_path / "wrong.npz", tmp_path / "run")
    assert contents(tmp_path / "run") == before


def test_an_experiment_does_not_move_in_with_an_analysis(tiny, tmp_path):
    np.savez(tmp_path / "net.npz", **network())
    analyze.measure(tmp_path / "net.npz", tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(UserError, match="holds the analysis of a file: choose another --workdir"):
        experiment.run(tiny, tmp_path / "run")
    assert contents(tmp_path / "run") == before


def test_a_study_replaces_what_the_last_one_wrote(tiny, tmp_path, monkeypatch):
    experiment.run(tiny, tmp_path)
    fresh = contents(tmp_path).keys()
    held = (tmp_path / "predictions" / "test-000.npz").read_bytes()
    # a split, a member, a way to read
    for stale in ("predictions/validation-000.npz", "predictions/test-007.npz", "shown/test-000.npz"):
        (tmp_path / stale).parent.mkdir(exist_ok=True)
        (tmp_path / stale).write_bytes(held)
    write(tmp_path, figures__reliability_validation_png="", course__3_npz="", translations__flickr_de="")
    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        before = contents(tmp_path)
        broken.setattr(calibration_records, "run", lambda *_: 1 / 0)
        experiment.study(tiny, tmp_path)
    after = contents(tmp_path)
    assert {name: after[name] for name in before if name != "manifest.json"} == {
        name: content for name, content in before.items() if name != "manifest.json"} and after.keys() == before.keys()
    experiment.study(tiny, tmp_path)
    assert contents(tmp_path).keys() == fresh and "validation split" not in (tmp_path / "report.html").read_text()
    experiment.measure(tiny, tmp_path)  # leaves no page about other results
    assert not (tmp_path / "report.html").exists() and not (tmp_path / "figures").exists() and records.final(tmp_path)


def test_a_page_is_whole_or_that_of_before(tiny, tmp_path, monkeypatch):
    experiment.run(tiny, tmp_path)
    write(tmp_path, figures__of_a_split_that_is_no_more_png="")
    before = contents(tmp_path)
    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr(calibration_section, "section", lambda *_: 1 / 0)
        report.write(tmp_path)
    with monkeypatch.context() as broken, pytest.raises(UserError, match="cannot write .*: No space"):
        broken.setattr(os, "fsync", full_disk)
        report.write(tmp_path)
    assert contents(tmp_path) == before
    report.write([tmp_path, tmp_path / "." / ".." / tmp_path.name])  # one workdir, whatever it is called
    assert before.keys() - contents(tmp_path).keys() == {"figures/of_a_split_that_is_no_more.png"}
    assert contents(tmp_path).keys() <= before.keys()


def full_disk(*_):
    raise OSError(28, "No space left on device")


def test_results_of_an_unfinished_training_are_not_final(tiny, tmp_path, monkeypatch):
    """They say so, and do not pass for the run's when its training goes on and is killed before the next study."""
    tiny.checkpoint.every = 4
    with monkeypatch.context() as stopped, pytest.raises(Interrupted):
        stopped.setattr(loop, "stopped", lambda _, step: step == 4)
        experiment.run(tiny, tmp_path)
    experiment.study(tiny, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "4 of 8 steps, unfinished, at batch 16" in page
    assert not records.final(tmp_path) and not reproduce._finished(tmp_path)
    experiment.train(tiny, tmp_path)
    assert not reproduce._finished(tmp_path)
    experiment.run(tiny, tmp_path)
    assert records.final(tmp_path) and reproduce._finished(tmp_path)
    assert "unfinished" not in re.sub("<script.*", "", (tmp_path / "report.html").read_text(), flags=re.DOTALL)


def test_a_teacher_with_results_of_an_unfinished_training_goes_on(tmp_path, monkeypatch):
    students = config.load("configs/digits_distill.py", "smoke")
    where = teachers.workdir(tmp_path, *next(iter(sorted(students.distill.teachers.items()))))
    where.mkdir(parents=True)
    records.write(where, [records.Record("training", records.UNFINISHED, "train", **moments([3]))])
    (where / "report.html").write_text("half")
    ran = []
    monkeypatch.setattr(experiment, "run", lambda _, workdir: ran.append(workdir))
    monkeypatch.setattr(experiment.teachers, "load", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        experiment._taught(experiment.prepare(students, tmp_path), tmp_path, experiment.run, "report.html")
    assert where in ran
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == students.steps
