"""Checkpoints: what is saved comes back on any mesh, and nothing else ever passes for it."""
import dataclasses
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ls_jax.errors import UserError
from ls_jax.workdir import checkpoint_format
from ls_jax.workdir.checkpoint import Checkpoints, load_member

pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'Store._get:RuntimeWarning")  # as `quiet.Quiet`
MEMBERS = 4
ROOT = pathlib.Path(__file__).parents[2]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Everything:
    """A state with every kind of leaf and of container."""
    step: Any
    params: Any
    stats: Any
    opt: Any


def everything(seed: int = 0) -> Everything:
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.normal(size=(MEMBERS, *shape)).astype(np.float32)
    params = {"layers": {0: {"kernel": normal(6, 8)}, 1: {"kernel": normal(8, 2)}}, "head": {"bias": normal()}}
    return Everything(
        step=np.arange(MEMBERS, dtype=np.int32), params=params, stats={},
        opt=({"trace": jnp.asarray(normal(5), jnp.bfloat16)}, (), None,
             (rng.integers(0, 2**32, (MEMBERS, 3), np.uint32), rng.random((MEMBERS, 7)) < 0.5, normal(0))))


def mesh(member: int, data: int) -> Mesh:
    return Mesh(np.asarray(jax.devices()[:member * data]).reshape(member, data), ("member", "data"),
                axis_types=(AxisType.Auto,) * 2)


def on(state: Any, member: int, data: int, spec: P | None = None) -> Any:
    return jax.device_put(state, NamedSharding(mesh(member, data), P("member") if spec is None else spec))


def abstract(state: Any, sharding: Any = None) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding), state)


def assert_same(actual: Any, expected: Any) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, Any]:
    """A run with checkpoints 10 and 20, and the state of each."""
    workdir = tmp_path_factory.mktemp("two")
    states = {step: on(everything(step), 2, 2) for step in (10, 20)}
    with Checkpoints(workdir) as checkpoints:
        for step, state in states.items():
            checkpoints.save(step, state, {"name": f"at {step}", "betas": (0.9, 0.999)})
    return workdir, states


@pytest.fixture
def run(two: tuple[pathlib.Path, Any], tmp_path: pathlib.Path) -> tuple[pathlib.Path, Any]:
    """A copy of it to be damaged."""
    shutil.copytree(two[0], tmp_path / "run")
    return tmp_path / "run", two[1]


@pytest.mark.parametrize("member, data", [(1, 1), (4, 1), (2, 2), (1, 4)])
def test_restores_on_any_mesh(two: Any, member: int, data: int) -> None:
    workdir, states = two
    sharding = NamedSharding(mesh(member, data), P("member"))
    step, state, metadata = Checkpoints(workdir).restore_latest(abstract(states[20], sharding))
    assert step == 20 and metadata == {"name": "at 20", "betas": [0.9, 0.999]}
    assert_same(state, everything(20))
    assert all(x.sharding == sharding for x in jax.tree.leaves(state))


def test_saves_from_any_sharding(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(MEMBERS, 8)).astype(np.float32)
    specs = {"both": P("member", "data"), "swapped": P("data", "member"), "data": P(None, "data"), "none": P()}
    state = {name: on(x, 2, 2, spec) for name, spec in specs.items()}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
    _, loaded, metadata = Checkpoints(tmp_path).load()
    assert_same(loaded, {name: x for name in specs})
    assert metadata == {}


def test_loads_without_a_mesh(two: Any) -> None:
    step, state, metadata = Checkpoints(two[0]).load()
    assert step == 20 and metadata["name"] == "at 20"
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(state))
    expected = everything(20)
    assert_same(state["params"], expected.params)
    assert_same(state["opt"][0], expected.opt[0])  # places in a tuple are keys, and what has no leaves is left out
    assert_same(state["opt"][3], dict(enumerate(expected.opt[3])))
    assert set(state) == {"step", "params", "opt"}
    assert Checkpoints(two[0]).load(10)[2]["name"] == "at 10"


def test_loads_one_member(two: Any) -> None:
    for member in range(MEMBERS):
        state = load_member(two[0], member, step=10)
        assert_same(state["params"], jax.tree.map(lambda x, member=member: x[member], everything(10).params))
        assert state["step"] == member
    with pytest.raises(UserError, match="no member 4 .* 0 to 3"):
        load_member(two[0], MEMBERS)


def test_no_checkpoint(tmp_path: pathlib.Path, two: Any) -> None:
    assert Checkpoints(tmp_path).steps() == []
    assert Checkpoints(tmp_path).restore_latest({}) is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="no checkpoint in .*train first"):
        Checkpoints(tmp_path).load()
    with pytest.raises(UserError, match="no checkpoint of step 15"):
        Checkpoints(two[0]).load(15)


def test_state_may_be_donated_after_save(tmp_path: pathlib.Path) -> None:
    step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    state = {"w": on(np.zeros((MEMBERS, 200_000), np.float32), 2, 2)}
    with Checkpoints(tmp_path, keep=5) as checkpoints:
        for i in range(5):
            checkpoints.save(i, state)
            state = step(state)
    for i in range(5):
        np.testing.assert_array_equal(Checkpoints(tmp_path).load(i)[1]["w"], np.full((MEMBERS, 200_000), i, np.float32))


def test_keeps_the_latest_and_every_nth(tmp_path: pathlib.Path) -> None:
    state = {"w": jnp.ones((MEMBERS, 2))}
    with Checkpoints(tmp_path, keep=2, keep_every=20) as checkpoints:
        for step in range(10, 80, 10):
            checkpoints.save(step, state)
        checkpoints.save(70, state)  # a second time: nothing to do
    assert checkpoints.steps() == [20, 40, 60, 70]


def flip_a_bit(path: pathlib.Path) -> None:
    file = max((path / "state" / "d").iterdir(), key=lambda file: file.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def truncate(path: pathlib.Path) -> None:
    file = max((path / "state" / "d").iterdir(), key=lambda file: file.stat().st_size)
    os.truncate(file, file.stat().st_size // 2)


def edit_metadata(path: pathlib.Path, **changes: Any) -> None:
    file = path / "metadata" / "metadata"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def write_metadata(path: pathlib.Path, content: bytes) -> None:
    (path / "metadata" / "metadata").write_bytes(content)


def swap_arrays(path: pathlib.Path) -> None:
    """Arrays that read well and are those of another step: only our checksum can tell."""
    shutil.rmtree(path / "state")
    shutil.copytree(path.parent / "10" / "state", path / "state")


DAMAGES = {
    "a flipped bit": (flip_a_bit, "arrays cannot be read|checksum of .* differs"),
    "truncated": (truncate, "arrays cannot be read"),
    "other arrays": (swap_arrays, "the checksum of .* differs"),
    "half written": (lambda path: shutil.rmtree(path / "metadata"), "metadata cannot be read"),
    "empty": (lambda path: [shutil.rmtree(path), path.mkdir()], "metadata cannot be read"),
    "another format": (lambda path: edit_metadata(path, format=99), "it has format 99, and .* reads format 1"),
    "altered metadata": (lambda path: edit_metadata(path, metadata={"name": "other"}), "metadata was altered"),
    "nested deeper than Python reads": (lambda path: write_metadata(path, b"[" * 100_000 + b"]" * 100_000),
                                        "metadata cannot be read: Rec"),
    "a format nested as deep as it reads": (lambda path: write_metadata(path,
                                                                        b'{"format":' + b"[" * 400 + b"]" * 400 + b"}"),
                                            r"it has format \[\[.{0,40}\]\], and"),
    "a number of 5,000 digits": (lambda path: write_metadata(path, b'{"format":' + b"9" * 5000 + b"}"),
                                 "metadata cannot be read: ValueE"),
    "not UTF-8": (lambda path: write_metadata(path, b'{"format": "\xe9"}'), "metadata cannot be read: Unicode"),
    "not JSON": (lambda path: (path / "metadata" / "metadata").write_bytes(b"\xff{"), "metadata cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_falls_back_to_the_last_good_one(run: Any, capfd: pytest.CaptureFixture, name: str) -> None:
    workdir, states = run
    damage, reason = DAMAGES[name]
    damage(workdir / "checkpoints" / "20")
    checkpoints = Checkpoints(workdir, keep=1)
    step, state, metadata = checkpoints.restore_latest(abstract(states[20]))
    assert step == 10 and metadata["name"] == "at 10"
    assert_same(state, states[10])
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("checkpoint 20 in ")
    assert re.search(reason, told[0]), told[0]
    assert (workdir / "checkpoints" / "20.damaged").is_dir()
    with checkpoints:
        checkpoints.save(20, states[20], {})
    assert checkpoints.steps() == [20]
    assert_same(checkpoints.restore_latest(abstract(states[20]))[1], states[20])


def test_a_step_that_is_damaged_again(run: Any) -> None:
    workdir, states = run
    held = workdir / "checkpoints"
    for damage in (truncate, flip_a_bit, swap_arrays):
        damage(held / "20")
        with Checkpoints(workdir) as checkpoints:
            assert checkpoints.restore_latest(abstract(states[20]))[0] == 10
            checkpoints.save(20, states[20])
        assert checkpoints.steps() == [10, 20]
    assert sorted(path.name for path in held.glob("*.damaged*")) == ["20.damaged", "20.damaged-2", "20.damaged-3"]
    assert_same(Checkpoints(workdir).restore_latest(abstract(states[20]))[1], states[20])


def test_an_array_of_another_shape_is_damage(tmp_path: pathlib.Path) -> None:
    """Its bytes, and so its checksum, may be the same."""
    for step, shape in ((10, (4, 6)), (20, (6, 4))):
        with Checkpoints(tmp_path / str(step)) as checkpoints:
            checkpoints.save(20, on({"x": np.arange(24, dtype=np.float32).reshape(shape)}, 1, 1, P()))
    ours, theirs = (tmp_path / name / "checkpoints" / "20" / "state" for name in ("20", "10"))
    shutil.rmtree(ours)
    shutil.copytree(theirs, ours)
    with pytest.raises(checkpoint_format.Damaged, match=r"x is float32\[4, 6\], and float32\[6, 4\] was written"):
        checkpoint_format.load(ours.parent)


def test_load_falls_back_and_leaves_the_directory_alone(run: Any, capfd: pytest.CaptureFixture) -> None:
    swap_arrays(run[0] / "checkpoints" / "20")
    assert Checkpoints(run[0]).load()[0] == 10
    assert "checkpoint 20" in capfd.readouterr().err
    assert Checkpoints(run[0]).steps() == [10, 20]
    with pytest.raises(UserError, match="no good checkpoint"):
        Checkpoints(run[0]).load(20)


def test_none_good(run: Any) -> None:
    for step in (10, 20):
        truncate(run[0] / "checkpoints" / str(step))
    with pytest.raises(UserError, match="no good checkpoint in .*remove it to start over") as error:
        Checkpoints(run[0]).restore_latest(abstract(run[1][20]))
    assert "\n" not in str(error.value)
    assert Checkpoints(run[0]).steps() == [10, 20]


def test_a_temporary_directory_is_no_checkpoint(run: Any) -> None:
    """What a run that is killed while it saves leaves behind."""
    workdir, states = run
    left = workdir / "checkpoints" / "25.orbax-checkpoint-tmp"
    shutil.copytree(workdir / "checkpoints" / "20", left)
    with Checkpoints(workdir) as checkpoints:
        assert checkpoints.restore_latest(abstract(states[20]))[0] == 20
        checkpoints.save(30, states[20])
    assert not left.exists() and checkpoints.steps() == [10, 20, 30]


@pytest.mark.parametrize("change, message", [
    (lambda s: dataclasses.replace(s, step=s.step[:2]), r"step is int32\[4\] there and int32\[2\] here"),
    (lambda s: dataclasses.replace(s, step=s.step.astype(np.float32)),
     r"step is int32\[4\] there and float32\[4\] here"),
    (lambda s: dataclasses.replace(s, stats={"mean": s.step}), r"stats/mean is absent there and int32\[4\] here"),
    (lambda s: dataclasses.replace(s, step=None), r"step is int32\[4\] there and absent here"),
    (lambda s: dataclasses.replace(s, params=s.params | {"head": {"bias": np.ones((4, 3), np.float32)}}),
     r"params/head/bias is float32\[4\] there and float32\[4, 3\] here"),
])
def test_another_model_is_told_apart(two: Any, change: Any, message: str) -> None:
    target = abstract(change(everything(20)), NamedSharding(mesh(2, 2), P()))
    with pytest.raises(UserError, match=message) as error:
        Checkpoints(two[0]).restore_latest(target)
    assert "\n" not in str(error.value)
    assert Checkpoints(two[0]).steps() == [10, 20]


def test_checksum_is_the_same_for_every_sharding_and_in_numpy() -> None:
    state = everything(3)
    expected = [checkpoint_format.checksum_on_host(np.asarray(x)) for x in jax.tree.leaves(state)]
    assert len(set(expected)) == len(expected)
    for sharded in (on(state, 1, 1), on(state, 4, 2), on(state, 2, 4, P()), on(state, 2, 2, P("data"))):
        assert [int(jax.jit(checkpoint_format.checksum)(x)) for x in jax.tree.leaves(sharded)] == expected
    sharded = on(np.ones((8, 8), np.float32), 4, 2, P("member", "data"))
    program = jax.jit(checkpoint_format.checksum).lower(sharded).compile().as_text()
    assert "all-reduce" in program and "all-gather" not in program and "all-to-all" not in program


def test_checksum_by_the_definition() -> None:
    """Against Python integers: the sum of MurmurHash3's finalizer over bits xor index times the golden ratio."""
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    total = 0
    for index, word in enumerate(x.ravel().view(np.uint32).tolist()):
        word ^= index * 0x9E3779B9 % 2**32
        word = (word ^ word >> 16) * 0x85EBCA6B % 2**32
        word = (word ^ word >> 13) * 0xC2B2AE35 % 2**32
        total += word ^ word >> 16
    assert int(checkpoint_format.checksum(jnp.asarray(x))) == checkpoint_format.checksum_on_host(x) == total % 2**32


def test_checksum_of_several_blocks_and_small_words(monkeypatch) -> None:
    monkeypatch.setattr(checkpoint_format, "BLOCK", 7)
    rng = np.random.default_rng(0)
    for x in (rng.normal(size=(5, 6, 7)), rng.normal(size=(7, 14)).T, rng.normal(size=50) > 0, rng.normal(size=())):
        for dtype in (bool,) if x.dtype == bool else (np.float32, jnp.bfloat16, np.int8):
            x = x.astype(dtype)
            assert checkpoint_format.checksum_on_host(x) == int(checkpoint_format.checksum(jnp.asarray(x)))


def test_checksum_sees_each_bit_and_place() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2**32, (4, 6), np.uint32)
    others = [x ^ (np.arange(24).reshape(4, 6) == place).astype(np.uint32) * np.uint32(1 << bit)
              for place in (0, 7, 23) for bit in range(32)]
    others += [x[::-1], x[:, ::-1], np.roll(x, 1), np.where(x == x[0, 0], x[1, 1], np.where(x == x[1, 1], x[0, 0], x))]
    sums = [checkpoint_format.checksum_on_host(other) for other in [x, *others]]
    assert len(set(sums)) == len(sums)
    signed = np.array([1.0, -1.0], np.float32)  # they differ in the highest bit alone, which a weighted sum can miss
    assert checkpoint_format.checksum_on_host(signed) != checkpoint_format.checksum_on_host(signed[::-1])


SAVE_UNDER_A_LIMIT = """
import os, resource, signal, sys
import jax.numpy as jnp, numpy as np
from ls_jax.workdir.checkpoint import Checkpoints
from ls_jax.errors import UserError
from ls_jax.workdir.quiet import Quiet

Quiet().__enter__()  # until the process ends
state = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(4, 50_000)), jnp.float32)}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
try:
    with Checkpoints(sys.argv[1], keep=1) as checkpoints:
        checkpoints.save(10, state)
        checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        checkpoints.save(20, state)
        if limit == resource.RLIM_INFINITY:
            os._exit(0)
        checkpoints.wait()
except UserError as error:
    sys.exit(str(error))
"""


def start(program: str, *arguments: Any, devices: int = 1) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "",
                                "JAX_NUM_CPU_DEVICES": str(devices), "JAX_ENABLE_COMPILATION_CACHE": "0"}
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_full_disk_or_a_kill_while_saving(tmp_path: pathlib.Path) -> None:
    limits = {"full": 100_000, "killed": -1}  # bytes that a file may have
    processes = {name: start(SAVE_UNDER_A_LIMIT, tmp_path / name, limit) for name, limit in limits.items()}
    state = {"w": np.random.default_rng(0).normal(size=(4, 50_000)).astype(np.float32)}
    for name, process in processes.items():
        output, errors = process.communicate(timeout=120)
        directory = tmp_path / name / "checkpoints"
        full = (f"cannot write checkpoint 20 in {directory}: File too large; make room or choose another --workdir, "
                "and run "
                "again, to resume from step 10\n")
        assert (output, errors, process.returncode) == (("", "", 0) if name == "killed" else ("", full, 1))
        with Checkpoints(tmp_path / name, keep=1) as checkpoints:
            step, restored, _ = checkpoints.restore_latest(abstract(state, NamedSharding(mesh(4, 2), P("member"))))
            assert step == 10 or (name == "killed" and step == 20)
            assert_same(restored, state)
            checkpoints.save(20, restored)
        assert [path.name for path in directory.iterdir()] == ["20"]


TWO_PROCESSES = """
import sys
import jax
process, port, workdir = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.distributed.initialize(f"localhost:{port}", 2, process, initialization_timeout=60, heartbeat_timeout_seconds=60,
                           shutdown_timeout_seconds=60)
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from ls_jax.workdir import checkpoint_format
from ls_jax.workdir.checkpoint import Checkpoints

mesh = Mesh(np.asarray(jax.devices()).reshape(2, 2), ("member", "data"), axis_types=(AxisType.Auto,) * 2)
w = np.arange(48, dtype=np.float32).reshape(4, 2, 6)
put = lambda x, spec: jax.make_array_from_callback(x.shape, NamedSharding(mesh, spec), lambda index: x[index])
state = {"member": put(w, P("member")), "both": put(w, P("member", "data")), "all": put(w, P()),
         "empty": put(w[:, :0], P())}
with Checkpoints(workdir) as checkpoints:
    for step in (1, 2, 3):
        checkpoints.save(step, state, {"step": step})
multihost_utils.sync_global_devices("saved")
read = checkpoint_format._read
def fail(path, targets):
    if path.name == "3":
        raise checkpoint_format.Damaged("as if")
    return read(path, targets)
if process == 1:
    checkpoint_format._read = fail
sharding = NamedSharding(mesh, P("data"))
abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)
step, restored, metadata = checkpoints.restore_latest(abstract)
assert step == 2 and metadata == {"step": 2}, (step, metadata)
for name in ("member", "both", "all"):
    for shard in restored[name].addressable_shards:
        np.testing.assert_array_equal(np.asarray(shard.data), w[shard.index])
print("restored", checkpoints.steps())
"""


def test_two_processes_save_and_one_restores(tmp_path: pathlib.Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [start(TWO_PROCESSES, process, port, tmp_path, devices=2) for process in (0, 1)]
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert all("restored [1, 2]" in output for output, _ in results)
    assert "is not used: another process cannot read it" in results[0][1] and "is not used" not in results[1][1]
    w = np.arange(48, dtype=np.float32).reshape(4, 2, 6)
    target = jax.ShapeDtypeStruct(w.shape, w.dtype, sharding=NamedSharding(mesh(4, 2), P("member", "data")))
    empty = jax.ShapeDtypeStruct((4, 0, 6), w.dtype, sharding=target.sharding)
    step, state, _ = Checkpoints(tmp_path).restore_latest({"member": target, "both": target, "all": target,
                                                           "empty": empty})
    assert step == 2
    assert_same(state, {"member": w, "both": w, "all": w, "empty": w[:, :0]})
