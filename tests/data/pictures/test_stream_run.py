"""Runs over a TFDS build of JPEGs of many sizes: to the report, killed and resumed, on two processes, and with
teachers."""
import itertools
import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax import data, report
from ls_jax.data import memory, order
from ls_jax.data.pictures import stream
from ls_jax.modes import experiment
from ls_jax.studies.common import records as study_records
from ls_jax.training import evaluate, loop, sweep, teachers
from ls_jax.workdir import checkpoint, log, predictions
from tests.builds import encode, smooth, write_build
from tests.runs import ROOT, assert_rows_close, environment, finish, same_states, wait_for_step

pytest.importorskip("simplejpeg", reason="decodes JPEGs: pip install -e '.[imagenet]'")
SIZES = {"train": 27, "validation": 11}
FIELDS = {"data.name": "tiny", "data.image_size": 12, "data.augment": "inception", "data.train_examples": 27,
          "batch_size": 8, "steps": 6,
          "evaluate.split": "validation", "evaluate.batch_size": 8, "model.hidden": (16, 16)}

# The command with the ids of every read kept, in the order of the reads.
COUNTING = """
import atexit, json, sys
from ls_jax import main
from ls_jax.data.pictures import stream
read, reads, path = stream.Records.read, [], sys.argv.pop(1)
def counted(self, ids):
    reads.append([self.name, [int(id) for id in ids]])
    return read(self, ids)
stream.Records.read = counted
atexit.register(lambda: open(path, "w").write(json.dumps(reads)))
main.start()
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """data.dir of a build whose pictures have sizes of their own, and classes that their colours tell."""
    folder = tmp_path_factory.mktemp("photos")
    splits = {name: ([smooth(30 + 2 * i, 60 - i, seed=i % 3) for i in range(count)], [i % 3 for i in range(count)])
              for name, count in SIZES.items()}
    write_build(folder, splits, shape=(None, None, 3), encode=encode)
    return folder


@pytest.fixture
def config(tiny, photos):
    for name, value in FIELDS.items():
        section, _, field = name.rpartition(".")
        (configs.get(tiny, section) if section else tiny)[field] = value
    tiny.data.dir = str(photos)
    return tiny


def start(photos, workdir, *more, counting=None, devices=1):
    program = ["-c", COUNTING, str(counting)] if counting else ["-m", "ls_jax.main"]
    fields = [f"--config.{name}={value}" for name, value in FIELDS.items()]
    return subprocess.Popen(
        [sys.executable, *program, "--config=configs/digits_mlp.py:smoke", f"--workdir={workdir}",
         f"--config.data.dir={photos}", *fields,
         "--config.log.writers=()", *more],
        cwd=ROOT, env=environment(devices), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_run_keeps_all_logits_and_the_features_of_the_shown_classes(config, tmp_path, monkeypatch):
    config.projection.classes = (("cat", "dog", "emu"),)
    config.checkpoint.keep_every = config.checkpoint.every = 3
    config.information.update(examples=8, views=3, draws=2)
    monkeypatch.setattr(evaluate, "LARGE", 0)  # outputs are gathered in files, as those of large splits are
    experiment.run(config, tmp_path)
    whole, shown = predictions.load(tmp_path, "validation", 1), predictions.shown(tmp_path, "validation", 1)
    assert "features" not in whole and whole["index"].tolist() == list(range(11))
    np.testing.assert_array_equal(whole["labels"], np.arange(11) % 3)
    np.testing.assert_allclose(shown["features"] @ shown["kernel"] + shown["bias"], whole["logits"][shown["index"]],
                               atol=1e-4)
    records = study_records.read(tmp_path)
    for split in ("train", "validation"):
        assert len(study_records.select(records, study="projection", quantity="spread ratio", split=split,
                                  classes=["cat", "dog", "emu"])) >= 2
    assert not study_records.select(records, study="projection", split="validation", classes="all triples")
    assert study_records.select(records, study="representation", quantity="class separation", split="train")
    assert {record.extra["step"] for record in study_records.select(records, study="information")} == {0, 3, 6}
    assert study_records.select(records, study="calibration", quantity="ece",
                                split="validation")[0].extra["examples"] == 11
    logged = [row for row in log.read_metrics(tmp_path) if row["split"] == "validation" and row["member"] == 1][-1]
    assert np.mean(whole["logits"].argmax(1) == whole["labels"]) == pytest.approx(logged["accuracy"], abs=1e-6)
    before = (tmp_path / "report.html").read_text()
    assert before.count("data:image/jpeg;base64") == 2  # the explorer's pictures, of both splits
    report.write(tmp_path)
    # the session, which goes on while the page is written
    changing = r"<dt>time</dt>\s*<dd>.*?</dd>|<details>.*?</details>"
    timeless = lambda page: re.sub(changing, "", page, flags=re.DOTALL)
    assert timeless((tmp_path / "report.html").read_text()) == timeless(before) != before


def test_classes_without_held_out_examples_are_shown_where_there_are_some(config, photos, tmp_path):
    """As of ImageNet's validation split in miniature; and a damaged picture is counted."""
    config.projection.classes = (("cat", "dog", "emu"),)
    only = tmp_path / "data"
    write_build(only, {"train": ([*(encode(smooth(30, 30, seed=k)) for k in (0, 1, 2)), b"no JPEG"], [0, 1, 2, 2]),
                       "validation": ([encode(smooth(40, 30))], [0])}, shape=(None, None, 3), encode=bytes)
    config.data.update(dir=str(only), train_examples=4, damaged=0.25)
    config.batch_size = 2
    experiment.run(config, tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    damaged, = study_records.select(study_records.read(tmp_path / "run"), quantity="damaged pictures")
    assert (damaged.split, damaged.mean) == ("train", 1) and "1 training pictures, shown as grey" in page
    assert (tmp_path / "run" / "figures" / "projection.png").exists() and page.count("data:image/jpeg;base64") == 2


def test_killed_and_resumed_is_bit_equal(photos, tmp_path):
    options = ("--mode=train", "--config.steps=150", "--config.checkpoint.every=7", "--config.log.every=10",
               "--config.evaluate.every=60")
    finish(start(photos, tmp_path / "whole", *options))
    process = start(photos, tmp_path / "killed", *options)
    wait_for_step(tmp_path / "killed", 30)
    process.kill()
    process.wait()
    finish(start(photos, tmp_path / "killed", *options))
    assert same_states(tmp_path / "killed", tmp_path / "whole")
    assert log.read_metrics(tmp_path / "killed") == log.read_metrics(tmp_path / "whole")


def test_two_processes_read_their_rows_and_give_what_one_does(photos, tmp_path):
    finish(start(photos, tmp_path / "one", counting=tmp_path / "reads"))
    port = 20_000 + (os.getpid() + 13) % 20_000
    workers = [start(photos, tmp_path / "two", f"--coordinator=localhost:{port}", "--processes=2", f"--process={i}",
                     "--config.mesh.data=4", counting=tmp_path / f"reads{i}", devices=2) for i in range(2)]
    for worker in workers:
        finish(worker)
    assert_rows_close(tmp_path / "two", tmp_path / "one")
    for split, folder in itertools.product(SIZES, (predictions.ALL, predictions.SHOWN)):
        one, two = (np.load(predictions.file(tmp_path / run, split, 1, folder)) for run in ("one", "two"))
        for name in ("index", "labels"):
            np.testing.assert_array_equal(two[name], one[name])
        np.testing.assert_allclose(two["logits"], one["logits"], atol=2e-3)
    alone, *of_process = [json.loads((tmp_path / name).read_text()) for name in ("reads", "reads0", "reads1")]
    for i, reads in enumerate(of_process):
        # the first of a split is looked at for its label
        read = [id for split, ids in reads if split == "train" for id in ids][1:]
        for step in range(6):
            own = sorted(set(order.ids(27, 8, 0, step)[4 * i:4 * i + 4].tolist()))
            assert sorted(read[:len(own)]) == own
            read = read[len(own):]
        assert sum(len(ids) for _, ids in reads) < 0.7 * sum(len(ids) for _, ids in alone)


def test_a_teacher_sees_its_students_crops(config, tmp_path):
    config.data.augment = "none"  # crops alone
    teacher = config.copy_and_resolve_references()
    config.sweep.alpha = (0.0,)
    config.distill = configs.distillation(dict(net=teacher), dict(
        alone=dict(), taught=dict(teacher="net", teacher_alpha=(0.0, 0.1), temperature=(2.0,))))
    experiment.run(config, tmp_path)
    assert len(study_records.select(study_records.read(tmp_path), study="distillation", quantity="equivalent smoothing",
                              split="train")) == 2
    dataset = data.load(config.data)
    run = loop.setup(config, dataset)
    teaching = teachers.load(config, dataset, run.layout, tmp_path)
    arrays = memory.place(dataset.splits["train"], run.layout.mesh)
    _, given = next(loop.batches(run, arrays, 3))
    answers = teaching.online(run.hypers(), given, arrays, 3)
    of_teacher = loop.setup(teacher, dataset)
    state = checkpoint.Checkpoints(tmp_path / "teachers" / "net").restore_latest(of_teacher.abstract_state())[1]
    batch = jax.tree.map(lambda x: x[0, 0], given[2])
    crops = stream.Rows(dataset.splits["train"], np.asarray(batch.ids)[None, None], np.array([0]), 3)
    np.testing.assert_array_equal(batch.inputs, crops[0, 0])
    expected = of_teacher.step.predict(sweep.take(state, 1), batch).logits
    np.testing.assert_allclose(answers[2][0, 0], expected, atol=1e-5)
    assert not np.any(answers[0])
