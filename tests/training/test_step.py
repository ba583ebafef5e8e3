"""The step's mathematics, alone: what it computes, what it freezes, what it evaluates."""
import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ls_jax import losses, models
from ls_jax.data.batch import Batch
from ls_jax.training import metrics, step
from ls_jax.training.step import StepInput

HYPER = {"alpha": jnp.float32(0.1), "seed": jnp.int32(3), "learning_rate": jnp.float32(0.1), "weight_decay": jnp.float32(0.0)}


@pytest.fixture
def batch():
    images = jax.random.randint(jax.random.key(0), (16, 8, 8, 1), 0, 256).astype(jnp.uint8)
    return Batch(images, jnp.arange(16, dtype=jnp.int32) % 10, jnp.arange(16, dtype=jnp.int32))


def build(config):
    """The methods of a config's step, each compiled on its own, and a state."""
    built = step.build(config, 10, (8, 8, 1), axis_name=None)
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
    class Twice(models.MLP):
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
