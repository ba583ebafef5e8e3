"""Layers that flax.nnx lacks, or that are written here for speed: each is one documented function or module."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key


class Output(NamedTuple):
    """What a model returns, both float32 whatever the compute dtype.

    features are the penultimate activations, so logits = features @ head.kernel + head.bias.
    """

    logits: Float[Array, "batch classes"]
    features: Float[Array, "batch features"]


def dropout(
    x: Float[Array, "batch features"], rate: float, keys: Key[Array, " batch"]
) -> Float[Array, "batch features"]:
    """Zeroes entries with probability `rate` and scales the others by 1/(1-rate).

    One key per example, so that the draw does not depend on how the batch is laid out over devices.
    """
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / jnp.asarray(1 - rate, x.dtype), jnp.zeros_like(x))


def local_response_norm(
    x: Float[Array, "*batch channels"], radius: int = 4, bias: float = 1.0, alpha: float = 0.001 / 9, beta: float = 0.75
) -> Float[Array, "*batch channels"]:
    """x / (bias + alpha * sum of squares over the 2 radius + 1 nearest channels) ** beta, as TensorFlow's `lrn`.

    PyTorch's LocalResponseNorm divides alpha by the window size: its alpha=0.001 with size 9 is this default.
    """
    channel = jnp.arange(x.shape[-1])
    window = (jnp.abs(channel[:, None] - channel) <= radius).astype(x.dtype)
    return x * (bias + alpha * (jnp.square(x) @ window)) ** -beta


def max_pool(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch rows columns channels"]:
    """Maximum over 3x3 windows at stride 2, padded as TensorFlow's SAME: only as far as the last window reaches."""
    return nnx.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")


class BatchNorm(nnx.Module):
    """Batch normalisation over all axes but the last (Ioffe & Szegedy 2015), momentum 0.9, epsilon 1e-5.

    In training, mean and variance are those of the whole batch: of all shards along the mesh axis `axis_name`, or of the
    given array where it is None. They are taken in float32 in one pass, as E[x] and E[x^2] - E[x]^2. The running variance
    is the biased one (divided by n, as flax and TensorFlow's unfused layer; PyTorch's running variance is n/(n-1) larger).
    """

    def __init__(self, channels: int, *, axis_name: str | None = None):
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.mean = nnx.BatchStat(jnp.zeros(channels))
        self.var = nnx.BatchStat(jnp.ones(channels))
        self.axis_name = axis_name

    def __call__(self, x: Float[Array, "*batch channels"], *, train: bool) -> Float[Array, "*batch channels"]:
        """Normalises `x`; when training, with the batch's statistics, which also update the running ones."""
        mean, var = self.mean[...], self.var[...]
        if train:
            batch_mean, batch_var = self._moments(x)
            self.mean[...] = 0.9 * mean + 0.1 * jax.lax.stop_gradient(batch_mean)
            self.var[...] = 0.9 * var + 0.1 * jax.lax.stop_gradient(batch_var)
            mean, var = batch_mean, batch_var
        gain = self.scale[...] * jax.lax.rsqrt(var + 1e-5)
        shift = self.bias[...] - mean * gain
        return (x.astype(jnp.float32) * gain + shift).astype(x.dtype)

    def _moments(self, x):
        x = x.astype(jnp.float32)
        axes = tuple(range(x.ndim - 1))
        moments = x.mean(axes), jnp.square(x).mean(axes)
        if self.axis_name is not None:
            moments = jax.lax.pmean(moments, self.axis_name)
        mean, mean_of_square = moments
        return mean, jnp.maximum(mean_of_square - jnp.square(mean), 0.0)
