"""Optimizer chains and schedules against the written rules."""
from fractions import Fraction

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
    with config.optimizer.unlocked():  # layers have any name
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
    """m = β₁ m + (1-β₁) g, v = β₂ v + (1-β₂) g², both without their bias; with one gradient again and again that is g /
    (|g| + ε)."""
    check(updates(settings(momentum_form="adam", epsilon=0.01), steps),
          expected(lambda g: g / (abs(g) + 0.01)), rtol=1e-5)


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
    np.testing.assert_allclose(at(settings(schedule="step", boundaries=(0.5, 0.75)), 49, 50, 74, 75),
                               [1, 0.1, 0.1, 0.01],
                               rtol=1e-6)


@pytest.mark.parametrize("name",
                         ["digits_mlp", "mnist_mlp", "cifar10_alexnet", "cifar10_resnet56", "imagenet_inception",
                          "multi30k_transformer", "wmt_transformer"])
def test_the_factor_of_every_kind_of_config_is_the_formula(name):
    """At up to 5,000 steps, those around every boundary and the end of the warm-up among them, against the formula in
    float64."""
    config = configs.load(f"configs/{name}.py")
    optimizer, total = config.optimizer, config.steps
    turns = [round(share * total) for share in (*optimizer.boundaries, optimizer.warmup)]
    near = [turn + shift for turn in turns for shift in (-2, -1, 0, 1, 2)]
    steps = np.unique(np.clip([*np.linspace(0, total - 1, 4900).astype(int), *near], 0, total - 1))
    factor = jax.jit(jax.vmap(lambda step: optim.schedule(step, config)))(steps.astype(np.int32))
    # Near the end of "linear", 1 - t/T has the rounding errors of 1. "exponential" takes 190 powers of a base that is
    # rounded.
    rtol, atol = {"linear": (1e-6, 2 ** -23), "exponential": (1e-5, 0)}.get(optimizer.schedule, (1e-6, 0))
    np.testing.assert_allclose(factor, [formula(int(step), config) for step in steps], rtol=rtol, atol=atol)


def formula(step, config):
    """The factor in exact fractions and float64: `boundaries` such as 1/3 are the fractions that they stand for."""
    settings, total = config.optimizer, config.steps
    warmup = settings.warmup * total
    if settings.schedule == "rsqrt":
        warmup = round(warmup)
        return min(1.0, step / warmup) * max(step, warmup) ** -0.5 * config.model.get("width", 512) ** -0.5
    value = {
        "constant": lambda: 1.0, "linear": lambda: 1.0 - step / total,
        "step": lambda: settings.factor ** sum(
            Fraction(step, total) >= Fraction(boundary).limit_denominator(1000) for boundary in settings.boundaries),
        "exponential": lambda: settings.factor ** (max(0.0, step - warmup) / (settings.factor_every * total)),
    }[settings.schedule]()
    return value * min(1.0, (step + 1) / warmup) if warmup else value


def test_two_boundaries_in_one_step_both_count():
    config = settings(schedule="step", boundaries=(0.5, 0.75), factor=0.1)
    config.steps = 1
    np.testing.assert_allclose(optim.schedule(jnp.int32(1), config), 0.01, rtol=1e-6)


def test_a_boundary_that_rounds_up_in_float_is_its_step():
    config = settings(schedule="step", boundaries=(0.07,))  # 0.07 * 100 is 7.000000000000001
    np.testing.assert_allclose([optim.schedule(jnp.int32(step), config) for step in (6, 7)], [1, 0.1], rtol=1e-6)


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


def orthogonalized(matrix, iterations):
    """Newton-Schulz as published with Muon: X <- aX + (bA + cA²)X with A = XXᵀ, from X of Frobenius norm 1; float64."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / np.linalg.norm(matrix)
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x


def test_muon_is_the_written_update():
    """Filters [3, 3, 4, 6] as matrices [36, 6], in three steps with changing gradients; the rest by Nesterov's
    momentum."""
    rng = np.random.default_rng(0)
    config = settings(momentum_form="muon", momentum=0.85, muon_momentum=0.6, muon_iterations=3,
                      layer_rates={"conv": 0.2, "head": 3.0})
    params = {"conv": {"kernel": rng.normal(size=(3, 3, 4, 6))}, "head": {"kernel": rng.normal(size=(6, 5))}}
    hyper = {"learning_rate": jnp.float32(0.5), "weight_decay": jnp.float32(0.0)}
    ours = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    opt = optim.transform(config, hyper, jnp.int32(0)).init(ours)
    filters, head = params["conv"]["kernel"].reshape(36, 6), params["head"]["kernel"]
    average, trace = np.zeros((36, 6)), np.zeros((6, 5))
    for step in range(3):
        gradients = {"conv": {"kernel": rng.normal(size=(3, 3, 4, 6))}, "head": {"kernel": rng.normal(size=(6, 5))}}
        given = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), gradients)
        update, opt = optim.transform(config, hyper, jnp.int32(step)).update(given, opt, ours)
        ours = optax.apply_updates(ours, update)
        g = gradients["conv"]["kernel"].reshape(36, 6)
        average = 0.6 * average + 0.4 * g
        direction = 0.6 * average / (1 - 0.6 ** (step + 2)) + 0.4 * g / (1 - 0.6 ** (step + 1))
        filters = filters * 6 ** 0.5 / np.linalg.norm(filters) - 0.5 * 0.2 * orthogonalized(direction.T, 3).T
        trace = gradients["head"]["kernel"] + 0.85 * trace
        head = head - 0.5 * 3.0 * (gradients["head"]["kernel"] + 0.85 * trace)
        np.testing.assert_allclose(ours["conv"]["kernel"].reshape(36, 6), filters, atol=2e-6)
        np.testing.assert_allclose(ours["head"]["kernel"], head, rtol=1e-5)


def test_muons_updates_are_nearly_orthogonal_whatever_the_gradients_scale():
    """All singular values of a filter's change lie near the rate; so many iterations that they do."""
    config = settings(momentum_form="muon", muon_iterations=8)
    gradient = {"conv": {"kernel": 1e-3 * jax.random.normal(jax.random.key(0), (3, 3, 4, 6))}}
    params = {"conv": {"kernel": jnp.full((3, 3, 4, 6), 36 ** -0.5)}}  # of norm √6 already
    transform = optim.transform(config, HYPER | {"weight_decay": jnp.float32(0.0)}, jnp.int32(0))
    update, _ = transform.update(gradient, transform.init(params), params)
    values = np.linalg.svd(np.asarray(update["conv"]["kernel"]).reshape(36, 6), compute_uv=False) / 0.5
    assert 0.6 < values.min() and values.max() < 1.25


def test_a_layer_goes_through_the_schedule_in_its_share_of_the_steps_and_then_stays():
    """100 steps, the head's first 40: a rate of 0.5 falls to 0 at 40; others at 100."""
    config = settings(momentum=0.0, schedule="linear", layer_shares={"head": 0.4}, layer_rates={"head": 2.0})
    hyper = HYPER | {"weight_decay": jnp.float32(0.0)}
    at = lambda step: optim.transform(config, hyper, jnp.int32(step)).update(GRADIENTS, optim.transform(
        config, hyper, jnp.int32(0)).init(PARAMS), PARAMS)[0]
    for step, early, late in ((0, 1.0, 1.0), (10, 0.75, 0.9), (39, 1 / 40, 0.61), (40, 0.0, 0.6), (99, 0.0, 0.01)):
        np.testing.assert_allclose(at(step)["head"]["kernel"], -0.5 * 2 * early * GRADIENTS["head"]["kernel"],
                                   rtol=1e-4, atol=1e-9)
        np.testing.assert_allclose(at(step)["conv"]["kernel"], -0.5 * late * GRADIENTS["conv"]["kernel"], rtol=1e-4)
