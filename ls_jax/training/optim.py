"""Learning-rate schedules and optax chains, built inside the step from the member's traced hyper-parameters.

Weight decay is L2 regularisation, λ/2 ||w||² in the loss, as in the paper's sources: λ w joins the gradient before
clipping and momentum. The learning rate of a step is `hyper["learning_rate"]` times the schedule's factor.
"""
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from ls_jax.errors import UserError, did_you_mean
from ls_jax.losses import Scalar
from ls_jax.training.state import Hyper

SCALARS = {
    "learning_rate": Scalar(0.1, 0.0, math.inf, what="a learning rate"),
    "weight_decay": Scalar(0.0, 0.0, math.inf, what="weight decay"),
}


def _constant(settings: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
    return optax.constant_schedule(1.0)


def _linear(settings: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
    return optax.linear_schedule(1.0, 0.0, steps)


def _step(settings: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
    scales: dict[int, float] = {}
    for boundary in settings.boundaries:
        first = math.ceil(boundary * steps - 1e-6)  # in floats 0.07 * 100 is above 7
        scales[first] = scales.get(first, 1.0) * settings.factor  # in a short run two boundaries may be one step
    return optax.piecewise_constant_schedule(1.0, scales)


def _exponential(settings: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
    return optax.exponential_decay(1.0, settings.factor_every * steps, settings.factor, settings.warmup * steps)


# Name: (config.optimizer, config.steps) -> the learning rate's factor as a function of the step. "rsqrt" is not among
# them: optax does not have it, and its warm-up differs.
SCHEDULES: dict[str, Callable[[ml_collections.ConfigDict, int], optax.Schedule]] = {
    "constant": _constant, "linear": _linear, "step": _step, "exponential": _exponential}


def inverse_square_root(step: Float[Array, ""], warmup: float, width: int) -> Float[Array, ""]:
    """min(1, t/w) / √max(t, w) / √width at step t = 0, 1, ...

    It is tensor2tensor's "linear_warmup * rsqrt_decay * rsqrt_hidden_size".
    """
    return jnp.minimum(1.0, step / warmup) * lax.rsqrt(jnp.maximum(step, warmup)) * width ** -0.5


def schedule(step: Int[Array, ""], config: ml_collections.ConfigDict) -> Float[Array, ""]:
    """The learning rate's factor at `step`, in [0, 1].

    "step" multiplies it by `factor` at each of the `boundaries`. "exponential" multiplies it gradually by `factor` in
    every `factor_every`, from the end of the warm-up on. With `warmup` the factor first rises linearly from 0. All
    lengths are fractions of `config.steps`, so that a shorter run keeps the shape of the schedule.
    """
    step, settings = jnp.asarray(step, jnp.float32), config.optimizer
    rise = settings.get("warmup", 0.0) * config.steps
    if settings.schedule == "rsqrt":
        return inverse_square_root(step, max(1.0, float(round(rise))), config.model.width)  # a short run may round to 0
    factor = jnp.asarray(SCHEDULES[settings.schedule](settings, config.steps)(step), jnp.float32)
    # Not optax.linear_schedule: it computes 1 - (1 - t/w), which in float32 loses half of its digits at t/w = 1/8000.
    return factor * jnp.minimum(1.0, (step + 1) / rise) if rise else factor


def transform(config: ml_collections.ConfigDict, hyper: Hyper, step: Int[Array, ""]) -> optax.GradientTransformation:
    """Decay, clip, momentum, learning rate: the optax chain of one member at one step.

    `optimizer.momentum_form`: "nesterov" or "heavy_ball" accumulate g + μ m; "averaged" is the paper's gradient
    smoothing, μ m + (1-μ) g (App. A.5); "adam" is Adam (Kingma and Ba 2015) with β₁ = μ, β₂ = `second_momentum` and ε =
    `epsilon`, which TensorFlow adds before the correction of the bias: at tensor2tensor's 1e-9 that is the same;
    "muon" is `_muon`. `optimizer.layer_rates` multiplies the rate of the layers it names. A layer that
    `optimizer.layer_shares` names goes through the schedule in this fraction of the steps and is frozen afterwards.
    """
    settings = config.optimizer
    chain = [optax.add_decayed_weights(hyper["weight_decay"], mask=lambda params: decay_mask(params, settings))]
    if settings.clip:
        chain.append(optax.clip_by_global_norm(settings.clip))
    if settings.momentum_form == "averaged":
        chain.append(optax.ema(settings.momentum, debias=False))
    elif settings.momentum_form == "adam":
        chain.append(_adam(settings))
    elif settings.momentum_form == "muon":
        chain.append(_muon(settings))
    elif settings.momentum:
        chain.append(optax.trace(settings.momentum, nesterov=settings.momentum_form == "nesterov"))
    rate = hyper["learning_rate"] * schedule(step, config)
    rates, shares = dict(settings.layer_rates), dict(settings.layer_shares)
    early = {layer: hyper["learning_rate"] * _early(step, share, config) for layer, share in shares.items()}
    chain.append(optax.stateless(lambda updates, params: {
        layer: jax.tree.map(lambda u: -early.get(layer, rate) * rates.get(layer, 1.0) * u, leaves)
        for layer, leaves in updates.items()}))
    if settings.momentum_form == "muon":
        chain.append(optax.masked(optax.stateless(_rescaling), filters))
    return optax.chain(*chain)


def check_layers(settings: ml_collections.ConfigDict, layers: Sequence[str], model: str) -> None:
    """Refuse a layer's name that the network has not.

    Args:
        settings: `config.optimizer`.
        layers: the network's.
        model: its name, for the message.

    Raises:
        UserError: a rate, a share or the decay of an unknown layer.
    """
    for field, name in named_layers(settings):
        if name not in layers:
            raise UserError(f"config.optimizer.{field} names the layer {name!r}{did_you_mean(str(name), layers)}; "
                            f"{model} has {', '.join(layers)}")


def named_layers(settings: ml_collections.ConfigDict) -> list[tuple[str, str]]:
    """(field, layer) for every layer that the settings treat differently."""
    named = {"layer_rates": [name for name, rate in settings.layer_rates.items() if rate != 1],
             "layer_shares": settings.layer_shares, "decay_layers": settings.decay_layers}
    return [(field, name) for field, names in named.items() for name in names]


def _early(step, share, config):
    """The schedule's factor at `step` of a layer that goes through it in this share of the steps."""
    shortened = ml_collections.ConfigDict(config.to_dict())
    last = round(share * config.steps)
    shortened.steps = max(1, last)
    return jnp.where(step < last, schedule(step, shortened), 0.0)


def _adam(settings):
    return _promoting(optax.scale_by_adam(settings.momentum, settings.second_momentum, settings.epsilon))


def _muon(settings):
    """Muon (K. Jordan et al. 2024) for the filters of convolutions as matrices [inputs, outputs], and SGD with Nesterov
    momentum for the rest.

    Before its update a filter tensor is rescaled to norm √outputs (`_rescaling`), as in the speed record for CIFAR-10.
    So the learning rate says how far it turns. optax corrects the bias of the momentum's average, the record's code
    does not; this matters in the first few steps only.
    """
    matrix = lambda tree: jax.tree.map(lambda x: optax.contrib.MuonDimensionNumbers((0, 1, 2), 3), tree)
    muon = optax.contrib.scale_by_muon(ns_steps=settings.muon_iterations, beta=settings.muon_momentum,
                                       weight_dimension_numbers=matrix)
    others = lambda tree: jax.tree.map(lambda x: not x, filters(tree))
    return optax.chain(optax.masked(_promoting(muon), filters),
                       optax.masked(optax.trace(settings.momentum, nesterov=True), others))


def filters(params: Any) -> Any:
    """True for the filters of convolutions [height, width, inputs, outputs]."""
    return jax.tree.map(lambda x: x.ndim == 4, params)


def _rescaling(updates, params):
    """Updates that first rescale their parameters to norm √outputs."""
    return jax.tree.map(lambda u, p: u + (math.sqrt(p.shape[-1]) / jnp.linalg.norm(p.reshape(-1)) - 1) * p,
                        updates, params)


def _promoting(transformation):
    def update(*arguments):
        with jax.numpy_dtype_promotion("standard"):  # optax raises β, a float, to the step, an integer
            return transformation.update(*arguments)

    return optax.GradientTransformation(transformation.init, update)


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
