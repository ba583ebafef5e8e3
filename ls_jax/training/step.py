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
from ls_jax.training import metrics, optim, rng, sweep
from ls_jax.training.state import Hyper, State


class StepInput(NamedTuple):
    """What a training step is given, on one shard."""
    batch: Batch
    teacher_logits: Float[Array, "batch classes"] | None = None  # of each example by its student's teacher; None: there is no teacher


class Learned(NamedTuple):
    """What a batch tells of the parameters, over all shards; see `Step.gradients`."""
    loss: Float[Array, ""]  # what is minimised
    gradients: Any          # like params
    sums: metrics.Sums
    stats: Any              # new running statistics of batch norm


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """The pure functions that a run is made of, each for one member on one shard.

    Attributes:
        config: the run's, frozen: what is traced later must be what was asked for now.
        graphdef, new_weights: the network; see `network`.
        terms: the terms of the loss that are compiled; see `losses.used`.
        settings: of the loss.
        axis_name: the mesh axis to reduce over, None without a mesh.
    """
    config: ml_collections.FrozenConfigDict
    graphdef: Any
    new_weights: Callable[[Key[Array, ""]], tuple[Any, Any]]
    terms: tuple[str, ...]
    settings: losses.Settings
    axis_name: str | None

    def init(self, hyper: Hyper) -> State:
        """The state before the first step, from the seed."""
        params, stats = self.new_weights(rng.key(hyper["seed"], "init"))
        start = jnp.zeros((), jnp.int32)
        return State(step=start, params=params, stats=stats, ema=params if self.config.optimizer.ema else {},
                     opt=optim.transform(self.config, hyper, start).init(params), sums=metrics.zeros(), diverged=start - 1)

    def loss(self, hyper: Hyper, logits: Float[Array, "*batch classes"], given: StepInput) -> Float[Array, "*batch"]:
        """The loss of each example, of text of each token, padding included; what needs a teacher is left out where there is none."""
        examples = losses.Examples(logits, given.batch.labels, given.teacher_logits, self.settings, masked=False)
        return losses.loss(examples, hyper, self.terms)

    def train(self, state: State, hyper: Hyper, given: StepInput) -> State:
        """The state after one step."""
        return self.update(state, hyper, self.gradients(state, hyper, given))

    def gradients(self, state: State, hyper: Hyper, given: StepInput) -> Learned:
        """The loss of the whole batch, that of all shards, and its gradients.

        Raises:
            ValueError: a student is given no teacher's logits.
        """
        if given.teacher_logits is None and any(losses.LOSSES[name].taught for name in self.terms):
            raise ValueError("the sweep has students with a teacher: StepInput.teacher_logits must be given")
        params = meshes.varying(state.params, self.axis_name)  # a shard's gradients are its own until they are summed below
        counted = given.batch.counted
        counted = given.batch.labels.shape[0] if counted is None else jnp.sum(counted, dtype=jnp.float32)
        everywhere = self._total(counted)  # shards may hold unequally many tokens
        part = lambda given: self._of_part(params, state, hyper, given, everywhere)
        loss, gradients, sums, stats = summed(part, given, self.config.micro_batches)
        loss, gradients, sums = self._total((loss, gradients, sums))
        stats = jax.tree.map(lambda x: x / self.config.micro_batches, stats)
        if self.axis_name and self.config.batch_norm != "synchronized":
            stats = lax.pmean(stats, self.axis_name)
        return Learned(loss, gradients, sums, stats)

    def _of_part(self, params, state, hyper, given, everywhere):
        """`Learned` of this shard's examples or a part of them; all but the statistics add up over shards and parts, so the loss is
        divided by all that counts everywhere."""
        batch, settings = given.batch, self.config.loss
        inputs = augmented(batch, hyper["seed"], state.step, self.config.data.augment, self.config.data.normalize)
        dropout = rng.per_example(rng.key(hyper["seed"], "dropout", state.step), batch.ids)

        def objective(params):
            model = nnx.merge(self.graphdef, params, state.stats)
            output = model(inputs, train=True, dropout_keys=dropout)
            loss = total = self.loss(hyper, output.logits, given)
            if output.auxiliary_logits is not None:
                total = loss + settings.auxiliary * self.loss(hyper, output.auxiliary_logits, StepInput(batch))
            total = jnp.sum(total if batch.counted is None else jnp.where(batch.counted, total, 0.0)) / everywhere
            sums = metrics.sums(loss, output.logits, batch.labels, batch.counted)
            return settings.multiplier * total, (sums, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))

        (total, (sums, stats)), gradients = jax.value_and_grad(objective, has_aux=True)(params)
        return Learned(total, gradients, sums, stats)

    def update(self, state: State, hyper: Hyper, learned: Learned) -> State:
        """The state after a step with these gradients; one whose loss is not finite freezes the member."""
        updates, opt = optim.transform(self.config, hyper, state.step).update(learned.gradients, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        new = State(step=state.step + 1, params=params, stats=learned.stats, opt=opt, ema=self._moving_average(state, params),
                    sums=state.sums + learned.sums, diverged=state.diverged)
        return freeze_if_diverged(state, new, learned.loss)

    def predict(self, state: State, batch: Batch) -> Output:
        """The trained network's output on examples as they are."""
        if isinstance(batch.inputs, Tokens):
            return self._evaluated(state, batch.inputs)
        return self._evaluated(state, augment.evaluate(batch.inputs, self.config.data.augment, self.config.data.normalize))

    def view(self, state: State, batch: Batch, keys: Key[Array, " batch"]) -> Output:
        """Its output on images augmented by these keys."""
        return self._evaluated(state, augment.train(batch.inputs, keys, self.config.data.augment, self.config.data.normalize))

    def measure(self, state: State, hyper: Hyper, batch: Batch, mask: Bool[Array, " batch"]) -> metrics.Sums:
        """Sums over the examples where `mask` is set, of all shards; of text over their tokens."""
        logits = self.predict(state, batch).logits
        mask = mask if batch.counted is None else mask[:, None] & batch.counted
        return self._total(metrics.sums(self.loss(hyper, logits, StepInput(batch)), logits, batch.labels, mask))

    def _evaluated(self, state, inputs):
        return nnx.merge(self.graphdef, state.ema if self.config.optimizer.ema else state.params, state.stats)(inputs, train=False)

    def _moving_average(self, state, params):
        # The effective decay rises as (1+t)/(10+t), as TensorFlow's ExponentialMovingAverage does with num_updates.
        if not self.config.optimizer.ema:
            return {}
        taken = state.step.astype(jnp.float32)
        decay = jnp.minimum(self.config.optimizer.ema, (1.0 + taken) / (10.0 + taken))
        return jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state.ema, params)

    def _total(self, tree):
        return lax.psum(tree, self.axis_name) if self.axis_name else tree


def build(config: ml_collections.ConfigDict, num_classes: int, image_shape: tuple[int, int, int] | None,
          axis_name: str | None = "data") -> Step:
    """The step of a config, for images of a shape or, where it is None, for Tokens of a vocabulary of `num_classes`."""
    config = ml_collections.FrozenConfigDict(config.to_dict())  # also of plain dicts within
    shape = image_shape and augment.output_shape(image_shape, config.data.augment)
    graphdef, new_weights = network(config, num_classes, shape, axis_name if config.batch_norm == "synchronized" else None)
    settings = losses.Settings(config.loss.convention)
    if config.distill:
        settings = losses.Settings(config.loss.convention, config.distill.loss, config.distill.student_temperature,
                                   config.distill.temperature_squared)
    return Step(config, graphdef, new_weights, losses.used(sweep.grid(config)), settings, axis_name)


def summed(f: Callable[[StepInput], Any], given: StepInput, parts: int) -> Any:
    """Sum over consecutive parts of a batch of the tree that `f` makes of each: one after another, so that one is in memory."""
    if parts == 1:
        return f(given)
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), given)
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


def build_teacher(teacher: ml_collections.ConfigDict, student: ml_collections.ConfigDict, num_classes: int,
                  image_shape: tuple[int, int, int]) -> Any:
    """(weights, seed, step, batch) -> logits: a trained network's on what the student of this seed sees at this step.

    `weights` are its (params, stats). It is in evaluation mode: batch norm by its running statistics, no dropout. The
    student's augmentation is followed by the teacher's own normalisation.
    """
    teacher, student = (ml_collections.FrozenConfigDict(config.to_dict()) for config in (teacher, student))
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
