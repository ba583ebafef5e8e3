"""The fields of a config, their defaults and meaning, and the checks before anything runs.

A file in configs/ starts from `default()` and sets what its experiment needs. The command line can override every
field (`--config.steps=1000 --config.sweep.alpha='(0.0, 0.1)'`). Each model declares the fields of `config.model`, each
data source the fields of `config.data` that only it reads, and each study the fields of its own section.
"""
import ast
import collections
import importlib.util
import json
import pathlib
import re
import traceback
from typing import Any

import ml_collections
from ml_collections.config_dict import FieldReference, placeholder

from ls_jax import losses, models, ranges
from ls_jax.data import sources
from ls_jax.data.pictures import augment
from ls_jax.devices.layout import STRATEGIES
from ls_jax.errors import UserError, did_you_mean, first_line
from ls_jax.studies import registry
from ls_jax.training import optim, students, sweep
from ls_jax.workdir import writers

# A resumed run may change these: where and how it runs, and what it writes beside the result. Also the studies' fields.
FREE_TO_CHANGE = ("members", "mesh", "steps_per_call", "log", "checkpoint", "data.dir", "evaluate.tokens")

CHOICES = {
    "loss.convention": losses.CONVENTIONS,
    "model.name": models.MODELS,
    "optimizer.schedule": (*optim.SCHEDULES, "rsqrt"),
    "optimizer.momentum_form": ("heavy_ball", "nesterov", "averaged", "adam", "muon"),
    "data.augment": tuple(augment.AUGMENTATIONS),
    "data.normalize": tuple(augment.NORMALIZATIONS),
    "members": ("auto", *STRATEGIES),
    "dtype": ("float32", "bfloat16"),
    "batch_norm": ("synchronized", "per_device"),
}


def default() -> ml_collections.ConfigDict:
    """Every field with its default."""
    config = ml_collections.ConfigDict()
    config.steps = 1000                      # training steps
    config.batch_size = 128                  # examples per step, over all devices; text: target tokens, with padding

    # Tuples of values. Every combination is a member of the sweep.
    config.sweep = ml_collections.ConfigDict(dict(
        # The scalars of the losses' terms. None: not swept, not compiled. NAME_end: the value at the end of training.
        {name: placeholder(tuple) for name in losses.scalars()},
        seed=(0, 1, 2, 3, 4),                # initial weights, example order, augmentation, dropout
        learning_rate=(0.1,),
        weight_decay=(0.0,),                 # λ of λ/2 ||w||²
        arms=placeholder(object),            # named settings instead of the losses' tuples: {"plain": {"alpha": 0.0}}
        baseline=placeholder(object),        # subtracted in differences: an arm's name, or settings; None: losses off
    ))
    config.sweep.alpha = (0.0, 0.1)          # label smoothing

    config.data = ml_collections.ConfigDict(dict(
        name="digits",                       # digits, a TFDS name, folder:PATH, npz:PATH, or text:PATH (translation)
        dir=placeholder(str),                # TFDS's data_dir, or the folder of text:PATH; None: TFDS's default, or "."
        holdout=0,                           # training examples held out as "validation"; the same in every run
        train_examples=placeholder(int),     # number of training examples to keep; None: all
        label_noise=placeholder(float),      # fraction of training labels made wrong, from a fixed seed; None: none
        augment="none",
        flip_period=placeholder(int),        # steps of an epoch: every second one is mirrored; None: as `augment` does
        normalize="unit",                    # unit: [0, 1]; symmetric: [-1, 1]; standardize: each image, mean 0, var. 1
        **{name: field.initial() for name, field in sources.fields().items()},  # see ls_jax/data/sources
    ))

    config.model = ml_collections.ConfigDict(dict(name="mlp"))  # and those of its FIELDS that differ from the default

    config.loss = ml_collections.ConfigDict(dict(
        convention="uniform",                # α/K on every class (the paper); off_target: α/(K-1) on the wrong ones
        multiplier=1.0,                      # the paper's CIFAR recipes minimise 3 x the cross-entropy
        auxiliary=0.4,                       # weight of the auxiliary classifier's loss, if there is one (TF-slim's)
    ))

    config.optimizer = ml_collections.ConfigDict(dict(
        schedule="constant",                 # constant, linear (to 0), step, exponential, rsqrt (the Transformer's)
        boundaries=(),                       # step: fractions of `steps` at which the rate is multiplied by `factor`
        factor=0.1,                          # step and exponential: multiplies the learning rate
        factor_every=0.01,                   # exponential: fraction of `steps` in which the rate falls by `factor`
        warmup=0.0,                          # fraction of `steps` in which the rate first rises linearly from 0
        momentum=0.9,
        momentum_form="heavy_ball",          # heavy_ball, nesterov, averaged (μ m + (1-μ) g), adam, muon
        second_momentum=0.997,               # adam: β₂, tensor2tensor's
        epsilon=1e-9,                        # adam: ε, tensor2tensor's
        muon_momentum=0.6,                   # muon: momentum of convolutions' filters; `momentum` is that of all else
        muon_iterations=3,                   # muon: Newton-Schulz iterations
        clip=0.0,                            # global gradient norm; 0: off
        decay_layers=(),                     # layers whose kernels decay; (): all
        decay_norm=False,                    # whether batch norm's scale and bias decay too
        layer_rates=ml_collections.ConfigDict(dict(head=1.0)),  # learning-rate factor of each layer
        layer_shares=ml_collections.ConfigDict(),  # fraction of `steps` after which a layer is at its schedule's end
        ema=0.0,                             # decay of the weights' moving average, which is then evaluated; 0: off
    ))

    config.evaluate = ml_collections.ConfigDict(dict(
        split="test",                        # held-out split of learning curves and tables: test or validation
        every=0,                             # steps between evaluations during training; 0: only at the end
        batch_size=500,
        train_examples=10_000,               # largest number of training examples to predict, evenly spaced
        tokens=10_000,                       # text: number of tokens per split whose predictions are saved
    ))

    config.distill = placeholder(ml_collections.ConfigDict)  # None: no teachers; else see `distillation`

    for name, declared in registry.fields().items():  # a section for each study with fields
        config[name] = ml_collections.ConfigDict({field: each.initial() for field, each in declared.items()})

    config.checkpoint = ml_collections.ConfigDict(dict(
        every=0,                             # steps between checkpoints; 0: only at the end, or when a signal comes
        keep=2,                              # number of latest checkpoints to keep
        keep_every=placeholder(int),         # also keep the checkpoints at multiples of this, to study the dynamics
    ))

    config.log = ml_collections.ConfigDict(dict(
        every=100,                           # steps between rows of training metrics
        writers=("tensorboard",),            # besides metrics.jsonl: tensorboard, wandb, mlflow; (): none
    ))

    config.dtype = "float32"                 # compute dtype; parameters, statistics and loss stay float32
    config.batch_norm = "synchronized"       # statistics of the whole batch; per_device: of each device's examples
    config.micro_batches = 1                 # gradient accumulation: parts of a batch that does not fit into memory
    config.members = "auto"                  # unroll, vmap or map: how members share a device, ls_jax/devices/layout.py
    config.steps_per_call = placeholder(int)  # steps per dispatch; None: chosen for the backend
    config.mesh = ml_collections.ConfigDict(dict(member=placeholder(int), data=placeholder(int)))  # None: chosen
    return config.lock()


def distillation(teachers: dict[str, ml_collections.ConfigDict | str],
                 students: dict[str, dict[str, Any]] | None = None,
                 **settings: Any) -> ml_collections.ConfigDict:
    """The section `config.distill`: the run first trains the teachers, then the members of its sweep as their students.

    Args:
        teachers: by name, one of three. A whole config is trained as a run in WORKDIR/teachers/NAME. A string is
            the workdir of such a run, or a FILE.npz with any network's `logits` [N, K] of the training split, in order.
        students: by group, tuples that replace those of `config.sweep` and of `ls_jax.training.arms.TAUGHT`. Every
            combination is a student. `teacher` names the group's teacher. A student learns from the teacher's member of
            the arm `teacher_alpha` and the student's own seed. A group without `teacher` learns from the labels alone.
            None: the students are `config.sweep.arms`, which may also name a teacher.
        settings: loss, student_temperature, temperature_squared; see below.
    """
    section = ml_collections.ConfigDict(dict(
        teachers=teachers, students=students or {},
        loss="soft",                         # soft: H(pᵗ(T), p(T')); logits: ½||z - zᵗ||², summed over classes
        student_temperature=1.0,             # T', as in the paper; None: the teacher's T, as in Hinton et al. 2015
        temperature_squared=False,           # whether to multiply the soft term by T²; the paper writes no such factor
    ))
    section.update(settings)
    return section


def follow(student: ml_collections.ConfigDict, *teachers: ml_collections.ConfigDict) -> None:
    """Tie the teachers' data settings and seeds to the students', so that a command-line override changes both."""
    for name, kind in {"data.name": str, "data.dir": str, "data.holdout": int, "data.train_examples": int,
                       "data.image_size": int, "data.label_noise": float, "sweep.seed": tuple}.items():
        section, field = name.split(".")
        shared = FieldReference(student[section][field], field_type=kind)
        for fields in (each[section] for each in (student, *teachers)):
            with fields.unlocked():
                del fields[field]  # setting a field that holds a reference would set the referenced value instead
                fields[field] = shared


def load(path: str | pathlib.Path, variant: str = "") -> ml_collections.ConfigDict:
    """The config that `get_config(variant)` of a config file returns: --config=FILE.py:VARIANT on the command line.

    Args:
        path: as `find` takes it.
        variant: "" is the full experiment.

    Raises:
        UserError: there is no such file, it is no config file, or it has no such variant.
    """
    path = find(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"config file {path} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        check_named_once(pathlib.Path(path).read_text(encoding="utf-8"), str(path))
        spec.loader.exec_module(module)
        if not callable(getattr(module, "get_config", None)):
            raise UserError(f"config file {path} has no function get_config: see the files in configs/")
        config = module.get_config(variant) if variant else module.get_config()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever the file does
        where = f"{path}{_line(error, path)}"
        raise UserError(f"config file {where}: {type(error).__name__}: {first_line(error):.120}") from error
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(f"config file {path}: get_config() returns {config!r:.40}; it must return a config, made from "
                        "ls_jax.config.default() as in configs/digits_mlp.py")
    if missing := sorted({*default()} - {*config}):
        raise UserError(f"config file {path}: the config has no {', '.join(missing)}: start from "
                        "ls_jax.config.default(), as configs/digits_mlp.py does")
    return config


def _line(error, path):
    """", line 3": where in a config file an exception came from, if it did."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}" if error.lineno else ""
    lines = [place.lineno for place in traceback.extract_tb(error.__traceback__)
             if pathlib.Path(place.filename).name == path.name]
    return f", line {lines[-1]}" if lines else ""


def find(path: str | pathlib.Path) -> pathlib.Path:
    """The config file of this path, or else the one that came with ls_jax.

    So configs/NAME.py is found from any directory. NAME alone means configs/NAME.py.

    Raises:
        UserError: there is none.
    """
    package = pathlib.Path(__file__).parent
    paths = [path] if pathlib.Path(path).suffix else [path, f"configs/{path}.py"]
    for folder in (pathlib.Path(), package, package.parent):  # configs/ is in an installed package, beside a clone's
        for named in paths:
            if (folder / named).is_file():
                return folder / named
    raise UserError(f"config file {path} does not exist; configs/ holds one per experiment")


def shipped() -> list[pathlib.Path]:
    """The config files that came with ls_jax."""
    package = pathlib.Path(__file__).parent
    return next((found for folder in (package, package.parent) if (found := sorted((folder / "configs").glob("*.py")))),
                [])


def check_named_once(source: str, where: str) -> None:
    """Refuse Python source with a dict that has a name twice, as two arms may: Python keeps the last and says nothing.

    Raises:
        UserError: names it.
        SyntaxError: it is no Python.
    """
    for node in ast.walk(ast.parse(source, where)):
        if isinstance(node, ast.Dict):
            names = collections.Counter(key.value for key in node.keys if isinstance(key, ast.Constant))
            for name in (name for name, times in names.items() if times > 1):
                raise UserError(f"{where} names {name!r} twice, and the first would be lost: leave one out")


def check_variant(variant: str, known: tuple[str, ...]) -> None:
    """Raise UserError unless a config file has this variant: the part after the colon in --config=FILE:VARIANT."""
    if variant and variant not in known:
        raise UserError(f"this config has no variant {variant!r}{did_you_mean(variant, known)}; it has "
                        f"{', '.join(repr(name) for name in known)} and the full experiment without one")


def smoke(config: ml_collections.ConfigDict) -> None:
    """Shrink a config, in place, so that it runs in seconds. Every part runs, but the numbers mean nothing."""
    config.steps = 6
    config.batch_size = 16
    config.sweep.seed = (0,)
    config.data.train_examples = 200
    config.data.holdout = min(config.data.holdout, 100)
    config.evaluate.every = config.checkpoint.every = config.log.every = 3
    config.evaluate.train_examples = 200
    if not config.data.vocabulary:
        config.evaluate.batch_size = 100
    config.information.update(examples=40, views=6)
    config.transfer.examples = 200
    config.checkpoint.keep_every = config.checkpoint.keep_every and 3


def epochs(count: int, *, examples: int, batch_size: int) -> int:
    """The number of steps in `count` passes over the training set."""
    return -(-count * examples // batch_size)


def validate(config: ml_collections.ConfigDict) -> None:
    """Check a config by itself, before the data are read.

    Raises:
        UserError: one line that names the field and its allowed values.
    """
    for name, choices in CHOICES.items():
        value = get(config, name)
        if value not in choices:
            raise UserError(f"config.{name}={value!r} is unknown{did_you_mean(str(value), choices)}; "
                            f"choose from {', '.join(choices)}")
    models.check(config.model.name, {name: value for name, value in config.model.items() if name != "name"})
    for name, declared in sources.fields().items():
        declared.refuse(f"config.data.{name}", config.data.get(name))
    sources.of(config.data)  # refuses fields of other sources
    sweep.check(config)
    ranges.check(lambda name: get(config, name))
    writers.check(config.log.writers)
    _validate_optimizer(config)
    if config.data.vocabulary:
        _validate_text(config)
    if config.distill:
        students.check(config)
        for name, teacher in config.distill.teachers.items():
            if not isinstance(teacher, str):
                _validate_teacher(name, teacher)
    for section, fields in registry.fields().items():
        for name, declared in fields.items():
            declared.refuse(f"config.{section}.{name}", config[section].get(name))
    for _, validate_study in registry.having("validate"):
        validate_study(config)


def _validate_optimizer(config):
    optimizer, model = config.optimizer, config.model
    if optimizer.schedule == "rsqrt" and not (0 < optimizer.warmup < 1 and model.get("width")):
        has = "has" if model.get("width") else "has not"
        raise UserError(f"config.optimizer.schedule='rsqrt' needs config.optimizer.warmup={optimizer.warmup} between 0 "
                        f"and 1, and config.model.width, which the model {model.name!r} {has}")


def _validate_text(config):
    """Fields of images must be unset where the examples are rows of tokens, and a batch must hold a row."""
    unset = {"distill": None, "data.augment": "none", "data.label_noise": None, "data.image_size": None}
    for name, off in unset.items():
        if (get(config, name) or None) != (off or None):
            raise UserError(f"config.{name}={get(config, name)!r} is for images: leave it at {off!r} to translate")
    for name in ("batch_size", "evaluate.batch_size", "evaluate.tokens"):
        if get(config, name) < (config.data.row_length or 0):
            raise UserError(f"config.{name}={get(config, name)} counts tokens: it must be at least one row, "
                            f"config.data.row_length={config.data.row_length}")


def _validate_teacher(name, teacher):
    try:
        validate(teacher)
    except UserError as error:
        raise UserError(f"teacher {name!r}: {error}") from error


def get(config: ml_collections.ConfigDict, name: str) -> Any:
    """The field at a dotted name, as in `get(config, "data.name")`."""
    for part in name.split("."):
        config = config[part]
    return config


def optional(name: str) -> bool:
    """Whether the field at a dotted name may be None. A network's fields are checked with the network."""
    name = _within_a_config(name)
    return name.startswith("model.") or flat(default().to_dict()).get(name, "unknown") is None


def check_overrides(config: ml_collections.ConfigDict, names: list[str]) -> None:
    """Raise UserError for a dotted name that is no field of `config`; the message has the nearest field."""
    known = flat(config.to_dict())
    sections = {name.rsplit(".", depth)[0] for name in known for depth in range(1, name.count(".") + 1)}
    for name in names:
        if name not in known and name not in sections:
            leaf = name.rsplit(".", 1)[-1]
            elsewhere = [field for field in known if field.rsplit(".", 1)[-1] == leaf]  # in the wrong section
            hint = f" (did you mean {elsewhere[0]!r}?)" if elsewhere else did_you_mean(name, known)
            if name.startswith(("optimizer.layer_rates.", "optimizer.layer_shares.")):
                hint += "; layers that the config does not name yet are named in a file, as in configs/cifar10_fast.py"
            raise UserError(f"--config.{name}: the config has no field {name!r}{hint}")


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dict as {"data.name": value, ...}."""
    result = {}
    for key, value in tree.items():
        result.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return result


def plain(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The config as nested dicts of JSON values."""
    return json.loads(json.dumps(config.to_dict()))


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Lines "field: old -> new" where two plain configs differ in fields that a resumed run must not change.

    A field that the old config lacks is newer than its run, which is taken to have had today's default.
    """
    old, new, defaults = flat(old), flat(new), flat(plain(default()))
    fixed = [name for name in sorted(old.keys() | new.keys()) if not _may_change(_within_a_config(name))]
    return [f"{name}: {old.get(name, 'absent')} -> {new.get(name, 'absent')}" for name in fixed
            if old.get(name, defaults.get(_within_a_config(name))) != new.get(name)]


def _within_a_config(name):
    """A field's name in the config that it belongs to: "steps" for "distill.teachers.mlp.steps"."""
    return re.sub(r"^distill\.teachers\.[^.]+\.", "", name)


def _may_change(name):
    return any(name == free or name.startswith(free + ".") for free in (*FREE_TO_CHANGE, *registry.fields()))
