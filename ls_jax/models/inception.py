"""Inception-v4 (Szegedy et al. 2016), the paper's ImageNet network (A.4): TF-slim's, with a scale in batch norm."""

import math
import string
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from ls_jax.devices import cpu
from ls_jax.fields import Field, above, between, boolean, several, whole
from ls_jax.models.layers import BatchNorm, Output, average_pool, dropout, max_pool

MINIMUM_SIZE = 75  # pixels per side: nothing is left of a smaller image after the last reduction


class Conv(NamedTuple):
    """A layer of a branch: bias-free convolution, batch norm, ReLU."""

    channels: int
    height: int
    width: int
    stride: int = 1
    padding: str = "SAME"
    average: bool = False  # whether a 3x3 average pooling comes before it


def square(channels: int, size: int, stride: int = 1) -> Conv:
    """A size x size convolution; with stride 2 it has no padding."""
    return Conv(channels, size, size, stride, "SAME" if stride == 1 else "VALID")


POOL = "max pool"  # 3x3 at stride 2, without padding

# A block is a tuple of branches, whose outputs are concatenated. A branch is a sequence of layers; its last element may
# be a pair of layers with the same input, whose outputs are concatenated too.
STEM = ((Conv(32, 3, 3, 2, "VALID"), Conv(32, 3, 3, 1, "VALID"), square(64, 3)),)
MIXED_3A = ((POOL,), (square(96, 3, 2),))
MIXED_4A = ((square(64, 1), Conv(96, 3, 3, 1, "VALID")),
            (square(64, 1), Conv(64, 1, 7), Conv(64, 7, 1), Conv(96, 3, 3, 1, "VALID")))
MIXED_5A = ((square(192, 3, 2),), (POOL,))
INCEPTION_A = ((square(96, 1),), (square(64, 1), square(96, 3)), (square(64, 1), square(96, 3), square(96, 3)),
               (Conv(96, 1, 1, average=True),))
REDUCTION_A = ((square(384, 3, 2),), (square(192, 1), square(224, 3), square(256, 3, 2)), (POOL,))
INCEPTION_B = ((square(384, 1),), (square(192, 1), Conv(224, 1, 7), Conv(256, 7, 1)),
               (square(192, 1), Conv(192, 7, 1), Conv(224, 1, 7), Conv(224, 7, 1), Conv(256, 1, 7)),
               (Conv(128, 1, 1, average=True),))
REDUCTION_B = ((square(192, 1), square(192, 3, 2)),
               (square(256, 1), Conv(256, 1, 7), Conv(320, 7, 1), square(320, 3, 2)), (POOL,))
INCEPTION_C = ((square(256, 1),), (square(384, 1), (Conv(256, 1, 3), Conv(256, 3, 1))),
               (square(384, 1), Conv(448, 3, 1), Conv(512, 1, 3), (Conv(256, 1, 3), Conv(256, 3, 1))),
               (Conv(256, 1, 1, average=True),))


def plan(blocks: Sequence[int]) -> dict[str, Any]:
    """The network's blocks in order, by TF-slim's names; `blocks` is how often A, B and C are repeated.

    A is mixed5b, mixed5c, …; B is mixed6b, …; C is mixed7b, ….
    """
    def repeated(prefix, block, count):
        return {f"{prefix}{string.ascii_lowercase[1 + i]}": block for i in range(count)}

    a, b, c = blocks
    return {"stem": STEM, "mixed3a": MIXED_3A, "mixed4a": MIXED_4A,
            "mixed5a": MIXED_5A, **repeated("mixed5", INCEPTION_A, a),
            "mixed6a": REDUCTION_A, **repeated("mixed6", INCEPTION_B, b),
            "mixed7a": REDUCTION_B, **repeated("mixed7", INCEPTION_C, c)}


class InceptionV4(nnx.Module):
    """The blocks of `plan`, global average pooling to 1,536 features, dropout and `head`.

    It has 42,679,816 parameters for 1,000 classes. Images have at least 75x75 pixels (TF-slim: 299x299). `width`
    multiplies every number of channels. `auxiliary` adds TF-slim's second classifier after the last block B, for
    training only. Convolutions start from He's truncated normal distribution, the output layer from Glorot's uniform
    distribution. `axis_name` is the mesh axis over which batch statistics are averaged.
    """

    FIELDS = {
        "blocks": Field((4, 7, 3), "number of blocks A, B and C", several(whole(0), count=3)),
        "width": Field(1.0, "factor of every number of channels", above(0)),
        "dropout": Field(0.2, "dropout rate before the output layer", between(0, 1)),
        "auxiliary": Field(False, "whether training has a second, auxiliary classifier", boolean()),
        "norm_momentum": Field(0.9997, "decay of batch norm's running statistics", between(0, 1)),
    }
    CPU_FUSION = cpu.PRODUCTS

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        rngs: nnx.Rngs,
        blocks: Sequence[int],
        width: float,
        dropout: float,
        auxiliary: bool,
        norm_momentum: float,
        axis_name: str | None = None,
        dtype: jax.typing.DTypeLike = jnp.float32,
    ):
        if min(image_shape[:2]) < MINIMUM_SIZE:
            raise ValueError(f"inception_v4 needs pictures of at least {MINIMUM_SIZE}x{MINIMUM_SIZE} pixels, not "
                             f"{image_shape[0]}x{image_shape[1]}")
        options = dict(width=width, norm=dict(axis_name=axis_name, momentum=norm_momentum, epsilon=1e-3),
                       dtype=dtype, rngs=rngs)
        self.dropout, self.dtype, self.names = dropout, dtype, tuple(plan(blocks))
        channels = image_shape[-1]
        for name, branches in plan(blocks).items():
            if name == "mixed7a" and auxiliary:
                self.auxiliary = Auxiliary(channels, num_classes, image_shape, **options)
            block = Block(channels, branches, **options)
            setattr(self, name, block)
            channels = block.outputs
        self.head = nnx.Linear(channels, num_classes, kernel_init=nnx.initializers.xavier_uniform(), rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool,
        dropout_keys: Key[Array, " batch"] | None = None
    ) -> Output:
        """Logits and pooled features. Training updates the running statistics; dropout needs a key per example."""
        drop = train and self.dropout > 0
        if drop and dropout_keys is None:
            raise ValueError("training with dropout needs dropout_keys: one key per example")
        x, auxiliary = x.astype(self.dtype), None
        for name in self.names:
            if name == "mixed7a" and train and hasattr(self, "auxiliary"):
                auxiliary = self.auxiliary(x, train=True)
            x = getattr(self, name)(x, train=train)
        features = x.astype(jnp.float32).mean((1, 2))
        if drop:
            features = dropout(features, self.dropout, dropout_keys)
        return Output(self.head(features), features, auxiliary)


class Block(nnx.Module):
    """Parallel branches. Layer i of branch b is the attribute `branch{b}_{i}`; those of a pair end in a and b."""

    def __init__(self, inputs: int, branches: Sequence[Sequence[Any]], **options: Any):
        self.branches, self.outputs = tuple(branches), 0
        for b, branch in enumerate(branches):
            channels = inputs
            for i, layer in enumerate(branch):
                if layer != POOL:
                    for name, spec in _named(f"branch{b}_{i}", layer):
                        setattr(self, name, ConvNorm(channels, spec, **options))
                    channels = sum(getattr(self, name).outputs for name, _ in _named(f"branch{b}_{i}", layer))
            self.outputs += channels

    def __call__(self, x, *, train: bool):  # noqa: D102  (the class says what it does)
        return jnp.concatenate([self._branch(x, b, branch, train) for b, branch in enumerate(self.branches)], axis=-1)

    def _branch(self, x, b, branch, train):
        for i, layer in enumerate(branch):
            if layer == POOL:
                x = max_pool(x, "VALID")
            else:
                parts = [getattr(self, name)(x, train=train) for name, _ in _named(f"branch{b}_{i}", layer)]
                x = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
        return x


class ConvNorm(nnx.Module):
    """Convolution, batch norm, ReLU, of average-pooled inputs if the layer says so.

    Pooling and a 1x1 convolution commute; it pools the outputs, which have fewer channels.
    """

    def __init__(self, inputs: int, spec: Conv, *, width: float, norm: dict[str, Any], dtype: Any, rngs: nnx.Rngs):
        self.outputs, self.average = max(1, round(spec.channels * width)), spec.average
        self.conv = nnx.Conv(inputs, self.outputs, (spec.height, spec.width), strides=spec.stride, padding=spec.padding,
                             use_bias=False, kernel_init=INITIALIZER, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(self.outputs, **norm)

    def __call__(self, x, *, train: bool):  # noqa: D102
        x = self.conv(x)
        return self.norm(average_pool(x) if self.average else x, train=train, relu=True)


class Auxiliary(nnx.Module):
    """TF-slim's auxiliary classifier.

    5x5 average pooling at stride 3, a 1x1 convolution to 128 channels, one over all remaining pixels, and logits.
    """

    def __init__(self, inputs: int, num_classes: int, image_shape: tuple[int, int, int], **options: Any):
        rows, columns = (_pooled(_side(size)) for size in image_shape[:2])
        self.projection = ConvNorm(inputs, square(128, 1), **options)
        self.whole = ConvNorm(self.projection.outputs, Conv(768, rows, columns, 1, "VALID"), **options)
        self.head = nnx.Linear(self.whole.outputs, num_classes, kernel_init=nnx.initializers.xavier_uniform(),
                               rngs=options["rngs"])

    def __call__(self, x, *, train: bool):  # noqa: D102
        window = (1, *(min(5, size) for size in x.shape[1:3]), 1)
        total = jax.lax.reduce_window(x.astype(jnp.float32), 0.0, jax.lax.add, window, (1, 3, 3, 1), "VALID")
        x = self.projection((total / math.prod(window)).astype(x.dtype), train=train)
        x = self.whole(x, train=train)
        return self.head(x.astype(jnp.float32).reshape(len(x), -1))


INITIALIZER: Callable = nnx.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


def _named(name: str, layer: Any) -> list[tuple[str, Conv]]:
    """The attribute name and specification of each convolution of a layer."""
    return [(name, layer)] if isinstance(layer, Conv) else [(f"{name}a", layer[0]), (f"{name}b", layer[1])]


def _side(pixels: int) -> int:
    """Rows or columns of the output of blocks B: 17 for 299 pixels."""
    for kernel, stride in ((3, 2), (3, 1), (3, 2), (3, 1), (3, 2), (3, 2)):  # unpadded: twice the stem, 3a, 4a, 5a, 6a
        pixels = (pixels - kernel) // stride + 1
    return pixels


def _pooled(side: int) -> int:
    return (side - min(5, side)) // 3 + 1
