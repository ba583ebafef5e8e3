"""The fields of a config, with their defaults and meaning, and what is checked before anything runs.

A file in configs/ starts from `default()` and sets what its experiment needs. Every field can be overridden on the
command line (`--config.steps=1000 --config.sweep.alpha='(0.0, 0.1)'`). The fields of `config.model` are declared by each model, those
of `config.data` that only some data can have by the sources that read them, and the section of a study by the study.
"""
import importlib.util
import json
import pathlib
import re
from typing import Any

import ml_collections
from ml_collections.config_dict import FieldReference, placeholder

from ls_jax import losses, models
from ls_jax.data import sources
from ls_jax.data.pictures import augment
from ls_jax.devices.layout import STRATEGIES
from ls_jax.errors import UserError, did_you_mean
from ls_jax.studies import registry
from ls_jax.training import optim, students, sweep

# What may differ when a run is resumed: where and how it runs, and what it writes beside the result.
FREE_TO_CHANGE = ("members", "mesh", "steps_per_call", "log", "checkpoint", "data.dir", "evaluate.tokens")  # and studies' fields

CHOICES = {
    "loss.convention": losses.CONVENTIONS,
    "model.name": models.MODELS,
    "optimizer.schedule": (*optim.SCHEDULES, "rsqrt"),
    "optimizer.momentum_form": ("heavy_ball", "nesterov", "averaged", "adam"),
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
    config.batch_size = 128                  # examples per step, over all devices; of text the target's tokens, padding included

    # Every combination is one member. Tuples, also of one value.
    config.sweep = ml_collections.ConfigDict(dict(
        {name: placeholder(tuple) for name in losses.scalars()},  # of the losses' terms; None: off, and not compiled
        seed=(0, 1, 2, 3, 4),                # initial weights, example order, augmentation, dropout
        learning_rate=(0.1,),
        weight_decay=(0.0,),                 # λ of λ/2 ||w||²
        arms=placeholder(object),            # instead of the losses' tuples named settings: {"plain": {"alpha": 0.0}, ...}
        baseline=placeholder(object),        # the arm's name, or settings, that differences are to; None: the losses' scalars off
    ))
    config.sweep.alpha = (0.0, 0.1)          # label smoothing

    config.data = ml_collections.ConfigDict(dict(
        name="digits",                       # digits, a TFDS name, folder:PATH, npz:PATH, or to translate text:PATH
        dir=placeholder(str),                # TFDS data_dir, and where text:PATH is; None: TFDS's own, and here
        holdout=0,                           # training examples held out as the split "validation", by a fixed permutation
        train_examples=placeholder(int),     # keep only so many training examples
        label_noise=placeholder(float),      # the share of training labels made wrong, by a fixed seed; None: none
        augment="none",
        normalize="unit",                    # unit: [0, 1]; symmetric: [-1, 1]; standardize: zero mean, unit variance per image
        **{name: field.initial() for name, field in sources.fields().items()},  # of some sources: see ls_jax/data/sources
    ))

    config.model = ml_collections.ConfigDict(dict(name="mlp"))  # and of the model's FIELDS those that are not at their defaults

    config.loss = ml_collections.ConfigDict(dict(
        convention="uniform",                # α/K on every class (the paper); off_target: α/(K-1) on the wrong ones
        multiplier=1.0,                      # the paper's CIFAR recipes minimise 3 x the cross-entropy
        auxiliary=0.4,                       # weight of the auxiliary classifier's loss, of models that have one (TF-slim's)
    ))

    config.optimizer = ml_collections.ConfigDict(dict(
        schedule="constant",                 # constant, linear (to 0 at the end), step, exponential, rsqrt (the Transformer's)
        boundaries=(),                       # step: fractions of `steps` at which the rate is multiplied ...
        factor=0.1,                          # ... by this
        factor_every=0.01,                   # exponential: the fraction of `steps` in which the rate falls by `factor`
        warmup=0.0,                          # the fraction of `steps` in which the rate first rises linearly from 0
        momentum=0.9,
        momentum_form="heavy_ball",          # heavy_ball, nesterov, averaged (μ m + (1-μ) g), adam
        second_momentum=0.997,               # adam: β₂, tensor2tensor's ...
        epsilon=1e-9,                        # ... and its ε
        clip=0.0,                            # global gradient norm; 0: off
        decay_layers=(),                     # layers whose kernels decay; (): all
        decay_norm=False,                    # whether batch norm's scale and bias decay too
        layer_rates=ml_collections.ConfigDict(dict(head=1.0)),  # learning-rate factors by layer
        ema=0.0,                             # decay of the weights' moving average, which is then evaluated; 0: off
    ))

    config.evaluate = ml_collections.ConfigDict(dict(
        split="test",                        # the held-out split of learning curves and tables: test or validation
        every=0,                             # steps between evaluations while training; 0: only at the end
        batch_size=500,
        train_examples=10_000,               # at most so many training examples are predicted, evenly spaced
        tokens=10_000,                       # text: of each split the predictions of at most so many tokens are kept
    ))

    config.distill = placeholder(ml_collections.ConfigDict)  # None: labels alone; else what `distillation` makes

    for name, declared in registry.fields().items():  # a section for each study that has fields: see its fields.py
        config[name] = ml_collections.ConfigDict({field: each.initial() for field, each in declared.items()})

    config.checkpoint = ml_collections.ConfigDict(dict(
        every=0,                             # steps between checkpoints; 0: only at the end (and when a signal stops it)
        keep=2,                              # the last so many stay ...
        keep_every=placeholder(int),         # ... and every so many steps' for ever, for studies of the training's course
    ))

    config.log = ml_collections.ConfigDict(dict(every=100, tensorboard=True))

    config.dtype = "float32"                 # compute dtype; parameters, statistics and loss stay float32
    config.batch_norm = "synchronized"       # over the whole batch; per_device: each device's examples, running statistics averaged
    config.micro_batches = 1                 # parts of the batch taken one after another, where it does not fit at once
    config.members = "auto"                  # unroll, vmap or map: how members share a device (see ls_jax/devices/layout.py)
    config.steps_per_call = placeholder(int)  # steps per dispatch; None: chosen for the backend
    config.mesh = ml_collections.ConfigDict(dict(member=placeholder(int), data=placeholder(int)))  # None: chosen
    return config.lock()


def distillation(teachers: dict[str, ml_collections.ConfigDict | str], students: dict[str, dict[str, Any]] | None = None,
                 **settings: Any) -> ml_collections.ConfigDict:
    """The section `config.distill`: the run first trains the teachers, then its members, the students, from them.

    Args:
        teachers: by name, a whole config, trained as an ordinary run in WORKDIR/teachers/NAME; or the workdir of such a run; or
            FILE.npz with `logits` [N, K] of the training split in its order, by any network.
        students: by group, tuples that replace those of `config.sweep` and of `ls_jax.training.arms.TAUGHT`; every combination is a
            student. `teacher` names the group's teacher, whose member of `teacher_alpha` and of the student's seed it is; without
            one the group learns from the labels alone. None: the students are `config.sweep.arms`, which may name a teacher too.
        settings: loss, student_temperature, temperature_squared; see below.
    """
    section = ml_collections.ConfigDict(dict(
        teachers=teachers, students=students or {},
        loss="soft",                         # soft: H(pᵗ(T), p(T')); logits: ½||z - zᵗ||², summed over classes
        student_temperature=1.0,             # T', as in the paper; None: the teacher's T, as in Hinton et al. 2015
        temperature_squared=False,           # whether the soft term is multiplied by T²; the paper writes no such factor
    ))
    section.update(settings)
    return section


def follow(student: ml_collections.ConfigDict, *teachers: ml_collections.ConfigDict) -> None:
    """Make the teachers' data and seeds those of their students, also when they are overridden."""
    for name, kind in {"data.name": str, "data.dir": str, "data.holdout": int, "data.train_examples": int, "data.image_size": int,
                       "data.label_noise": float,
                       "sweep.seed": tuple}.items():
        section, field = name.split(".")
        shared = FieldReference(student[section][field], field_type=kind)
        for fields in (each[section] for each in (student, *teachers)):
            with fields.unlocked():
                del fields[field]  # to set a field that is a reference would set what it refers to
                fields[field] = shared


def load(path: str | pathlib.Path, variant: str = "") -> ml_collections.ConfigDict:
    """The config that `get_config` of a Python file makes; FILE.py:VARIANT on the command line. The file is what `find` finds."""
    path = find(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant) if variant else module.get_config()


def find(path: str | pathlib.Path) -> pathlib.Path:
    """A config file as it is named; else, so that configs/NAME.py is found from any directory, the one that came with ls_jax.

    Raises:
        UserError: there is none.
    """
    package = pathlib.Path(__file__).parent
    for place in (pathlib.Path(), package, package.parent):  # an installed package holds configs/, a clone has it beside the package
        if (place / path).is_file():
            return place / path
    raise UserError(f"config file {path} does not exist; configs/ holds one per experiment")


def check_variant(variant: str, known: tuple[str, ...]) -> None:
    """Refuse a variant (the part after the colon in --config=FILE:VARIANT) that a config file does not have."""
    if variant and variant not in known:
        raise UserError(f"this config has no variant {variant!r}{did_you_mean(variant, known)}; it has "
                        f"{', '.join(repr(name) for name in known)} and the full experiment without one")


def smoke(config: ml_collections.ConfigDict) -> None:
    """Shrink a config to seconds: every part runs, and no number means anything."""
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
    """Steps in so many passes over the training set."""
    return -(-count * examples // batch_size)


def validate(config: ml_collections.ConfigDict) -> None:
    """Everything that can be wrong with a config by itself.

    Raises:
        UserError: one line that names the field and what it may be.
    """
    for name, choices in CHOICES.items():
        value = get(config, name)
        if value not in choices:
            raise UserError(f"config.{name}={value!r} is unknown{did_you_mean(str(value), choices)}; "
                            f"choose from {', '.join(choices)}")
    models.check(config.model.name, {name: value for name, value in config.model.items() if name != "name"})
    for name, field in sources.fields().items():
        field.refuse(f"config.data.{name}", config.data.get(name))
    sources.of(config.data)  # refuses fields of other sources
    sweep.check(config)
    for name in ("steps", "batch_size", "evaluate.batch_size", "evaluate.tokens", "log.every", "checkpoint.keep", "micro_batches"):
        if get(config, name) < 1:
            raise UserError(f"config.{name}={get(config, name)} must be at least 1")
    if not 0 <= config.optimizer.warmup < 1 or not config.optimizer.factor_every > 0:
        raise UserError(f"config.optimizer.warmup={config.optimizer.warmup} and factor_every={config.optimizer.factor_every} are fractions "
                        "of the training's length: warmup in [0, 1), factor_every above 0")
    if any(not 0 < boundary < 1 for boundary in config.optimizer.boundaries):
        raise UserError(f"config.optimizer.boundaries={tuple(config.optimizer.boundaries)} must be fractions of the "
                        "training's length, between 0 and 1")
    if config.optimizer.schedule == "rsqrt" and not (0 < config.optimizer.warmup < 1 and config.model.get("width")):
        raise UserError(f"config.optimizer.schedule='rsqrt' needs config.optimizer.warmup={config.optimizer.warmup} between 0 and 1, and "
                        f"config.model.width, which the model {config.model.name!r} {'has' if config.model.get('width') else 'has not'}")
    if config.data.vocabulary:
        _validate_text(config)
    if config.distill:
        students.check(config)
        for name, teacher in config.distill.teachers.items():
            if not isinstance(teacher, str):
                _validate_teacher(name, teacher)
    if not 0 <= (config.data.label_noise or 0) < 1:
        raise UserError(f"config.data.label_noise={config.data.label_noise} must lie in [0, 1)")
    for name, declared in registry.fields().items():
        for field, each in declared.items():
            each.refuse(f"config.{name}.{field}", config[name].get(field))
    for _, validate_study in registry.having("validate"):
        validate_study(config)


def _validate_text(config):
    """What makes no sense where rows of tokens take the place of images."""
    for name, value in {"distill": None, "data.augment": "none", "data.label_noise": None, "data.image_size": None}.items():
        if (get(config, name) or None) != (value or None):
            raise UserError(f"config.{name}={get(config, name)!r} is of images: leave it at {value!r} to translate")
    for name in ("batch_size", "evaluate.batch_size", "evaluate.tokens"):
        if get(config, name) < (config.data.row_length or 0):
            raise UserError(f"config.{name}={get(config, name)} counts tokens: it must be at least a row, "
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


def check_overrides(config: ml_collections.ConfigDict, names: list[str]) -> None:
    """Refuse a dotted name that `config` has no field for, with the nearest name that it has."""
    known = flat(config.to_dict())
    sections = {name.rsplit(".", depth)[0] for name in known for depth in range(1, name.count(".") + 1)}
    for name in names:
        if name not in known and name not in sections and not name.startswith("optimizer.layer_rates."):
            leaf = name.rsplit(".", 1)[-1]
            elsewhere = [field for field in known if field.rsplit(".", 1)[-1] == leaf]  # in the wrong section
            hint = f" (did you mean {elsewhere[0]!r}?)" if elsewhere else did_you_mean(name, known)
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
    """Lines "field: old -> new" where two plain configs differ in what a resumed run must not change.

    A field that is newer than the run had the value that is now its default.
    """
    old, new, defaults = flat(old), flat(new), flat(plain(default()))
    own = lambda name: re.sub(r"^distill\.teachers\.[^.]+\.", "", name)  # of a teacher the same fields are free
    fixed = [name for name in sorted(old.keys() | new.keys())
             if not any(own(name) == free or own(name).startswith(free + ".") for free in (*FREE_TO_CHANGE, *registry.fields()))]
    return [f"{name}: {old.get(name, 'absent')} -> {new.get(name, 'absent')}" for name in fixed
            if old.get(name, defaults.get(own(name))) != new.get(name)]
