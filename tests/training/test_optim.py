"""Optimizer chains against the written update rules."""
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ls_jax import config as configs
from ls_jax.training import optim

PARAMS = {"conv": {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([0.5])},
          "norm": {"scale": jnp.array([1.5]), "bias": jnp.array([0.25])},
          "head": {"kernel": jnp.array([3.0]), "bias": jnp.array([4.0])}}
GRADIENTS = jax.tree.map(lambda p: 0.1 * p + 0.3, PARAMS)
HYPER = {"learning_rate": jnp.float32(0.5), "weight_decay": jnp.float32(0.01)}


def settings(**optimizer):
    config = configs.default()
    config.steps = 100
    config.optimizer.update(optimizer)
    return config


def updates(config, steps=2):
    """The updates of the last of a few steps with the same gradients."""
    opt = optim.transform(config, HYPER, jnp.int32(0)).init(PARAMS)
    for step in range(steps):
        result, opt = optim.transform(config, HYPER, jnp.int32(step)).update(GRADIENTS, opt, PARAMS)
    return result


def expected(momentum_rule, decays=lambda layer, name: name == "kernel", rates=None):
    """-lr m after two steps, for a rule m2(g) with the gradient g including the decay."""
    rates = rates or {}
    return {layer: {name: -0.5 * rates.get(layer, 1) * momentum_rule(
        GRADIENTS[layer][name] + (0.01 * p if decays(layer, name) else 0)) for name, p in leaves.items()}
        for layer, leaves in PARAMS.items()}


def check(actual, wanted, rtol=1e-6):
    for layer in wanted:
        for name in wanted[layer]:
            np.testing.assert_allclose(actual[layer][name], wanted[layer][name], rtol=rtol, err_msg=f"{layer}.{name}")


@pytest.mark.parametrize("form,rule", [
    ("heavy_ball", lambda g: g + 0.9 * g), ("nesterov", lambda g: g + 0.9 * (g + 0.9 * g)),
    ("averaged", lambda g: 0.1 * g + 0.9 * 0.1 * g)])
def test_momentum_forms(form, rule):
    check(updates(settings(momentum_form=form)), expected(rule))


@pytest.mark.parametrize("steps", [1, 3])
def test_adam(steps):
    """m = β₁ m + (1-β₁) g, v = β₂ v + (1-β₂) g², both without their bias; with one gradient again and again that is g / (|g| + ε)."""
    check(updates(settings(momentum_form="adam", epsilon=0.01), steps), expected(lambda g: g / (abs(g) + 0.01)), rtol=1e-5)


def test_adams_moments_follow_changing_gradients():
    hyper, first, second = HYPER, 0.3, -0.2
    config = settings(momentum_form="adam", momentum=0.8, second_momentum=0.95, decay_layers=("none",))
    opt = optim.transform(config, hyper, jnp.int32(0)).init(PARAMS)
    for g in (first, second):
        gradients = jax.tree.map(lambda p, g=g: jnp.full_like(p, g), PARAMS)
        result, opt = optim.transform(config, hyper, jnp.int32(0)).update(gradients, opt, PARAMS)
    m, v = 0.8 * 0.2 * first + 0.2 * second, 0.95 * 0.05 * first ** 2 + 0.05 * second ** 2
    wanted = -0.5 * (m / (1 - 0.8 ** 2)) / (np.sqrt(v / (1 - 0.95 ** 2)) + 1e-9)
    np.testing.assert_allclose(result["head"]["kernel"], [wanted], rtol=1e-5)


def test_decay_acts_on_the_named_layers_and_on_norms_when_asked():
    only_head = settings(momentum=0.0, decay_layers=("head",))
    check(updates(only_head), expected(lambda g: g, lambda layer, name: (layer, name) == ("head", "kernel")))
    with_norms = settings(momentum=0.0, decay_norm=True)
    check(updates(with_norms), expected(lambda g: g, lambda layer, name: name == "kernel" or layer == "norm"))


def test_layer_rates():
    check(updates(settings(momentum=0.0, layer_rates={"head": 0.1})), expected(lambda g: g, rates={"head": 0.1}))


def test_clipping_is_of_the_global_norm_after_decay():
    clipped, free = updates(settings(momentum=0.0, clip=0.5)), updates(settings(momentum=0.0))
    assert optax.tree.norm(clipped) == pytest.approx(0.5 * 0.5, rel=1e-5)
    scale = 0.25 / float(optax.tree.norm(free))
    check(clipped, jax.tree.map(lambda u: scale * u, free))


def test_tensor2tensors_schedule_is_the_written_formula():
    config = settings(schedule="rsqrt", warmup=8000 / 300_000)
    config.steps = 300_000
    config.model = dict(name="transformer", width=512)
    rate = lambda t: 2.0 * min(1.0, t / 8000) * max(t, 8000) ** -0.5 * 512 ** -0.5
    for t in (0, 1, 4000, 7999, 8000, 8001, 100_000, 299_999):
        np.testing.assert_allclose(2.0 * optim.schedule(jnp.int32(t), config), rate(t), rtol=1e-6)


def test_schedules():
    at = lambda config, *steps: [float(optim.schedule(jnp.int32(step), config)) for step in steps]
    assert at(settings(), 0, 99) == [1, 1]
    np.testing.assert_allclose(at(settings(schedule="linear"), 0, 25, 100), [1, 0.75, 0])
    np.testing.assert_allclose(at(settings(schedule="step", boundaries=(0.5, 0.75)), 49, 50, 74, 75), [1, 0.1, 0.1, 0.01],
                               rtol=1e-6)


def test_warm_up_rises_linearly_and_the_rate_then_falls_exponentially():
    """100 steps: 10 of warm-up, then a factor of 0.5 every 5."""
    config = settings(schedule="exponential", warmup=0.1, factor=0.5, factor_every=0.05)
    factors = [float(optim.schedule(jnp.int32(step), config)) for step in (0, 4, 9, 10, 15, 20, 99)]
    np.testing.assert_allclose(factors, [0.1, 0.5, 1, 1, 0.5, 0.25, 0.5 ** (89 / 5)], rtol=1e-5)


def test_warm_up_goes_with_every_schedule():
    for name in optim.SCHEDULES:
        plain, warm = (settings(schedule=name, warmup=warmup, boundaries=(0.5,)) for warmup in (0.0, 0.1))
        assert optim.schedule(jnp.int32(0), warm) < 0.11
        if name != "exponential":  # which begins to fall after it
            assert optim.schedule(jnp.int32(60), warm) == optim.schedule(jnp.int32(60), plain)
