"""Students with their teachers: on any mesh, augmented or not, from a run or a file; stopped and resumed; and what is
refused."""
import dataclasses
import json
import shutil
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax import data
from ls_jax.data import memory, order
from ls_jax.devices import mesh
from ls_jax.devices.layout import Layout, over_mesh
from ls_jax.errors import UserError
from ls_jax.modes import experiment
from ls_jax.studies.common.records import read, select
from ls_jax.training import loop, students, sweep, teachers
from ls_jax.workdir import checkpoint, log
from tests.runs import ROOT, environment, finish, same_states, wait_for_step

COMMAND = [sys.executable, "-m", "ls_jax.main", "--config=configs/digits_distill.py:smoke", "--mode=train",
           "--config.steps=200",
           "--config.checkpoint.every=7", "--config.distill.teachers.mlp.steps=200",
           "--config.distill.teachers.mlp.checkpoint.every=7",
           "--config.distill.teachers.mlp.sweep.alpha=(0.0,0.3)", "--config.distill.students.baseline.alpha=(0.0,)",
           "--config.data.augment=shift"]  # so that the teachers are asked


def start(workdir):
    return subprocess.Popen([*COMMAND, f"--workdir={workdir}"], cwd=ROOT, env=environment(), stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def a_config(tiny, teacher, **settings):
    """Two students alone and four with a teacher, over seeds 0 and 1."""
    config = tiny.copy_and_resolve_references()
    config.sweep.alpha, config.sweep.seed = (0.0,), (0, 1)
    config.model.hidden = (8,)
    config.distill = configs.distillation(dict(net=teacher), dict(
        alone=dict(alpha=(0.2,)), taught=dict(teacher="net", teacher_alpha=(0.0, 0.1), temperature=(4.0,))), **settings)
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir of a teacher's sweep, trained for a few steps with augmentation."""
    tiny = configs.default()
    tiny.steps, tiny.batch_size = 8, 16
    tiny.sweep.seed = (0, 1)
    tiny.model = dict(name="mlp", hidden=(16,), init_std=None)
    tiny.data.augment = "shift"
    tiny.log.update(every=8, writers=())
    workdir = tmp_path_factory.mktemp("teacher")
    experiment.train(tiny, workdir)
    return workdir


def run_steps(config, count=3, member=1, shards=1, **fields):
    """The students' state [M, ...] after a few steps on a mesh, and their run."""
    config = config.copy_and_resolve_references()
    config.update(fields)
    config.mesh.update(member=member, data=shards)
    run = loop.setup(config, data.load(config.data))
    teaching = teachers.load(config, run.dataset, run.layout, None) if config.distill else teachers.Teaching()
    run = dataclasses.replace(run, teaching=teaching)
    step, _ = loop.training_programs(run)
    states = over_mesh(run.step.init, run.layout, (mesh.MEMBER,), mesh.MEMBER)(run.hypers())
    arrays = memory.place(run.dataset.splits["train"], run.layout.mesh)
    for i in range(count):
        ids = loop.place_ids(run.layout, order.block(run.examples, config.batch_size, run.hyper["seed"], i, 1))
        states = step(states, run.hypers(), ids, arrays, teaching.online_logits(run.hypers(), ids, arrays, i))
    return mesh.fetch(run.layout.join(states)), run


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_asked_and_kept_teachers_agree(tiny, trained, monkeypatch):
    """Two ways to the same logits where nothing is augmented; and students without a teacher train as a plain run, bit
    for bit."""
    config = a_config(tiny, str(trained))
    kept, run = run_steps(config)
    assert run.teaching.online is None and run.teaching.precomputed.shape == (4, 1297, 10)
    plain = config.copy_and_resolve_references()
    plain.distill = None
    plain.sweep.alpha = (0.2,)
    alone, _ = run_steps(plain)
    monkeypatch.setattr(students, "online", lambda config: True)
    asked, run = run_steps(config)
    assert run.teaching.online is not None and run.layout.strategy == "unroll"
    assert_close(asked.params, kept.params, atol=1e-6)
    for together in (kept, asked):
        for m in range(2):  # the students "alone", of seeds 0 and 1
            one, other = sweep.take(together, m), sweep.take(alone, m)
            jax.tree.map(np.testing.assert_array_equal, (one.params, one.opt), (other.params, other.opt))
            assert one.sums.agreed == 0 and other.sums.agreed is None
            of_both = (dataclasses.replace(each.sums, agreed=None) for each in (one, other))
            assert_close(*of_both, rtol=1e-6)  # the logged sum's terms may be added in another order


@pytest.mark.parametrize("member, shards", [(2, 2), (3, 1), (1, 4)])
def test_meshes_agree_on_augmented_images(tiny, trained, member, shards):
    tiny.data.augment = "shift"
    config = a_config(tiny, str(trained))
    reference, run = run_steps(config)
    other, _ = run_steps(config, member=member, shards=shards)
    assert_close(other.sums, reference.sums, rtol=1e-5)
    assert_close(other.params, reference.params, atol=2e-6)
    # another teacher
    assert not np.allclose(reference.params["head"]["kernel"][2], reference.params["head"]["kernel"][4])


def test_students_of_one_teacher_pay_for_one_forward_pass(tiny, trained):
    tiny.data.augment = "shift"
    config = a_config(tiny, str(trained))
    config.distill.students.taught.temperature = (1.0, 2.0, 4.0)
    _, run = run_steps(config, count=1)
    calls = []
    ask = run.teaching.online
    ask._programs = {name: lambda *arguments, program=program: calls.append(name) or program(*arguments)
                     for name, program in ask._programs.items()}
    ids = loop.place_ids(run.layout, order.block(run.examples, 16, run.hyper["seed"], 0, 1))
    answers = ask(run.hypers(), ids, memory.place(run.dataset.splits["train"], run.layout.mesh), 0)
    assert len(answers) == run.layout.slots == 14 and len(calls) == len(students.roster(config)) == 4
    # seed 0 at three temperatures; a student alone
    assert answers[2] is answers[4] is answers[6] and not np.any(answers[0])
    two = loop.place_ids(run.layout, order.block(run.examples, 16, run.hyper["seed"], 0, 2))
    both = ask(run.hypers(), two, memory.place(run.dataset.splits["train"], run.layout.mesh), 0)
    np.testing.assert_allclose(both[2][:, 0], answers[2][:, 0], atol=1e-5)  # several steps in one call
    assert not np.allclose(both[2][:, 1], both[2][:, 0])


def test_a_file_of_logits_teaches_as_the_network_that_gave_it(tiny, trained, tmp_path):
    config = a_config(tiny, str(trained))
    config.distill.students.taught.update(teacher_alpha=(0.0,), seed=(0,))
    config.distill.students.alone.seed = (0,)
    by_network, run = run_steps(config)
    np.savez(tmp_path / "logits.npz", logits=np.asarray(run.teaching.precomputed[0]))
    config.distill.teachers.net = f"{tmp_path}/logits.npz"
    by_file, _ = run_steps(config)
    jax.tree.map(np.testing.assert_array_equal, by_file, by_network)


def test_slots_may_mix_students_of_different_networks(tiny, trained, tmp_path):
    """A wide slot asks each network of the slot and takes each member's own."""
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    tiny.data.augment = "shift"
    config = a_config(tiny, str(trained))
    config.distill.teachers = dict(net=str(trained), twin=str(other))
    config.distill.students.twins = dict(teacher="twin", temperature=(4.0,))
    del config.distill.students.alone
    reference, _ = run_steps(config)
    wide, _ = run_steps(config, member=6)
    assert_close(wide.params, reference.params, atol=2e-6)
    assert_close(sweep.take(wide.params, 4), sweep.take(wide.params, 0), atol=1e-6)  # a twin teaches the same


@pytest.mark.parametrize("change, message", [
    (dict(students=dict(a=dict(teacher="net", teacher_alpha=(0.5,)))),
     "teacher 'net' has no member with α=0.5 and seed 0: its sweep has α 0, 0.1"),
    (dict(students=dict(a=dict(teacher="net", seed=(5,)))), "has no member with α=0 and seed 5"),
    (dict(teachers=dict(net="nowhere")), "config.distill.teachers.net='nowhere' holds no config.json"),
    (dict(teachers=dict(net="nowhere.npz")), "net='nowhere.npz' cannot be read: .* it must hold the array logits"),
])
def test_a_missing_teacher_is_named(tiny, trained, tmp_path, change, message):
    config = a_config(tiny, str(trained))
    fields = dict(teachers=dict(net=str(trained)), students=config.distill.students.to_dict()) | change
    config.distill = configs.distillation(**fields)
    with pytest.raises(UserError, match=message):
        experiment.train(config, tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_measure_leaves_the_records_and_run_adds_the_reports(tiny, tmp_path, capsys):
    tiny.sweep.seed = (0, 1)
    config = a_config(tiny, tiny)
    records = experiment.measure(config, tmp_path)
    assert records == read(tmp_path) and select(records, study="distillation")
    assert not list(tmp_path.rglob("report.html")) and "claim" not in capsys.readouterr().out
    experiment.run(config, tmp_path)
    assert read(tmp_path) == records and len(list(tmp_path.rglob("report.html"))) == 2


def test_logits_of_another_shape_are_refused(tiny, tmp_path):
    for shape in ((1297, 7), (1000, 10)):
        np.savez(tmp_path / "logits.npz", logits=np.zeros(shape))
        with pytest.raises(UserError,
                           match=rf"holds logits of shape \[{shape[0]}, {shape[1]}\]: \[1297, 10\] finite ones are "
                                 r"needed"):
            experiment.train(a_config(tiny, f"{tmp_path}/logits.npz"), tmp_path / "run")


def probabilities(dtype):
    made = np.random.default_rng(0).dirichlet(np.ones(10), 1297)
    return made.astype(dtype)


@pytest.mark.parametrize("logits, message", [
    (probabilities(np.float32), "these are probabilities; give the outputs before the softmax"),
    (probabilities(np.float16), "these are probabilities"),
    (np.log(probabilities(float)).astype(complex), "holds logits of dtype complex128: float32 is due"),
    (np.zeros((1297, 10), int), "holds logits of dtype int64"),
    (np.zeros((1297, 10), object), "holds Python objects"),
    (np.where(np.arange(12970).reshape(1297, 10) == 57, np.nan, 0.0),
     r"logits\[5, 7\] is nan: every number must be finite"),
    (np.where(np.arange(12970).reshape(1297, 10) == 57, 1e39, 0.0),
     r"logits\[5, 7\] is 1e\+39: every number must be finite and at most"),
    (np.asarray(1.0), r"holds logits of shape \[\]"),
])
def test_what_are_no_logits_is_refused(tiny, tmp_path, logits, message):
    """As `--mode=analyze` refuses it."""
    np.savez(tmp_path / "logits.npz", logits=logits)
    with pytest.raises(UserError, match=f"config.distill.teachers.net=.*{message}") as error:
        experiment.train(a_config(tiny, f"{tmp_path}/logits.npz"), tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_logits_are_refused(tiny, tmp_path, save):
    file = tmp_path / "logits.npz"
    save(file, logits=np.random.default_rng(0).normal(size=(1297, 10)).astype(np.float32))
    content = bytearray(file.read_bytes())
    content[1000] ^= 0x40
    file.write_bytes(content)
    with pytest.raises(UserError, match="config.distill.teachers.net=.* cannot be read: .*array 'logits' is damaged"):
        experiment.train(a_config(tiny, str(file)), tmp_path / "run")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, ">f4", ">f8"])
def test_logits_of_every_float_type_teach(tiny, tmp_path, dtype):
    logits = np.random.default_rng(0).normal(size=(1297, 10)).astype(dtype)
    np.savez_compressed(tmp_path / "logits.npz", logits=logits)
    dataset = data.load(tiny.data, tmp_path)
    found = teachers._logits("net", f"{tmp_path}/logits.npz", dataset)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, logits.astype(np.float32))


def test_a_network_that_does_not_fit_is_refused(tiny, trained, tmp_path):
    """Of other classes and of other images; and one whose training has not ended, or diverged."""
    config = a_config(tiny, str(trained))
    whole = data.load(config.data)
    layout = Layout(mesh.make(1, 1, 6, 16), 6, "unroll")
    fewer = data.Dataset("digits", whole.class_names[:7], whole.splits)
    with pytest.raises(UserError,
                       match=r"'net' does not fit the students' data, 8x8x1 images of 7 classes: its .*head/bias is "
                             r"\(10,\)"):
        teachers.load(config, fewer, layout, tmp_path)
    cropped = {name: data.Split(split.images[:, :6], split.labels) for name, split in whole.splits.items()}
    unfit = r"6x8x1 images of 10 classes: its .*dense1/kernel is \(64, 16\), and \(48, 16\) is needed"
    with pytest.raises(UserError, match=unfit):
        teachers.load(config, data.Dataset("digits", whole.class_names, cropped), layout, tmp_path)
    longer = tmp_path / "longer"
    shutil.copytree(trained, longer)
    text = json.loads((longer / "config.json").read_text()) | {"steps": 9}
    (longer / "config.json").write_text(json.dumps(text))
    with pytest.raises(UserError, match="teacher 'net' is not trained: .* holds no checkpoint of its last step, 9"):
        teachers.load(a_config(tiny, str(longer)), whole, layout, tmp_path)


def test_a_diverged_teacher_cannot_teach(tiny, trained, tmp_path, monkeypatch):
    load = checkpoint.Checkpoints.load
    monkeypatch.setattr(checkpoint.Checkpoints, "load", lambda *arguments: (
        lambda step, state, more: (step, state | {"diverged": np.array([-1, 3, -1, -1])}, more))(*load(*arguments)))
    config = a_config(tiny, str(trained))
    run = loop.setup(config, data.load(config.data))
    with pytest.raises(UserError, match="teacher 'net' with α=0, seed 1 diverged at step 3 and cannot teach"):
        teachers.load(config, run.dataset, run.layout, tmp_path)


def test_both_stages_resume_after_kill(tmp_path):
    """Kill -9 while the teachers train, and while the students do: the third start ends as a run that was never
    killed."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for workdir in (killed / "teachers" / "mlp", killed):
        process = start(killed)
        wait_for_step(workdir, 30, seconds=400)  # of the students' the teachers' studies come first
        process.kill()
        process.wait()
    output = finish(start(killed), seconds=600)
    assert "teacher mlp" not in output  # it was trained already
    finish(start(whole), seconds=600)
    assert same_states(killed, whole) and same_states(killed / "teachers" / "mlp", whole / "teachers" / "mlp")
    assert log.read_metrics(killed) == log.read_metrics(whole)
    rows = log.read_metrics(killed)
    assert {row["student"] for row in rows} == {"baseline", "distilled", "control"}
    outcomes = [session["outcome"] for session in json.loads((killed / "manifest.json").read_text())["sessions"]]
    assert outcomes == ["killed", "finished"]
