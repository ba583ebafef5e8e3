"""Layers that flax.nnx lacks, or that are written here for speed: each is one documented function or module."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.random import threefry_2x32
from jaxtyping import Array, Float, Key


class Output(NamedTuple):
    """A model's output, float32 for any compute dtype.

    Attributes:
        logits: features @ head.kernel + head.bias. The Transformer's are [rows, target, classes], one for each place.
        features: the activations of the penultimate layer.
        auxiliary_logits: those of an auxiliary classifier on a lower layer, in training, for models that have one.
    """

    logits: Float[Array, "*batch classes"]
    features: Float[Array, "*batch features"]
    auxiliary_logits: Float[Array, "*batch classes"] | None = None


class KeyStream(nnx.RngStream):
    """nnx.RngStream with a cheaper counter.

    nnx updates the counter by index, which makes JAX format a long error message for every tracer. That took half of
    the time to build a deep network.
    """

    def __call__(self) -> Key[Array, ""]:
        """The next key."""
        key = jax.random.fold_in(self.key[...], self.count[...])
        self.count.set_value(self.count[...] + 1)
        return key


def parameter_keys(key: Key[Array, ""]) -> nnx.Rngs:
    """`nnx.Rngs(key)`, which is faster inside a trace."""
    rngs = nnx.Rngs(key)
    rngs.default = KeyStream(key, tag="default")
    return rngs


def dropout(
    x: Float[Array, " batch *features"], rate: float, keys: Key[Array, " batch"]
) -> Float[Array, " batch *features"]:
    """`x` with entries zeroed with probability `rate`, rounded to 1/65,536, and the others scaled by 1/(1-rate).

    There is one key per example, so that the draw does not depend on the layout of the batch over devices. Each entry
    takes 16 bits of Threefry's output. With 32 of 64 bits, drawing would take a sixth of a Transformer's step.
    """
    entries = math.prod(x.shape[1:])
    counts = jnp.arange(-(-entries // 4) * 2, dtype=jnp.uint32)  # words in pairs
    words = jax.vmap(lambda key: threefry_2x32(jax.random.key_data(key), counts))(keys)
    # Not by a bitcast: a TPU pads the axis that it adds.
    halves = jnp.concatenate([words.astype(jnp.uint16), (words >> 16).astype(jnp.uint16)], axis=-1)
    draws = halves[:, :entries].reshape(x.shape)
    keep = draws >= jnp.uint16(round(rate * 2**16))
    return jnp.where(keep, x / jnp.asarray(1 - rate, x.dtype), jnp.zeros_like(x))


class Linear(nnx.Linear):
    """nnx.Linear that sums bfloat16 products and the bias in float32, and uses the CPU's bfloat16 instructions."""

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        """x @ kernel + bias in the compute dtype."""
        dtype = self.dtype or jnp.float32
        y = product(x.astype(dtype), self.kernel[...].astype(dtype))
        return (y if self.bias is None else y + self.bias[...]).astype(dtype)


@jax.custom_vjp
def product(x: Float[Array, "*batch inputs"], kernel: Float[Array, "inputs outputs"]) -> Float[Array, "*batch outputs"]:
    """x @ kernel as float32, of operands in one dtype; gradients are products in that dtype too.

    XLA:CPU has fast bfloat16 products if the result is float32 and the operands are row-major; otherwise it converts to
    float32. The kernel's gradient has a transposed operand.
    """
    return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)


def _product_backward(operands, gradient):
    x, kernel = operands
    gradient = gradient.astype(x.dtype)
    flat = lambda y: y.reshape(-1, y.shape[-1])
    def towards(a, b, *axes):
        return lax.dot_general(a, b, ((axes[:1], axes[1:]), ((), ())), preferred_element_type=jnp.float32)

    return (towards(gradient, kernel, gradient.ndim - 1, 1).astype(x.dtype),
            towards(transposed(flat(x)), flat(gradient), 1, 0).astype(kernel.dtype))


product.defvjp(lambda x, kernel: (product(x, kernel), (x, kernel)), _product_backward)


def transposed(x: Float[Array, "rows columns"]) -> Float[Array, "columns rows"]:
    """x.T; a bfloat16 array on a CPU is copied to row-major order, which takes a hundredth of a product's time."""
    rows = lambda y: with_layout_constraint(y, Layout((0, 1)))
    return lax.platform_dependent(x.T, cpu=rows, default=lambda y: y) if x.dtype == jnp.bfloat16 else x.T


def local_response_norm(
    x: Float[Array, "*batch channels"], radius: int = 4, bias: float = 1.0, alpha: float = 0.001 / 9
) -> Float[Array, "*batch channels"]:
    """x / (bias + alpha * sum of squares over the 2 radius + 1 nearest channels) ** 0.75, as TensorFlow's `lrn`.

    PyTorch's LocalResponseNorm divides alpha by the window size: its alpha=0.001 with size 9 is this default.
    The window sum is a product with a banded matrix, and the power is made of roots, which vectorize.
    """
    channel = jnp.arange(x.shape[-1])
    window = (jnp.abs(channel[:, None] - channel) <= radius).astype(x.dtype)
    root = jax.lax.rsqrt(bias + alpha * (jnp.square(x) @ window))
    return x * root * jnp.sqrt(root)


def max_pool(x: Float[Array, "batch height width channels"],
             padding: str = "SAME") -> Float[Array, "batch rows columns channels"]:
    """Maximum over 3x3 windows at stride 2, with TensorFlow's padding.

    That is "SAME" (up to the end of the last window) or "VALID" (none).

    It is a maximum of three strided slices along rows, then along columns. Its gradient is a sum of dilated copies;
    that of a windowed reduction is a scatter, which CPUs run slowly. Of equal entries the first gets the gradient.
    """
    for axis in (1, 2):
        windows = -(-x.shape[axis] // 2) if padding == "SAME" else (x.shape[axis] - 1) // 2
        missing = max(0, 2 * windows + 1 - x.shape[axis])
        added = [(0, 0)] * x.ndim
        added[axis] = (missing // 2, missing - missing // 2)
        padded = jnp.pad(x, added, constant_values=-jnp.inf)
        left, middle, right = (
            jax.lax.slice_in_dim(padded, start, start + 2 * windows - 1, stride=2, axis=axis) for start in range(3)
        )
        x = first_maximum(first_maximum(left, middle), right)
    return x


def average_pool(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch height width channels"]:
    """Mean over 3x3 windows at stride 1, as TensorFlow's SAME: of the pixels inside the picture only. In float32."""
    pooled = x.astype(jnp.float32)
    for axis in (1, 2):
        size = x.shape[axis]
        padding = [(0, 0)] * x.ndim
        padding[axis] = (1, 1)
        padded = jnp.pad(pooled, padding)
        total = sum(jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in range(3))
        place = jnp.arange(size)
        inside = 1 + (place > 0).astype(jnp.float32) + (place < size - 1).astype(jnp.float32)
        pooled = total / inside.reshape([-1 if dimension == axis else 1 for dimension in range(x.ndim)])
    return pooled.astype(x.dtype)


@jax.custom_jvp
def first_maximum(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """max(a, b) whose gradient goes to `a` alone where the two are equal, rather than half to each."""
    return jnp.maximum(a, b)


@first_maximum.defjvp
def _(primals, tangents):
    a, b = primals
    return first_maximum(a, b), jnp.where(a >= b, *tangents)


@jax.custom_jvp
def relu_of_sum(x: Float[Array, "*batch channels"],
                shift: Float[Array, " channels"]) -> Float[Array, "*batch channels"]:
    """relu(x + shift), computed as max(x, -shift) + shift, which is exactly zero where it is not positive.

    XLA:CPU materializes the array of zeros that a plain ReLU compares with, and then fuses the ReLU with nothing; a
    per-channel bound it fuses with what comes before. The gradient is masked by the result, which is kept anyway.
    """
    return jnp.maximum(x, -shift) + shift


@relu_of_sum.defjvp
def _(primals, tangents):
    y = relu_of_sum(*primals)
    return y, jnp.where(y > 0, tangents[0] + tangents[1], jnp.zeros_like(y))


@jax.custom_jvp
def scale_channels(x: Float[Array, "*batch channels"],
                   gain: Float[Array, " channels"]) -> Float[Array, "*batch channels"]:
    """x * gain. The gradient sees `gain` through a barrier.

    Otherwise XLA:CPU would find the same broadcast of `gain` in the forward and the backward pass, materialize it at
    the size of `x`, and keep it from one to the other.
    """
    return x * gain


@scale_channels.defjvp
def _(primals, tangents):
    x, gain = primals
    return scale_channels(x, gain), tangents[0] * jax.lax.optimization_barrier(gain) + x * tangents[1]


class BatchNorm(nnx.Module):
    """Batch normalization over all axes but the last (Ioffe & Szegedy 2015).

    In training, mean and variance are those of the whole batch: of all shards along the mesh axis `axis_name`, or of
    the given array where it is None. They are taken in float32 in one pass, as E[x] and E[x^2] - E[x]^2. The running
    variance is the biased one (divided by n, as flax and TensorFlow's unfused layer; PyTorch's is n/(n-1) larger).
    Without `gain` there is no `scale`.
    """

    def __init__(self, channels: int, *, axis_name: str | None = None, momentum: float = 0.9, epsilon: float = 1e-5,
                 gain: bool = True):
        if gain:
            self.scale = nnx.Param(jnp.ones(channels))
        self.gain = gain
        self.bias = nnx.Param(jnp.zeros(channels))
        self.mean = nnx.BatchStat(jnp.zeros(channels))
        self.var = nnx.BatchStat(jnp.ones(channels))
        self.axis_name, self.momentum, self.epsilon = axis_name, momentum, epsilon

    def __call__(
        self,
        x: Float[Array, "*batch channels"],
        *,
        train: bool,
        relu: bool = False,
        residual: Float[Array, "*batch channels"] | None = None,
    ) -> Float[Array, "*batch channels"]:
        """Normalized `x`, plus `residual` if given, then ReLU if asked for: together, since they are then one pass.

        When training, the statistics are the batch's, and the running ones move towards them.
        """
        mean, var = self.mean[...], self.var[...]
        if train:
            batch_mean, batch_var = self._moments(x)
            self.mean.set_value(self.momentum * mean + (1 - self.momentum) * jax.lax.stop_gradient(batch_mean))
            self.var.set_value(self.momentum * var + (1 - self.momentum) * jax.lax.stop_gradient(batch_var))
            mean, var = batch_mean, batch_var
        gain = jax.lax.rsqrt(var + self.epsilon)
        if self.gain:
            gain = self.scale[...] * gain
        shift = self.bias[...] - mean * gain
        y = scale_channels(x.astype(jnp.float32), gain)
        if residual is not None:
            y = y + residual.astype(jnp.float32)
        return (relu_of_sum(y, shift) if relu else y + shift).astype(x.dtype)

    def _moments(self, x):
        x = x.astype(jnp.float32)
        axes = tuple(range(x.ndim - 1))
        moments = x.mean(axes), jnp.square(x).mean(axes)
        if self.axis_name is not None:
            moments = jax.lax.pmean(moments, self.axis_name)
        mean, mean_of_square = moments
        return mean, jnp.maximum(mean_of_square - jnp.square(mean), 0.0)
