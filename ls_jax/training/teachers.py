"""The teachers of a distillation. They are trained as runs of their own, then read, checked and used for their logits.

If students see images without augmentation, every teacher's logits of the training split are precomputed or read from a
file, and stay on the devices. If students see augmented images, teachers are online: at every step each distinct
teacher has one forward pass, however many students it has.
"""
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ls_jax import checked
from ls_jax.data import Dataset, memory, order
from ls_jax.data.pictures import augment
from ls_jax.devices import mesh
from ls_jax.devices.layout import Layout, over_mesh
from ls_jax.errors import InvalidArray, UserError
from ls_jax.training import students, sweep
from ls_jax.training.state import Hyper
from ls_jax.training.step import Forward, build_network, build_teacher
from ls_jax.workdir import checkpoint, files, npz_map, predictions
from ls_jax.workdir.checkpoint_format import flatten


class Teaching(NamedTuple):
    """The teachers' logits for training; both fields are None without teachers.

    Attributes:
        precomputed: of the whole training split, on every device.
        online: (hypers, given, arrays, step) -> logits [width, steps, batch, classes] as slots.
    """
    precomputed: Float[Array, "teachers examples classes"] | None = None
    online: Callable[[list[Hyper], list[Any], Any, int], list[Array]] | None = None

    def online_logits(self, hypers: list[Hyper], given: list[Any], arrays: Any, step: int) -> list[Array] | None:
        """The online teachers' logits [width, steps, batch, classes] as slots for the steps from `step` on, or None."""
        return self.online(hypers, given, arrays, step) if self.online else None


class TeacherSweep(NamedTuple):
    """The trained sweep of one entry of `config.distill.teachers`.

    Attributes:
        forward: see `step.build_teacher`.
        weights: (params, stats) as NumPy arrays [members, ...].
        members: the index of each teacher in the sweep.
    """
    forward: Forward
    weights: Any
    members: dict[students.Teacher, int]


def workdir(of_students: pathlib.Path | None, name: str, source: Any) -> pathlib.Path:
    """The workdir of a teacher's run: the given one, or a folder in the students' workdir."""
    return pathlib.Path(source) if isinstance(source, str) else pathlib.Path(of_students) / "teachers" / name


def config_of(name: str, source: Any) -> ml_collections.ConfigDict:
    """The config of a teacher's run.

    Raises:
        UserError: the given workdir holds none.
    """
    if not isinstance(source, str):
        return source
    path = pathlib.Path(source) / "config.json"
    if not path.exists():
        raise UserError(f"config.distill.teachers.{name}={source!r} holds no config.json: name the workdir of a run, "
                        "or FILE.npz")
    return ml_collections.ConfigDict(files.read_whole_config(path))


def check(config: ml_collections.ConfigDict, dataset: Dataset) -> None:
    """Refuse wrong teachers before they are trained.

    Raises:
        UserError: a file or member is missing, or a teacher learns from other data.
    """
    for name in dict.fromkeys(teacher.name for teacher in students.roster(config)):
        source = config.distill.teachers[name]
        if students.is_file(source):
            _logits(name, source, dataset)
        else:
            teacher = config_of(name, source)
            _members(config, name, teacher)
            for field in ("name", "holdout"):
                if teacher.data[field] != config.data[field]:
                    raise UserError(f"teacher {name!r} learns with data.{field}={teacher.data[field]!r} and the "
                                    f"students with {config.data[field]!r}: it must not have seen what they are tested "
                                    "on")


def load(config: ml_collections.ConfigDict, dataset: Dataset, layout: Layout,
         of_students: pathlib.Path | None) -> Teaching:
    """The trained teachers, with precomputed logits or weights on the devices.

    Raises:
        UserError: a teacher is not trained, does not fit the students' images or classes, or has diverged.
    """
    roster = students.roster(config)
    if not roster:
        return Teaching()
    names = dict.fromkeys(teacher.name for teacher in roster)
    trained = {name: _read(config, dataset, name, of_students) for name in names
               if not students.is_file(config.distill.teachers[name])}
    if students.online(config):
        return Teaching(online=_Online(config, layout, roster, trained, len(dataset.class_names)))
    of_files = {name: _logits(name, config.distill.teachers[name], dataset) for name in names if name not in trained}
    precomputed = np.stack([
        of_files[teacher.name] if teacher.name in of_files else
        logits_of(trained[teacher.name], teacher, dataset, config.evaluate.batch_size) for teacher in roster])
    return Teaching(precomputed=mesh.put(layout.mesh, mesh.SHARED, precomputed))


def logits_of(trained: TeacherSweep, teacher: students.Teacher, dataset: Dataset,
              batch_size: int) -> Float[np.ndarray, "examples classes"]:
    """A teacher's logits of the training images without augmentation. Each process computes all of them."""
    split = dataset.splits["train"]
    arrays = jnp.asarray(split.inputs), jnp.asarray(split.labels)
    weights = jax.tree.map(lambda x: jnp.asarray(x[trained.members[teacher]]), trained.weights)

    @jax.jit
    def forward(weights, ids, arrays):
        return trained.forward(weights, jnp.int32(0), jnp.int32(0), memory.gather(arrays, ids))

    parts = [forward(weights, ids, arrays)[:mask.sum()] for ids, mask in order.padded(len(split), batch_size)]
    return np.concatenate(jax.device_get(parts))


def predicted(config: ml_collections.ConfigDict, dataset: Dataset,
              of_students: pathlib.Path) -> Iterator[students.Taught]:
    """Every teacher's predictions on the training split and on the held-out splits.

    Held-out predictions are those saved by the teacher's run. The training split is predicted as a whole if logits are
    precomputed; with online teachers, its predictions are the saved ones too.
    """
    trained = {}
    for teacher in students.roster(config):
        source = config.distill.teachers[teacher.name]
        if students.is_file(source):
            logits = _logits(teacher.name, source, dataset)
            yield students.Taught(teacher, "train", logits, dataset.splits["train"].labels)
            continue
        if teacher.name not in trained:
            trained[teacher.name] = _read(config, dataset, teacher.name, of_students)
        own, where = trained[teacher.name], workdir(of_students, teacher.name, source)
        for split in ("train", "validation", "test"):
            if split == "train" and not students.online(config):
                logits = logits_of(own, teacher, dataset, config.evaluate.batch_size)
                yield students.Taught(teacher, split, logits, dataset.splits["train"].labels)
            elif predictions.file(where, split, own.members[teacher]).exists():
                arrays = predictions.load(where, split, own.members[teacher])
                yield students.Taught(teacher, split, arrays["logits"], arrays["labels"])


class _Online:
    """The online teachers' logits of the batches of every slot of students; see `Teaching.online`.

    The students' programs run slot by slot. So slots with the same teachers share one forward pass. Its result goes to
    their programs as an argument and does not leave the devices.
    """

    def __init__(self, config, layout, roster, trained, classes):
        self._layout, self._roster, self._trained, self._classes = layout, roster, trained, classes
        taught = sweep.grid(config)["teacher"]
        self._keys = [tuple(int(teacher) for teacher in taught[slot]) for slot in layout.member_ids()]
        specs = (mesh.MEMBER, mesh.MEMBER, mesh.STEPS, mesh.SHARED, mesh.SHARED)
        self._programs = {
            name: over_mesh(functools.partial(_of_steps, own.forward), layout, specs, mesh.STEPS).one_slot
            for name, own in trained.items()}
        self._weights = {(key, name): self._place(key, name)
                         for key in dict.fromkeys(self._keys) for name in self._names(key)}

    def __call__(self, hypers, given, arrays, step):
        step, logits = mesh.put(self._layout.mesh, mesh.SHARED, np.int32(step)), {}
        for slot, key in enumerate(self._keys):
            if key not in logits:
                logits[key] = self._logits(key, hypers[slot], given[slot], arrays, step)
        return [logits[key] for key in self._keys]

    def _names(self, key):
        return list(dict.fromkeys(self._roster[teacher].name for teacher in key if teacher >= 0))

    def _place(self, key, name):
        """The weights of a slot's teachers on the devices; member 0 stands in for students without one."""
        own = self._trained[name]
        members = [own.members.get(self._roster[teacher], 0) if teacher >= 0 else 0 for teacher in key]
        return mesh.put(self._layout.mesh, mesh.MEMBER, jax.tree.map(lambda x: x[members], own.weights))

    def _logits(self, key, hyper, given, arrays, step):
        names = self._names(key)
        logits = [self._programs[name](self._weights[key, name], hyper, given, arrays, step) for name in names]
        if not logits:
            return self._zeros(memory.ids(given).shape)
        if len(logits) == 1:
            return logits[0]
        own = (names.index(self._roster[teacher].name) if teacher >= 0 else 0 for teacher in key)
        return self._choose(tuple(own), *logits)

    @functools.cached_property
    def _choose(self):
        """(own, *logits) -> each student's logits, those at own[student], for slots with several networks."""
        def choose(own, *logits):
            return jnp.stack([logits[network][student] for student, network in enumerate(own)])

        sharding = jax.sharding.NamedSharding(self._layout.mesh, mesh.STEPS)
        return jax.jit(choose, static_argnums=0, out_shardings=sharding)

    @functools.cache  # noqa: B019  (lives as long as the run)
    def _zeros(self, shape):
        """The logits for a slot of students without a teacher, which do not read them."""
        return mesh.put(self._layout.mesh, mesh.STEPS, np.zeros((*shape, self._classes), np.float32))


def _of_steps(forward, weights, hyper, given, arrays, step):
    """Logits [steps, batch, classes] of consecutive steps, for one student on one shard."""
    def of_step(inputs):
        at, of_step = inputs
        return forward(weights, hyper["seed"], at, memory.gather(arrays, of_step))

    steps = memory.ids(given).shape[0]
    if steps == 1:
        return of_step((step, jax.tree.map(lambda x: x[0], given)))[None]
    return lax.map(of_step, (step + jnp.arange(steps, dtype=jnp.int32), given))


def _read(config, dataset, name, of_students):
    """The `TeacherSweep` of a name, read from its last checkpoint and checked."""
    source = config.distill.teachers[name]
    teacher, checkpoints = config_of(name, source), checkpoint.Checkpoints(workdir(of_students, name, source))
    if not checkpoints.steps() or max(checkpoints.steps()) < teacher.steps:
        raise UserError(f"teacher {name!r} is not trained: {checkpoints.directory} holds no checkpoint of its last "
                        f"step, {teacher.steps}")
    _, state, _ = checkpoints.load(teacher.steps)
    weights = state["ema"] if teacher.optimizer.ema else state["params"], state.get("stats", {})
    members = _members(config, name, teacher)
    for of, member in members.items():
        if state["diverged"][member] >= 0:
            raise UserError(f"teacher {name!r} with α={of.alpha:g}, seed {of.seed} diverged at step "
                            f"{state['diverged'][member]} and cannot teach: leave it out of config.distill.students, "
                            "or lower its learning rate")
    shape, classes = dataset.splits["train"].image_shape, len(dataset.class_names)
    _check_fits(name, teacher, weights, augment.output_shape(shape, config.data.augment), classes)
    return TeacherSweep(build_teacher(teacher, config, classes, shape), weights, members)


def _check_fits(name, teacher, weights, shape, classes):
    """Refuse weights that are not those of the teacher's network on the students' images and classes."""
    _, new_weights = build_network(teacher, classes, shape, None)
    needed = {path: x.shape for path, x in flatten(jax.eval_shape(new_weights, jax.random.key(0))).items()}
    found = {path: x.shape[1:] for path, x in flatten(weights).items()}
    for path in [*needed, *(path for path in found if path not in needed)]:
        if needed.get(path) != found.get(path):
            raise UserError(f"teacher {name!r} does not fit the students' data, {'x'.join(map(str, shape))} images of "
                            f"{classes} classes: its {path.partition('/')[2]} is {found.get(path, 'absent')}, and "
                            f"{needed.get(path, 'absent')} is needed; train it on the same data, with an augmentation "
                            "of the same image size")


def _members(config, name, teacher):
    """{Teacher: its index in the teachers' sweep} for the teachers of this name in the roster."""
    members = sweep.members(teacher)
    result = {}
    for wanted in students.roster(config):
        if wanted.name == name:
            found = [index for index, member in enumerate(members)
                     if np.isclose(member["alpha"], wanted.alpha, rtol=1e-6) and member["seed"] == wanted.seed]
            if len(found) != 1:
                raise UserError(f"teacher {name!r} has {len(found) or 'no'} member{'s' if len(found) > 1 else ''} with "
                                f"α={wanted.alpha:g} and seed {wanted.seed}: its sweep has α "
                                f"{_values(members, 'alpha')}, seeds {_values(members, 'seed')}, learning rates "
                                f"{_values(members, 'learning_rate')}; students need one, of their own seed")
            result[wanted] = found[0]
    return result


def _values(members, name):
    return ", ".join(f"{value:g}" for value in dict.fromkeys(member[name] for member in members))


def _logits(name, path, dataset):
    """The training split's logits [examples, classes] in a file, float32.

    Raises:
        UserError: the file is damaged, or its logits have a wrong shape or type, are not finite, or are probabilities.
    """
    where = f"config.distill.teachers.{name}={path!r}"
    needed = len(dataset.splits["train"]), len(dataset.class_names)
    try:
        logits = np.asarray(npz_map.open_npz(path)["logits"])
    except (UserError, KeyError) as error:
        raise UserError(f"{where} cannot be read: {error}; it must hold the array logits {list(needed)}") from error
    if not checked.is_floating(logits.dtype):
        raise UserError(f"{where} holds logits of dtype {logits.dtype}: float32 is due")
    if logits.shape != needed:
        raise UserError(f"{where} holds logits of shape {list(logits.shape)}: {list(needed)} finite ones are needed, "
                        "the training split's examples in their order by classes")
    try:
        checked.check_finite("logits", logits)
    except InvalidArray as error:
        raise UserError(f"{where}: {error}") from error
    logits = checked.reals(logits).astype(np.float32)
    if checked.are_probabilities(logits):
        raise UserError(f"{where}: logits[0] is not negative and sums to 1, as all rows do: these are probabilities; "
                        "give the outputs before the softmax, or np.log of these")
    return logits
