"""The step's mathematics, alone: what it computes, what it freezes, what it evaluates."""
import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax import losses, models
from ls_jax.data.batch import Batch
from ls_jax.models.mlp import MLP
from ls_jax.training import metrics, step
from ls_jax.training.step import StepInput

HYPER = {"alpha": jnp.float32(0.1), "seed": jnp.int32(3), "learning_rate": jnp.float32(0.1),
         "weight_decay": jnp.float32(0.0)}


@pytest.fixture
def batch():
    images = jax.random.randint(jax.random.key(0), (16, 8, 8, 1), 0, 256).astype(jnp.uint8)
    return Batch(images, jnp.arange(16, dtype=jnp.int32) % 10, jnp.arange(16, dtype=jnp.int32))


def build(config):
    """The methods of a config's step, each compiled on its own, and a state."""
    built = step.build_step(config, 10, (8, 8, 1), axis_name=None)
    methods = ("init", "loss", "gradients", "update", "train", "predict", "measure", "view")
    steps = types.SimpleNamespace(**{name: jax.jit(getattr(built, name)) for name in methods})
    return steps, steps.init(HYPER)


def test_one_step_of_plain_descent_is_the_written_gradient(tiny, batch):
    tiny.optimizer.momentum = 0.0
    steps, state = build(tiny)
    new = steps.train(state, HYPER, StepInput(batch))

    def loss(params):
        logits = steps.predict(dataclasses.replace(state, params=params), batch).logits
        return losses.smoothed_cross_entropy(logits, batch.labels, 0.1).mean()

    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, jax.grad(loss)(state.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), new.params, expected)
    assert int(new.step) == 1 and float(new.sums.count) == 16
    np.testing.assert_allclose(new.sums.loss, 16 * loss(state.params), rtol=1e-5)


def test_the_loss_is_of_each_example_and_of_the_teacher_where_there_is_one(tiny, batch):
    steps, _ = build(tiny)
    logits, teacher = (jax.random.normal(jax.random.key(seed), (16, 10)) for seed in (1, 2))
    of_labels = losses.smoothed_cross_entropy(logits, batch.labels, 0.1)
    np.testing.assert_allclose(steps.loss(HYPER, logits, StepInput(batch)), of_labels, rtol=1e-6)
    students = dict(teacher="net", temperature=(4.0,), beta=(0.7,))
    tiny.distill = configs.distillation({"net": tiny.copy_and_resolve_references()}, {"taught": students},
                                        temperature_squared=True)
    steps, state = build(tiny)
    taught = HYPER | {"teacher": jnp.int32(0), "beta": jnp.float32(0.7), "temperature": jnp.float32(4.0),
                      "control": jnp.float32(0.0)}
    soft = losses.soft_cross_entropy(logits, jax.nn.softmax(teacher / 4))
    np.testing.assert_allclose(steps.loss(taught, logits, StepInput(batch, teacher)),
                               0.3 * of_labels + 0.7 * 16 * soft, rtol=1e-5)
    np.testing.assert_allclose(steps.loss(taught, logits, StepInput(batch)), of_labels, rtol=1e-6)  # as it is evaluated
    with pytest.raises(ValueError, match="StepInput.teacher_logits must be given"):
        steps.train(state, taught, StepInput(batch))
    learned = steps.gradients(state, taught, StepInput(batch, teacher))
    assert not np.allclose(learned.loss, steps.gradients(state, taught, StepInput(batch, 2 * teacher)).loss)
    own = steps.predict(state, batch).logits
    mixed = jnp.where(jnp.arange(16)[:, None] < 5, own, -own)  # a teacher that agrees on five of sixteen examples
    assert int(steps.gradients(state, taught, StepInput(batch, mixed)).sums.agreed) == 5
    assert state.sums.means()["agreement"].shape == () and "agreement" not in metrics.zeros().means()


def test_gradients_are_of_the_mean_loss(tiny, batch):
    tiny.loss.multiplier = 3.0
    steps, state = build(tiny)

    def loss(params):
        logits = steps.predict(dataclasses.replace(state, params=params), batch).logits
        return 3 * steps.loss(HYPER, logits, StepInput(batch)).mean()

    learned = steps.gradients(state, HYPER, StepInput(batch))
    expected, slope = jax.value_and_grad(loss)(state.params)
    np.testing.assert_allclose(learned.loss, expected, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), learned.gradients, slope)
    assert float(learned.sums.count) == 16 and learned.stats == {}


def test_an_update_follows_the_gradients_and_freezes_without_a_finite_loss(tiny, batch):
    tiny.optimizer.momentum = 0.0
    steps, state = build(tiny)
    ones, sums = jax.tree.map(jnp.ones_like, state.params), dataclasses.replace(metrics.zeros(), count=jnp.float32(16))
    new = steps.update(state, HYPER, step.Learned(jnp.float32(1.0), ones, sums, {}))
    jax.tree.map(lambda n, o: np.testing.assert_allclose(n, o - 0.1, atol=1e-6), new.params, state.params)
    assert (int(new.step), int(new.diverged), float(new.sums.count)) == (1, -1, 16)
    frozen = steps.update(new, HYPER, step.Learned(jnp.float32(jnp.inf), ones, sums, {}))
    jax.tree.map(np.testing.assert_array_equal, frozen.params, new.params)
    assert (int(frozen.step), int(frozen.diverged), float(frozen.sums.count)) == (2, 1, 16)


def test_a_step_is_its_gradients_and_the_update(tiny, batch):
    tiny.optimizer.ema = 0.9
    steps, state = build(tiny)
    parts = steps.update(state, HYPER, steps.gradients(state, HYPER, StepInput(batch)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7),
                 steps.train(state, HYPER, StepInput(batch)), parts)


def test_a_view_is_the_trained_network_on_augmented_images(tiny, batch):
    tiny.model.dropout = 0.5  # which neither has
    tiny.data.augment = "shift"
    steps, state = build(tiny)
    keys = step.rng.per_example(jax.random.key(1), batch.ids)
    images = step.augment.train(batch.inputs, keys, "shift", tiny.data.normalize)
    viewed = steps.view(state, batch, keys).logits
    shifted = batch._replace(inputs=jnp.round(images * 255).astype(jnp.uint8))  # unit: pixels over 255
    np.testing.assert_allclose(viewed, steps.predict(state, shifted).logits, atol=1e-5)
    assert not np.allclose(viewed, steps.predict(state, batch).logits)


def test_what_is_measured_is_the_labels_loss(tiny, batch):
    steps, state = build(tiny)
    logits = steps.predict(state, batch).logits
    sums = steps.measure(state, HYPER, batch, jnp.ones(16, bool))
    np.testing.assert_allclose(sums.loss, losses.smoothed_cross_entropy(logits, batch.labels, 0.1).sum(), rtol=1e-6)
    np.testing.assert_allclose(sums.nll, losses.cross_entropy(logits, batch.labels).sum(), rtol=1e-6)
    assert (int(sums.correct), int(sums.count)) == (int(np.sum(np.argmax(logits, axis=1) == batch.labels)), 16)


def test_the_multiplier_scales_the_gradient_not_the_report(tiny, batch):
    tiny.optimizer.momentum = 0.0
    once, state = build(tiny)
    tiny.loss.multiplier = 3.0
    thrice, _ = build(tiny)
    a, b = once.train(state, HYPER, StepInput(batch)), thrice.train(state, HYPER, StepInput(batch))
    moved = lambda new: jax.tree.map(lambda n, o: n - o, new.params, state.params)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(3 * x, y, atol=1e-6), moved(a), moved(b))
    np.testing.assert_allclose(a.sums.loss, b.sums.loss)


def test_a_non_finite_loss_freezes_the_member_for_ever(tiny, batch):
    steps, state = build(tiny)
    healthy = steps.train(state, HYPER, StepInput(batch))
    poisoned = HYPER | {"alpha": jnp.float32(jnp.nan)}
    frozen = steps.train(healthy, poisoned, StepInput(batch))
    later = steps.train(frozen, HYPER, StepInput(batch))
    assert int(healthy.diverged) == -1 and int(frozen.diverged) == int(later.diverged) == 1 and int(later.step) == 3
    jax.tree.map(np.testing.assert_array_equal, later.params, healthy.params)
    jax.tree.map(np.testing.assert_array_equal, later.opt, healthy.opt)


def test_the_moving_average_is_what_is_evaluated(tiny, batch):
    tiny.optimizer.ema = 0.5
    steps, state = build(tiny)
    new = steps.train(state, HYPER, StepInput(batch))
    decay = min(0.5, 1 / 10)  # the first step's, see step.moving_average
    expected = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state.params, new.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), new.ema, expected)
    by_hand = steps.predict(dataclasses.replace(new, ema=expected), batch).logits
    np.testing.assert_allclose(steps.predict(new, batch).logits, by_hand, rtol=1e-5)


def test_dropout_and_augmentation_depend_on_seed_and_step_alone(tiny, batch):
    tiny.model.dropout = 0.5
    tiny.data.augment = "shift"
    steps, state = build(tiny)
    again = steps.train(state, HYPER, StepInput(batch))
    jax.tree.map(np.testing.assert_array_equal, steps.train(state, HYPER, StepInput(batch)).params, again.params)
    other = steps.train(state, HYPER | {"seed": jnp.int32(4)}, StepInput(batch))
    assert not np.allclose(jax.tree.leaves(other.params)[0], jax.tree.leaves(again.params)[0])


def test_masked_rows_never_count(tiny, batch):
    steps, state = build(tiny)
    mask = jnp.arange(16) < 5
    few = steps.measure(state, HYPER, jax.tree.map(lambda x: x[:5], batch), jnp.ones(5, bool))
    masked = steps.measure(state, HYPER, batch, mask)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), masked, few)
    poisoned = jnp.where(mask[:, None], 0.0, jnp.nan) * jnp.ones((16, 10))
    assert np.isfinite(metrics.sums(poisoned[:, 0], poisoned, batch.labels, mask).loss)


@pytest.mark.parametrize("model", [dict(name="mlp", hidden=(16,), init_std=None),
                                   dict(name="resnet", blocks=1, widths=(4,), stem=4)])
def test_bfloat16_computes_near_float32_and_keeps_float32_state(tiny, batch, model):
    tiny.model = model
    steps, state = build(tiny)
    tiny.dtype = "bfloat16"
    low, _ = build(tiny)
    new = low.train(state, HYPER, StepInput(batch))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves((new.params, new.stats, new.opt))} <= {"float32", "int32"}
    np.testing.assert_allclose(low.predict(state, batch).logits, steps.predict(state, batch).logits, atol=0.05)


def test_parts_of_a_batch_without_batch_norm_are_the_whole(tiny, batch):
    tiny.model.dropout = 0.3
    whole, state = build(tiny)
    tiny.micro_batches = 4
    parts, _ = build(tiny)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-5)
    jax.tree.map(close, parts.train(state, HYPER, StepInput(batch)), whole.train(state, HYPER, StepInput(batch)))


def test_a_loop_over_parts_is_the_unrolled_one(tiny, batch, monkeypatch):
    """What a GPU or TPU runs, here too."""
    tiny.model = dict(name="resnet", blocks=1, widths=(4,), stem=4)
    tiny.micro_batches = 4
    unrolled, state = build(tiny)
    expected = unrolled.train(state, HYPER, StepInput(batch))
    monkeypatch.setattr(step.lax, "platform_dependent", lambda *arguments, cpu, default: default(*arguments))
    loop, _ = build(tiny)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-5)
    jax.tree.map(close, loop.train(state, HYPER, StepInput(batch)), expected)


def test_an_auxiliary_classifier_adds_its_weighted_loss(tiny, batch, monkeypatch):
    """One that gives the same logits again adds so many times the same gradient, and nothing to what is reported."""
    class Twice(MLP):
        def __call__(self, *arguments, **options):
            output = super().__call__(*arguments, **options)
            return output._replace(auxiliary_logits=output.logits)

    tiny.optimizer.momentum = 0.0
    plain, state = build(tiny)
    tiny.loss.auxiliary = 0.5
    monkeypatch.setitem(models.MODELS, "mlp", Twice)
    twice, _ = build(tiny)
    a, b = plain.train(state, HYPER, StepInput(batch)), twice.train(state, HYPER, StepInput(batch))
    moved = lambda new: jax.tree.map(lambda n, o: n - o, new.params, state.params)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(1.5 * x, y, atol=1e-6), moved(a), moved(b))
    np.testing.assert_allclose(a.sums.loss, b.sums.loss)
