"""The teachers of a distillation: trained as ordinary runs of their own, then read, checked, and asked for their logits.

Where students see the images as they are, every teacher's logits of the training split are computed once and kept on the
devices, and so are those that a file holds. Where students see augmented images, or random crops, teachers are asked at every step:
one forward pass for each distinct teacher, however many students it has.
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
from ls_jax.devices import mesh as meshes
from ls_jax.devices.layout import Layout, over_mesh
from ls_jax.errors import InvalidArray, UserError
from ls_jax.training import step as steps
from ls_jax.training import students, sweep
from ls_jax.workdir import checkpoint, files, npz_map, predictions
from ls_jax.workdir.checkpoint_format import flatten


class Teaching(NamedTuple):
    """Where a training step has its teachers' logits from; both are None where there are no teachers."""
    kept: Float[Array, "teachers examples classes"] | None = None  # of the training split, whole, on every device
    ask: Callable[..., Any] | None = None  # (hypers, given, arrays, step) -> logits [W, steps, batch, classes] as slots

    def answers(self, *arguments: Any) -> list[Any] | None:
        """What `ask` gives for these arguments; None where teachers are not asked."""
        return self.ask(*arguments) if self.ask else None


class Network(NamedTuple):
    """One name's trained sweep: its forward pass, its weights as NumPy arrays [members, ...], and who its members are."""
    forward: Any
    weights: Any
    members: dict[students.Teacher, int]


def workdir(of_students: pathlib.Path, name: str, source: Any) -> pathlib.Path:
    """Where the teacher's run is: a workdir that was named, or the students' workdir's own."""
    return pathlib.Path(source) if isinstance(source, str) else pathlib.Path(of_students) / "teachers" / name


def config_of(name: str, source: Any) -> ml_collections.ConfigDict:
    """The config that a teacher's network was, or will be, trained with.

    Raises:
        UserError: the workdir that was named holds none.
    """
    if not isinstance(source, str):
        return source
    path = pathlib.Path(source) / "config.json"
    if not path.exists():
        raise UserError(f"config.distill.teachers.{name}={source!r} holds no config.json: name the workdir of a run, or FILE.npz")
    return ml_collections.ConfigDict(files.read_config(path))


def check(config: ml_collections.ConfigDict, dataset: Dataset) -> None:
    """What can be known to be wrong with the teachers before they are trained.

    Raises:
        UserError: a file or member is missing, or a teacher is of other data.
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
                    raise UserError(f"teacher {name!r} learns with data.{field}={teacher.data[field]!r} and the students with "
                                    f"{config.data[field]!r}: it must not have seen what they are tested on")


def load(config: ml_collections.ConfigDict, dataset: Dataset, layout: Layout, of_students: pathlib.Path) -> Teaching:
    """Read the trained teachers, and put on the devices what the students' training needs of them.

    Raises:
        UserError: a teacher is not trained, does not fit the students' images or classes, or has diverged.
    """
    roster = students.roster(config)
    if not roster:
        return Teaching()
    names = dict.fromkeys(teacher.name for teacher in roster)
    networks = {name: _network(config, dataset, name, of_students) for name in names
                if not students.is_file(config.distill.teachers[name])}
    if students.online(config):
        return Teaching(ask=_Online(config, layout, roster, networks, len(dataset.class_names)))
    files = {name: _logits(name, config.distill.teachers[name], dataset) for name in names if name not in networks}
    kept = np.stack([files[teacher.name] if teacher.name in files else
                     logits_of(networks[teacher.name], teacher, dataset, config.evaluate.batch_size) for teacher in roster])
    return Teaching(kept=meshes.put(layout.mesh, meshes.SHARED, kept))


def logits_of(network: Network, teacher: students.Teacher, dataset: Dataset,
              batch_size: int) -> Float[np.ndarray, "examples classes"]:
    """A teacher's logits of the training split's images as they are; each process computes all of them."""
    split = dataset.splits["train"]
    arrays = jnp.asarray(split.inputs), jnp.asarray(split.labels)
    weights = jax.tree.map(lambda x: jnp.asarray(x[network.members[teacher]]), network.weights)
    forward = jax.jit(lambda weights, ids, arrays: network.forward(weights, jnp.int32(0), jnp.int32(0), memory.gather(arrays, ids)))
    parts = [forward(weights, rows, arrays)[:mask.sum()] for rows, mask in order.padded(len(split), batch_size)]
    return np.concatenate(jax.device_get(parts))


def predicted(config: ml_collections.ConfigDict, dataset: Dataset, of_students: pathlib.Path) -> Iterator[students.Taught]:
    """What every teacher predicts on the held-out splits, from its run's predictions, and on the training split.

    The training split is whole where students see the images as they are; else it is what the teacher's run predicted of it.
    """
    networks = {}
    for teacher in students.roster(config):
        source = config.distill.teachers[teacher.name]
        if students.is_file(source):
            yield students.Taught(teacher, "train", _logits(teacher.name, source, dataset), dataset.splits["train"].labels)
            continue
        if teacher.name not in networks:
            networks[teacher.name] = _network(config, dataset, teacher.name, of_students)
        network, where = networks[teacher.name], workdir(of_students, teacher.name, source)
        for split in ("train", "validation", "test"):
            if split == "train" and not students.online(config):
                whole = logits_of(network, teacher, dataset, config.evaluate.batch_size)
                yield students.Taught(teacher, split, whole, dataset.splits["train"].labels)
            elif predictions.file(where, split, network.members[teacher]).exists():
                arrays = predictions.load(where, split, network.members[teacher])
                yield students.Taught(teacher, split, arrays["logits"], arrays["labels"])


class _Online:
    """Asks the teachers of every slot of students about the batch that the slot is about to see.

    The students' programs run slot by slot. So slots with the same teachers share one forward pass, and its result reaches
    their programs as an argument, without leaving the devices.
    """

    def __init__(self, config, layout, roster, networks, classes):
        self._layout, self._roster, self._networks, self._classes = layout, roster, networks, classes
        taught = sweep.grid(config)["teacher"]
        self._keys = [tuple(int(teacher) for teacher in taught[slot]) for slot in layout.member_ids()]
        specs = (meshes.MEMBER, meshes.MEMBER, meshes.STEPS, meshes.SHARED, meshes.SHARED)
        self._programs = {name: over_mesh(functools.partial(_several, network.forward), layout, specs, meshes.STEPS).one_slot
                    for name, network in networks.items()}
        self._weights = {(key, name): self._place(key, name) for key in dict.fromkeys(self._keys) for name in self._names(key)}

    def __call__(self, hypers, given, arrays, step):
        step, answers = meshes.put(self._layout.mesh, meshes.SHARED, np.int32(step)), {}
        for slot, key in enumerate(self._keys):
            if key not in answers:
                answers[key] = self._answer(key, hypers[slot], given[slot], arrays, step)
        return [answers[key] for key in self._keys]

    def _names(self, key):
        return list(dict.fromkeys(self._roster[teacher].name for teacher in key if teacher >= 0))

    def _place(self, key, name):
        """The weights of a slot's teachers on the devices; where a student has another or none, those of any."""
        network = self._networks[name]
        members = [network.members.get(self._roster[teacher], 0) if teacher >= 0 else 0 for teacher in key]
        return meshes.put(self._layout.mesh, meshes.MEMBER, jax.tree.map(lambda x: x[members], network.weights))

    def _answer(self, key, hyper, given, arrays, step):
        answers = {name: self._programs[name](self._weights[key, name], hyper, given, arrays, step) for name in self._names(key)}
        if not answers:
            return self._nothing(memory.ids(given).shape)
        if len(answers) == 1:
            return next(iter(answers.values()))
        return self._choose(tuple(list(answers).index(self._roster[max(teacher, 0)].name) if teacher >= 0 else 0 for teacher in key),
                            *answers.values())

    @functools.cached_property
    def _choose(self):
        """Slots whose students have teachers of different networks: each member's own."""
        sharding = jax.sharding.NamedSharding(self._layout.mesh, meshes.STEPS)
        return jax.jit(lambda own, *answers: jnp.stack([answers[name][member] for member, name in enumerate(own)]),
                       static_argnums=0, out_shardings=sharding)

    @functools.cache  # noqa: B019  (lives as long as the run)
    def _nothing(self, shape):
        """For students without a teacher."""
        return meshes.put(self._layout.mesh, meshes.STEPS, np.zeros((*shape, self._classes), np.float32))


def _several(forward, weights, hyper, given, arrays, step):
    """Logits [steps, batch, classes] of consecutive steps, for one student on one shard."""
    one = lambda at, rows: forward(weights, hyper["seed"], at, memory.gather(arrays, rows))
    steps = memory.ids(given).shape[0]
    if steps == 1:
        return one(step, jax.tree.map(lambda x: x[0], given))[None]
    return lax.map(lambda each: one(*each), (step + jnp.arange(steps, dtype=jnp.int32), given))


def _network(config, dataset, name, of_students):
    """Read a teacher's sweep, and see that it fits."""
    source = config.distill.teachers[name]
    teacher, held = config_of(name, source), checkpoint.Checkpoints(workdir(of_students, name, source))
    if not held.steps() or max(held.steps()) < teacher.steps:
        raise UserError(f"teacher {name!r} is not trained: {held.directory} holds no checkpoint of its last step, {teacher.steps}")
    _, state, _ = held.load(teacher.steps)
    weights = state["ema"] if teacher.optimizer.ema else state["params"], state.get("stats", {})
    members = _members(config, name, teacher)
    for of, member in members.items():
        if state["diverged"][member] >= 0:
            raise UserError(f"teacher {name!r} with α={of.alpha:g}, seed {of.seed} diverged at step {state['diverged'][member]} and "
                            "cannot teach: leave it out of config.distill.students, or lower its learning rate")
    shape, classes = dataset.splits["train"].image_shape, len(dataset.class_names)
    _check_fits(name, teacher, weights, augment.output_shape(shape, config.data.augment), classes)
    return Network(steps.build_teacher(teacher, config, classes, shape), weights, members)


def _check_fits(name, teacher, weights, shape, classes):
    """That the weights are those of the teacher's network on the students' images and classes."""
    _, new_weights = steps.network(teacher, classes, shape, None)
    needed = {path: x.shape for path, x in flatten(jax.eval_shape(new_weights, jax.random.key(0))).items()}
    found = {path: x.shape[1:] for path, x in flatten(weights).items()}
    for path in [*needed, *(path for path in found if path not in needed)]:
        if needed.get(path) != found.get(path):
            raise UserError(f"teacher {name!r} does not fit the students' data, {'x'.join(map(str, shape))} images of {classes} classes: "
                            f"its {path.partition('/')[2]} is {found.get(path, 'absent')}, and {needed.get(path, 'absent')} is needed; "
                            "train it on the same data, with an augmentation of the same image size")


def _members(config, name, teacher):
    """{Teacher: its member} for all of this name's in the roster."""
    rows = sweep.members(teacher)
    result = {}
    for wanted in students.roster(config):
        if wanted.name == name:
            found = [m for m, row in enumerate(rows) if np.isclose(row["alpha"], wanted.alpha, rtol=1e-6) and row["seed"] == wanted.seed]
            if len(found) != 1:
                raise UserError(f"teacher {name!r} has {len(found) or 'no'} member{'s' if len(found) > 1 else ''} with α={wanted.alpha:g} "
                                f"and seed {wanted.seed}: its sweep has α {_values(rows, 'alpha')}, seeds {_values(rows, 'seed')}, "
                                f"learning rates {_values(rows, 'learning_rate')}; students need one, of their own seed")
            result[wanted] = found[0]
    return result


def _values(rows, name):
    return ", ".join(f"{value:g}" for value in dict.fromkeys(row[name] for row in rows))


def _logits(name, path, dataset):
    """The logits that a file holds of the training split.

    Raises:
        UserError: the file is damaged, or its logits are of another shape or type, not finite, or probabilities.
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
        raise UserError(f"{where} holds logits of shape {list(logits.shape)}: {list(needed)} finite ones are needed, the training split's "
                        "examples in their order by classes")
    try:
        checked.check_finite("logits", logits)
    except InvalidArray as error:
        raise UserError(f"{where}: {error}") from error
    logits = checked.reals(logits).astype(np.float32)
    if checked.are_probabilities(logits):
        raise UserError(f"{where}: logits[0] is not negative and sums to 1, as all rows do: these are probabilities; give the outputs "
                        "before the softmax, or np.log of these")
    return logits
