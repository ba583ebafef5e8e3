"""Schedules and optax chains, built inside the step from the member's traced hyper-parameters.

Weight decay is L2 regularisation, λ/2 ||w||² in the loss, as in the paper's sources: λ w joins the gradient before
clipping and momentum. The learning rate of a step is `hyper["learning_rate"]` times the schedule's factor.
"""
import math
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from ls_jax.losses import Scalar
from ls_jax.training.state import Hyper

SCALARS = {
    "learning_rate": Scalar(0.1, 0.0, math.inf, what="a learning rate"),
    "weight_decay": Scalar(0.0, 0.0, math.inf, what="weight decay"),
}

SCHEDULES = {
    "constant": lambda progress, config: jnp.ones_like(progress),
    "linear": lambda progress, config: jnp.maximum(0.0, 1.0 - progress),
    "step": lambda progress, config: config.factor ** sum(
        jnp.where(progress >= boundary, 1.0, 0.0) for boundary in config.boundaries),
    "exponential": lambda progress, config: config.factor ** (jnp.maximum(0.0, progress - config.warmup) / config.factor_every),
}  # and "rsqrt", which is of the step rather than of the progress


def inverse_square_root(step: Float[Array, ""], warmup: float, width: int) -> Float[Array, ""]:
    """tensor2tensor's "linear_warmup * rsqrt_decay * rsqrt_hidden_size": min(1, t/w) / √max(t, w) / √width at step t, from 0."""
    return jnp.minimum(1.0, step / warmup) * lax.rsqrt(jnp.maximum(step, warmup)) * width ** -0.5


def schedule(step: Int[Array, ""], config: ml_collections.ConfigDict) -> Float[Array, ""]:
    """The learning rate's factor at `step`, in [0, 1]; "step" multiplies by `factor` at each of the `boundaries`, "exponential"
    from the end of the warm-up on by `factor` every `factor_every`, gradually.

    With `warmup` the factor first rises linearly from 0. All lengths are fractions of `config.steps`, so that a shorter run keeps
    the recipe's shape.
    """
    step, settings = jnp.asarray(step, jnp.float32), config.optimizer
    rise = settings.get("warmup", 0.0) * config.steps
    if settings.schedule == "rsqrt":
        return inverse_square_root(step, max(1.0, float(round(rise))), config.model.width)  # of few steps the share may be none
    factor = SCHEDULES[settings.schedule](step / config.steps, settings)
    return factor * jnp.minimum(1.0, (step + 1) / rise) if rise else factor


def transform(config: ml_collections.ConfigDict, hyper: Hyper, step: Int[Array, ""]) -> optax.GradientTransformation:
    """Decay, clip, momentum, learning rate: the optax chain of one member at one step.

    `optimizer.momentum_form`: "nesterov" or "heavy_ball" accumulate g + μ m; "averaged" is the paper's gradient
    smoothing, μ m + (1-μ) g (App. A.5); "adam" is Adam (Kingma and Ba 2015) with β₁ = μ, β₂ = `second_momentum` and ε =
    `epsilon`, which TensorFlow adds before the correction of the bias: at tensor2tensor's 1e-9 that is the same.
    `optimizer.layer_rates` multiplies the rate of the layers it names.
    """
    settings = config.optimizer
    chain = [optax.add_decayed_weights(hyper["weight_decay"], mask=lambda params: decay_mask(params, settings))]
    if settings.clip:
        chain.append(optax.clip_by_global_norm(settings.clip))
    if settings.momentum_form == "averaged":
        chain.append(optax.ema(settings.momentum, debias=False))
    elif settings.momentum_form == "adam":
        chain.append(_adam(settings))
    elif settings.momentum:
        chain.append(optax.trace(settings.momentum, nesterov=settings.momentum_form == "nesterov"))
    rate = hyper["learning_rate"] * schedule(step, config)
    rates = dict(settings.layer_rates)
    chain.append(optax.stateless(lambda updates, params: {
        layer: jax.tree.map(lambda u: -rate * rates.get(layer, 1.0) * u, leaves)
        for layer, leaves in updates.items()}))
    return optax.chain(*chain)


def _adam(settings):
    adam = optax.scale_by_adam(settings.momentum, settings.second_momentum, settings.epsilon)

    def update(*arguments):
        with jax.numpy_dtype_promotion("standard"):  # optax raises β, a float, to the step, an integer
            return adam.update(*arguments)

    return optax.GradientTransformation(adam.init, update)


def decay_mask(params: Any, settings: ml_collections.ConfigDict) -> Any:
    """True for the parameters that weight decay acts on: the kernels of `decay_layers`, or of every layer when empty.

    With `decay_norm` also batch norm's scale and bias, as tensor2tensor does; never another layer's bias.
    """
    def decays(path, leaf):
        names = [str(getattr(key, "key", key)) for key in path]
        norm = any("scale" == other for other in _siblings(params, path))
        if names[-1] == "kernel":
            return not settings.decay_layers or names[0] in settings.decay_layers
        return bool(norm and settings.decay_norm)

    return jax.tree_util.tree_map_with_path(decays, params)


def _siblings(params, path):
    for key in path[:-1]:
        params = params[key.key]
    return params.keys()
