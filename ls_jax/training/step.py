"""The mathematics of a step, for one member on one shard; `devices.layout.over_mesh` adds the member and the data axis."""
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from ls_jax import losses, models
from ls_jax.data.batch import Batch
from ls_jax.data.pictures import augment
from ls_jax.data.text.tokens import Tokens
from ls_jax.devices import mesh as meshes
from ls_jax.models import Output, layers
from ls_jax.training import metrics, optim, rng
from ls_jax.training.state import Hyper, State


class Steps(NamedTuple):
    """The pure functions that a run is made of, each for one member on one shard."""
    init: Any      # (hyper) -> State
    train: Any     # (state, hyper, batch) -> State
    predict: Any   # (state, batch) -> Output
    measure: Any   # (state, hyper, batch, mask) -> Sums
    view: Any      # (state, batch, keys) -> Output on augmented images, the network as in predict


def build(config: ml_collections.ConfigDict, num_classes: int, image_shape: tuple[int, int, int] | None,
          axis_name: str | None = "data") -> Steps:
    """The step functions of a config, for images of a shape or, where it is None, for Tokens of a vocabulary of `num_classes`.

    `axis_name` is the mesh axis to reduce over, None without a mesh.
    """
    config = ml_collections.FrozenConfigDict(config)  # what is traced later must be what was asked for now
    shape = image_shape and augment.output_shape(image_shape, config.data.augment)
    norm_axis = axis_name if config.batch_norm == "synchronized" else None
    graphdef, new_weights = network(config, num_classes, shape, norm_axis)

    def init(hyper: Hyper) -> State:
        params, stats = new_weights(rng.key(hyper["seed"], "init"))
        start = jnp.zeros((), jnp.int32)
        return State(step=start, params=params, stats=stats, ema=params if config.optimizer.ema else {},
                     opt=optim.transform(config, hyper, start).init(params), sums=metrics.zeros(), diverged=start - 1)

    def train(state: State, hyper: Hyper, batch: Batch) -> State:
        params = meshes.varying(state.params, axis_name)  # a shard's gradients are its own until they are summed below
        counted = batch.labels.shape[0] if batch.counted is None else jnp.sum(batch.counted, dtype=jnp.float32)
        everywhere = total_over_shards(counted)  # shards may hold unequally many tokens
        part = lambda batch: learn(params, state, hyper, batch, everywhere)
        total, gradients, sums, stats = summed(part, batch, config.micro_batches)
        total, gradients, sums = total_over_shards((total, gradients, sums))
        stats = jax.tree.map(lambda x: x / config.micro_batches, stats)
        stats = stats if config.batch_norm == "synchronized" else mean_over_shards(stats)
        optimizer = optim.transform(config, hyper, state.step)
        updates, opt = optimizer.update(gradients, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        new = State(step=state.step + 1, params=params, stats=stats, opt=opt, ema=moving_average(state.ema, params, state.step),
                    sums=state.sums + sums, diverged=state.diverged)
        return freeze_if_diverged(state, new, total)

    def learn(params, state: State, hyper: Hyper, batch: Batch, everywhere):
        """(loss, its gradients, metrics, new statistics) of this shard's examples or a part of them; all but the last add up over
        shards and parts, so the loss is divided by all that counts everywhere."""
        inputs = augmented(batch, hyper["seed"], state.step, config.data.augment, config.data.normalize)
        dropout = rng.per_example(rng.key(hyper["seed"], "dropout", state.step), batch.ids)

        def objective(params):
            model = nnx.merge(graphdef, params, state.stats)
            output = model(inputs, train=True, dropout_keys=dropout)
            loss = losses.smoothed_cross_entropy(output.logits, batch.labels, hyper["alpha"], config.loss.convention,
                                                 masked=False)
            if config.distill:
                loss = distilled(loss, output.logits, batch, hyper, config.distill)
            total = loss
            if output.auxiliary_logits is not None:
                total = loss + config.loss.auxiliary * losses.smoothed_cross_entropy(
                    output.auxiliary_logits, batch.labels, hyper["alpha"], config.loss.convention, masked=False)
            total = jnp.sum(total if batch.counted is None else jnp.where(batch.counted, total, 0.0)) / everywhere
            sums = metrics.sums(loss, output.logits, batch.labels, batch.counted)
            return config.loss.multiplier * total, (sums, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))

        (total, (sums, stats)), gradients = jax.value_and_grad(objective, has_aux=True)(params)
        return total, gradients, sums, stats

    def moving_average(ema, params, step):
        # The effective decay rises as (1+t)/(10+t), as TensorFlow's ExponentialMovingAverage does with num_updates.
        taken = step.astype(jnp.float32)
        decay = jnp.minimum(config.optimizer.ema, (1.0 + taken) / (10.0 + taken))
        return jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, ema, params) if config.optimizer.ema else {}

    def evaluated(state: State, inputs: Float[Array, "batch height width channels"] | Tokens) -> Output:
        return nnx.merge(graphdef, state.ema if config.optimizer.ema else state.params, state.stats)(inputs, train=False)

    def predict(state: State, batch: Batch) -> Output:
        if isinstance(batch.inputs, Tokens):
            return evaluated(state, batch.inputs)
        return evaluated(state, augment.evaluate(batch.inputs, config.data.augment, config.data.normalize))

    def view(state: State, batch: Batch, keys: Key[Array, " batch"]) -> Output:
        return evaluated(state, augment.train(batch.inputs, keys, config.data.augment, config.data.normalize))

    def measure(state: State, hyper: Hyper, batch: Batch, mask: Bool[Array, " batch"]) -> metrics.Sums:
        logits = predict(state, batch).logits
        loss = losses.smoothed_cross_entropy(logits, batch.labels, hyper["alpha"], config.loss.convention, masked=False)
        mask = mask if batch.counted is None else mask[:, None] & batch.counted
        return total_over_shards(metrics.sums(loss, logits, batch.labels, mask))

    mean_over_shards = (lambda tree: lax.pmean(tree, axis_name)) if axis_name else (lambda tree: tree)
    total_over_shards = (lambda tree: lax.psum(tree, axis_name)) if axis_name else (lambda tree: tree)
    return Steps(init, train, predict, measure, view)


def summed(f: Callable[[Batch], Any], batch: Batch, parts: int) -> Any:
    """Sum over consecutive parts of a batch of the tree that `f` makes of each: one after another, so that one is in memory."""
    if parts == 1:
        return f(batch)
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
    add = lambda *trees: jax.tree.map(lambda *xs: sum(xs), *trees)
    take = lambda split, part: jax.tree.map(lambda x: x[part], split)
    nothing = lambda split: meshes.zeros(jax.eval_shape(f, take(split, 0)))
    loop = lambda split: lax.scan(lambda total, part: (add(total, f(part)), None), nothing(split), split)[0]
    unrolled = lambda split: add(*(f(take(split, part)) for part in range(parts)))
    return lax.platform_dependent(split, cpu=unrolled, default=loop)  # a CPU runs convolutions in a loop slowly


def network(config: ml_collections.ConfigDict, num_classes: int, shape: tuple[int, int, int] | None,
            axis_name: str | None) -> tuple[Any, Any]:
    """(graph definition, key -> (params, stats)) of the config's model on images of this shape, or on Tokens."""
    new_model = lambda key: models.build(**config.model, num_classes=num_classes, image_shape=shape,
                                         dtype=jnp.dtype(config.dtype), axis_name=axis_name, rngs=layers.parameter_keys(key))
    new_weights = lambda key: tuple(nnx.to_pure_dict(part) for part in nnx.split(new_model(key), nnx.Param, nnx.BatchStat)[1:])
    return nnx.graphdef(nnx.eval_shape(lambda: new_model(jax.random.key(0)))), new_weights


def augmented(batch: Batch, seed: Int[Array, ""], step: Int[Array, ""], augmentation: str,
              normalization: str) -> Float[Array, "batch out_height out_width channels"] | Tokens:
    """What a member of this seed sees of a batch at this step; text as it is."""
    if isinstance(batch.inputs, Tokens):
        return batch.inputs
    keys = rng.per_example(rng.key(seed, "augment", step), batch.ids)
    return augment.train(batch.inputs, keys, augmentation, normalization)


def distilled(labels_loss: Float[Array, " batch"], logits: Float[Array, "batch classes"], batch: Batch, hyper: Hyper,
              settings: ml_collections.ConfigDict) -> Float[Array, " batch"]:
    """(1-β) H(y, p) + β (teacher's term) per example, as `config.distill` sets it; β = 0 is the labels' loss to the last bit."""
    if settings.loss == "logits":
        term = losses.logit_matching(logits, batch.teacher_logits, masked=False)
    else:
        own = hyper["temperature"] if settings.student_temperature is None else settings.student_temperature
        targets = losses.soft_targets(batch.teacher_logits, batch.labels, hyper["temperature"], hyper["control"], masked=False)
        term = losses.soft_cross_entropy(logits, targets, own, masked=False)
        term = jnp.square(hyper["temperature"]) * term if settings.temperature_squared else term
    return (1 - hyper["beta"]) * labels_loss + hyper["beta"] * term


def build_teacher(teacher: ml_collections.ConfigDict, student: ml_collections.ConfigDict, num_classes: int,
                  image_shape: tuple[int, int, int]) -> Any:
    """(weights, seed, step, batch) -> logits: a trained network's on what the student of this seed sees at this step.

    `weights` are its (params, stats). It is in evaluation mode: batch norm by its running statistics, no dropout. The
    student's augmentation is followed by the teacher's own normalisation.
    """
    teacher, student = ml_collections.FrozenConfigDict(teacher), ml_collections.FrozenConfigDict(student)
    graphdef, _ = network(teacher, num_classes, augment.output_shape(image_shape, student.data.augment), None)

    def teach(weights: Any, seed: Int[Array, ""], step: Int[Array, ""], batch: Batch) -> Float[Array, "batch classes"]:
        images = augmented(batch, seed, step, student.data.augment, teacher.data.normalize)
        return nnx.merge(graphdef, *weights)(images, train=False).logits

    return teach


def freeze_if_diverged(old: State, new: State, loss: Float[Array, ""]) -> State:
    """`new`, or from the first non-finite loss on `old` for ever, so that a diverged member cannot spread NaN."""
    healthy = (old.diverged < 0) & jnp.isfinite(loss)
    kept = jax.tree.map(lambda n, o: jnp.where(healthy, n, o), new, old)
    at = jnp.where((old.diverged < 0) & ~healthy, old.step, old.diverged)
    return dataclasses.replace(kept, step=new.step, diverged=at)
