"""A training step for one member on one shard; `devices.layout.over_mesh` adds the member and the data axis."""
import dataclasses
import types
from collections.abc import Callable, Mapping
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
from ls_jax.devices import mesh
from ls_jax.models import Output, layers
from ls_jax.training import metrics, optim, rng, sweep
from ls_jax.training.state import Hyper, State

NewWeights = Callable[[Key[Array, ""]], tuple[Any, Any]]  # a key -> new (params, stats), nested dicts of float32 arrays
Forward = Callable[..., Float[Array, "batch classes"]]    # ((params, stats), seed, step, batch) -> logits


class StepInput(NamedTuple):
    """The input of a training step, on one shard.

    Attributes:
        batch: the examples.
        teacher_logits: those of the student's teacher for each example; None without a teacher.
    """
    batch: Batch
    teacher_logits: Float[Array, "batch classes"] | None = None


class Learned(NamedTuple):
    """The result of a backward pass over all shards; see `Step.gradients`.

    Attributes:
        loss: the minimised loss.
        gradients: a nested dict like params.
        sums: the training metrics.
        stats: the new running statistics of batch norm, a nested dict.
    """
    loss: Float[Array, ""]
    gradients: Any
    sums: metrics.Sums
    stats: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """The pure functions of a run, each for one member on one shard.

    Attributes:
        config: the run's config, frozen, since later changes must not reach programs that are traced later.
        graphdef, new_weights: the network; see `build_network`.
        terms: the names of the loss terms that are compiled; see `losses.used`.
        settings: of the loss.
        axis_name: the mesh axis to reduce over; None without a mesh.
    """
    config: ml_collections.FrozenConfigDict
    graphdef: nnx.GraphDef
    new_weights: NewWeights
    terms: tuple[str, ...]
    settings: losses.Settings
    axis_name: str | None

    def init(self, hyper: Hyper, measured: Mapping[str, Any] = types.MappingProxyType({})) -> State:
        """The state before the first step, from the seed; `measured` replaces statistics, see `models.statistics`."""
        params, stats = self.new_weights(rng.key(hyper["seed"], "init"))
        stats = stats | {layer: stats[layer] | arrays for layer, arrays in measured.items()}
        start = jnp.zeros((), jnp.int32)
        opt = optim.transform(self.config, hyper, start).init(params)
        return State(step=start, params=params, stats=stats, opt=opt, ema=params if self.config.optimizer.ema else {},
                     sums=metrics.zeros(self.taught), diverged=start - 1)

    def loss(self, hyper: Hyper, logits: Float[Array, "*batch classes"], given: StepInput) -> Float[Array, "*batch"]:
        """The loss of each example, or for text of each token, padding included.

        Terms that need a teacher are left out where `given.teacher_logits` is None.
        """
        examples = losses.Examples(logits, given.batch.labels, given.teacher_logits, self.settings, masked=False)
        return losses.loss(examples, hyper, self.terms)

    @property
    def taught(self) -> bool:
        """Whether the sweep has students with a teacher."""
        return any(losses.LOSSES[name].taught for name in self.terms)

    def strengths(self, hyper: Hyper, state: State) -> Hyper:
        """The hyper-parameters at this point of the training: strengths with an end are on their way to it."""
        return losses.at(hyper, state.step / self.config.steps)

    def train(self, state: State, hyper: Hyper, given: StepInput) -> State:
        """The state after one step."""
        return self.update(state, hyper, self.gradients(state, hyper, given))

    def gradients(self, state: State, hyper: Hyper, given: StepInput) -> Learned:
        """The loss of the whole batch, over all shards, with its gradients.

        Raises:
            ValueError: the sweep has students with a teacher, and `given` has no teacher's logits.
        """
        if given.teacher_logits is None and self.taught:
            raise ValueError("the sweep has students with a teacher: StepInput.teacher_logits must be given")
        params = mesh.varying(state.params, self.axis_name)  # gradients are each shard's own until the sum below
        counted = given.batch.counted
        counted = given.batch.labels.shape[0] if counted is None else jnp.sum(counted, dtype=jnp.float32)
        total_count = self._total(counted)  # shards may hold different numbers of tokens

        def of_micro_batch(given):
            return self._of_micro_batch(params, state, hyper, given, total_count)

        loss, gradients, sums, stats = summed(of_micro_batch, given, self.config.micro_batches)
        loss, gradients, sums = self._total((loss, gradients, sums))
        stats = jax.tree.map(lambda x: x / self.config.micro_batches, stats)
        if self.axis_name and self.config.batch_norm != "synchronized":
            stats = lax.pmean(stats, self.axis_name)
        return Learned(loss, gradients, sums, stats)

    def _of_micro_batch(self, params, state, hyper, given, total_count):
        """`Learned` of a micro-batch of this shard.

        All but the statistics are to be summed over shards and micro-batches, so the loss is divided by the count of
        the whole batch.
        """
        batch, settings = given.batch, self.config.loss
        inputs = augmented(batch, hyper["seed"], state.step, self.config.data, self.config.data.normalize)
        dropout = rng.per_example(rng.key(hyper["seed"], "dropout", state.step), batch.ids)
        hyper = self.strengths(hyper, state)

        def objective(params):
            model = nnx.merge(self.graphdef, params, state.stats)
            output = model(inputs, train=True, dropout_keys=dropout)
            loss = total = self.loss(hyper, output.logits, given)
            if output.auxiliary_logits is not None:
                total = loss + settings.auxiliary * self.loss(hyper, output.auxiliary_logits, StepInput(batch))
            total = jnp.sum(total if batch.counted is None else jnp.where(batch.counted, total, 0.0)) / total_count
            sums = metrics.sums(loss, output.logits, batch.labels, batch.counted,
                                given.teacher_logits if self.taught else None)
            if self.taught:  # a student without a teacher is handed some teacher's logits all the same
                sums = dataclasses.replace(sums, agreed=jnp.where(hyper["teacher"] < 0, 0.0, sums.agreed))
            return settings.multiplier * total, (sums, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))

        (total, (sums, stats)), gradients = jax.value_and_grad(objective, has_aux=True)(params)
        return Learned(total, gradients, sums, stats)

    def update(self, state: State, hyper: Hyper, learned: Learned) -> State:
        """The state after a step with these gradients; a loss that is not finite freezes the member."""
        transform = optim.transform(self.config, hyper, state.step)
        updates, opt = transform.update(learned.gradients, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        new = State(step=state.step + 1, params=params, stats=learned.stats, opt=opt,
                    ema=self._moving_average(state, params), sums=state.sums + learned.sums, diverged=state.diverged)
        return freeze_if_diverged(state, new, learned.loss)

    def predict(self, state: State, batch: Batch) -> Output:
        """The trained network's output on examples without augmentation."""
        if isinstance(batch.inputs, Tokens):
            return self._evaluated(state, batch.inputs)
        images = augment.evaluate(batch.inputs, self.config.data.augment, self.config.data.normalize)
        return self._evaluated(state, images)

    def view(self, state: State, batch: Batch, keys: Key[Array, " batch"]) -> Output:
        """The trained network's output on images augmented with these keys."""
        images = batch.inputs
        if self.config.data.flip_period:
            images = augment.mirror(images, rng.bits(jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)))
        images = augment.train(images, keys, self.config.data.augment, self.config.data.normalize)
        return self._evaluated(state, images)

    def measure(self, state: State, hyper: Hyper, batch: Batch, mask: Bool[Array, " batch"]) -> metrics.Sums:
        """Sums over the examples where `mask` is set, or for text over their tokens, on all shards."""
        logits = self.predict(state, batch).logits
        mask = mask if batch.counted is None else mask[:, None] & batch.counted
        loss = self.loss(self.strengths(hyper, state), logits, StepInput(batch))
        return self._total(metrics.sums(loss, logits, batch.labels, mask))

    def _evaluated(self, state, inputs):
        params = state.ema if self.config.optimizer.ema else state.params
        return nnx.merge(self.graphdef, params, state.stats)(inputs, train=False)

    def _moving_average(self, state, params):
        # The effective decay rises as (1+t)/(10+t), as TensorFlow's ExponentialMovingAverage does with num_updates.
        if not self.config.optimizer.ema:
            return {}
        taken = state.step.astype(jnp.float32)
        decay = jnp.minimum(self.config.optimizer.ema, (1.0 + taken) / (10.0 + taken))
        return jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state.ema, params)

    def _total(self, tree):
        return lax.psum(tree, self.axis_name) if self.axis_name else tree


def build_step(config: ml_collections.ConfigDict, num_classes: int, image_shape: tuple[int, int, int] | None,
               axis_name: str | None = "data") -> Step:
    """The step of a config, for images of this shape, or where it is None for Tokens of `num_classes` words."""
    config = ml_collections.FrozenConfigDict(config.to_dict())  # to_dict() also freezes the plain dicts inside
    shape = image_shape and augment.output_shape(image_shape, config.data.augment)
    statistics_axis = axis_name if config.batch_norm == "synchronized" else None
    graphdef, new_weights = build_network(config, num_classes, shape, statistics_axis)
    settings = losses.Settings(config.loss.convention)
    if config.distill:
        settings = losses.Settings(config.loss.convention, config.distill.loss, config.distill.student_temperature,
                                   config.distill.temperature_squared)
    return Step(config, graphdef, new_weights, losses.used(sweep.grid(config)), settings, axis_name)


def summed(f: Callable[[StepInput], Any], given: StepInput, parts: int) -> Any:
    """The sum of the trees f(part) over consecutive parts of a batch, one after another, so that one is in memory."""
    if parts == 1:
        return f(given)

    def unrolled(split):
        return _add(*(f(sweep.take(split, part)) for part in range(parts)))

    def looped(split):
        def add_part(total, part):
            return _add(total, f(part)), None

        zeros = mesh.zeros(jax.eval_shape(f, sweep.take(split, 0)))
        return lax.scan(add_part, zeros, split)[0]

    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), given)
    return lax.platform_dependent(split, cpu=unrolled, default=looped)  # XLA:CPU runs convolutions in a loop slowly


def _add(*trees):
    return jax.tree.map(lambda *leaves: sum(leaves), *trees)


def build_network(config: ml_collections.ConfigDict, num_classes: int, shape: tuple[int, int, int] | None,
                  axis_name: str | None) -> tuple[nnx.GraphDef, NewWeights]:
    """(graph definition, key -> (params, stats)) of the config's model on images of this shape, or on Tokens.

    Raises:
        ValueError: the model has no such field, or cannot take such images.
    """
    def new_model(key):
        return models.build(**config.model, num_classes=num_classes, image_shape=shape, dtype=jnp.dtype(config.dtype),
                            axis_name=axis_name, rngs=layers.parameter_keys(key))

    def new_weights(key):
        return tuple(nnx.to_pure_dict(part) for part in nnx.split(new_model(key), nnx.Param, nnx.BatchStat)[1:])

    return nnx.graphdef(nnx.eval_shape(lambda: new_model(jax.random.key(0)))), new_weights


def augmented(batch: Batch, seed: Int[Array, ""], step: Int[Array, ""], data: ml_collections.ConfigDict,
              normalization: str) -> Float[Array, "batch out_height out_width channels"] | Tokens:
    """The network's inputs: images augmented for this seed and step and normalised, or Tokens unchanged.

    With `data.flip_period`, half of the pictures are mirrored in the first period and every second one after it, and
    the other half in the periods between. Which half is a function of the seed and the example.
    """
    if isinstance(batch.inputs, Tokens):
        return batch.inputs
    keys, images = rng.per_example(rng.key(seed, "augment", step), batch.ids), batch.inputs
    if data.flip_period:
        drawn = rng.bits(rng.per_example(rng.key(seed, "flip"), batch.ids))
        images = augment.mirror(images, drawn + (step // data.flip_period).astype(jnp.uint32))
    return augment.train(images, keys, data.augment, normalization)


def build_teacher(teacher: ml_collections.ConfigDict, student: ml_collections.ConfigDict, num_classes: int,
                  image_shape: tuple[int, int, int]) -> Forward:
    """A trained teacher's forward pass on the images that the student of a seed sees at a step.

    It runs in evaluation mode: batch norm uses its running statistics, and nothing is dropped. The images have the
    student's augmentation and the teacher's normalisation.
    """
    teacher, student = (ml_collections.FrozenConfigDict(config.to_dict()) for config in (teacher, student))
    graphdef, _ = build_network(teacher, num_classes, augment.output_shape(image_shape, student.data.augment), None)

    def teach(weights: Any, seed: Int[Array, ""], step: Int[Array, ""], batch: Batch) -> Float[Array, "batch classes"]:
        images = augmented(batch, seed, step, student.data, teacher.data.normalize)
        return nnx.merge(graphdef, *weights)(images, train=False).logits

    return teach


def freeze_if_diverged(old: State, new: State, loss: Float[Array, ""]) -> State:
    """`new`, but `old` from the first loss on that is not finite: a diverged member keeps its last finite weights."""
    healthy = (old.diverged < 0) & jnp.isfinite(loss)
    state = jax.tree.map(lambda n, o: jnp.where(healthy, n, o), new, old)
    at = jnp.where((old.diverged < 0) & ~healthy, old.step, old.diverged)
    return dataclasses.replace(state, step=new.step, diverged=at)
