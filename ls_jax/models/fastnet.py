"""A small convolutional network that trains on CIFAR-10 in few epochs, from the speed records of cifar10-airbench.

It is K. Jordan's (2024-2025). Two of its choices belong to the recipe, and are the same for every α: no filter or norm
has a gain, and logits are divided by the number of features.
"""
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Float32, Key

from ls_jax.fields import Field, boolean, several, whole
from ls_jax.models.layers import BatchNorm, Output, first_maximum

SIDE = 2        # of the whitened patches
EPSILON = 5e-4  # added to their second moments, of pictures in units of their standard deviation


class FastNet(nnx.Module):
    """`whiten` - GELU - three blocks - maximum over the image - `head`; only `whiten` has a bias.

    A block is 3x3 convolution - 2x2 max-pool - norm - GELU - 3x3 convolution - norm - GELU; those of block i are
    conv2i-1, norm2i-1, conv2i, norm2i. Running statistics keep 0.6 a step. The first filters of a convolution, as many
    as it has inputs, start as the identity, the others uniformly in ± 1/√fan_in. `head` starts uniformly with standard
    deviation 1. Features are the maxima divided by their number. The record divides the logits instead, which gives the
    same logits. `axis_name` is the mesh axis over which batch statistics are averaged.

    Raises:
        ValueError: images are smaller than 9 x 9.
    """

    FIELDS = {
        "widths": Field((64, 256, 256), "channels of each block", several(whole(1), 3)),
        "mirrored": Field(False, "evaluate the mean over each picture and its mirror image", boolean()),
    }

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        rngs: nnx.Rngs,
        widths: Sequence[int],
        mirrored: bool,
        axis_name: str | None = None,
        dtype: jax.typing.DTypeLike = jnp.float32,
    ):
        height, width, channels = image_shape
        if min(height, width) < SIDE ** len(widths) + SIDE - 1:
            raise ValueError(f"FastNet halves the image {len(widths)} times: {height}x{width} pixels are too few, "
                             "it needs 9x9")
        self.mirrored, self.dtype = mirrored, dtype
        self.whiten = Whitening(channels, dtype=dtype)
        inputs = 2 * SIDE**2 * channels
        for layer, outputs in enumerate(np.repeat(widths, 2).tolist(), 1):
            convolution = nnx.Conv(inputs, outputs, (3, 3), use_bias=False, kernel_init=partial_identity, dtype=dtype,
                                   rngs=rngs)
            setattr(self, f"conv{layer}", convolution)
            setattr(self, f"norm{layer}", BatchNorm(outputs, axis_name=axis_name, momentum=0.6, gain=False))
            inputs = outputs
        self.blocks = len(widths)
        self.head = nnx.Linear(inputs, num_classes, use_bias=False, kernel_init=uniform(3**0.5), rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool,
        dropout_keys: Key[Array, " batch"] | None = None
    ) -> Output:
        """Logits and features; logits = features @ head. Training updates the running statistics of every norm."""
        del dropout_keys
        features = self._features(x, train)
        if self.mirrored and not train:
            features = (features + self._features(x[:, :, ::-1], train)) / 2
        return Output(self.head(features), features)

    def _features(self, x, train):
        x = nnx.gelu(self.whiten(x.astype(self.dtype)), approximate=False)
        for block in range(self.blocks):
            x = halve(self._conv(2 * block + 1, x))
            x = self._norm_gelu(2 * block + 1, x, train)
            x = self._norm_gelu(2 * block + 2, self._conv(2 * block + 2, x), train)
        return x.max((1, 2)).astype(jnp.float32) / x.shape[-1]

    def _conv(self, layer, x):
        return getattr(self, f"conv{layer}")(x)

    def _norm_gelu(self, layer, x, train):
        return nnx.gelu(getattr(self, f"norm{layer}")(x, train=train), approximate=False)

    @staticmethod
    def statistics(images: Float[np.ndarray, "pictures height width channels"]) -> dict[str, Any]:
        """The part of the initial statistics that is measured on training pictures: the filters of `whiten`."""
        return {"whiten": {"kernel": whitening(images)}}


class Whitening(nnx.Module):
    """A 2x2 convolution, VALID, with fixed filters and a `bias` that trains.

    The filters are `whitening` of training pictures, measured by `FastNet.statistics`; before that, of white noise.
    """

    def __init__(self, channels: int, *, dtype: jax.typing.DTypeLike):
        self.kernel = nnx.BatchStat(jnp.asarray(_filters(np.ones(SIDE**2 * channels), np.eye(SIDE**2 * channels))))
        self.bias = nnx.Param(jnp.zeros(self.kernel.shape[-1]))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch rows columns filters"]:
        """One row and one column less than the picture has."""
        kernel, bias = (array[...].astype(self.dtype) for array in (self.kernel, self.bias))
        return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias


def whitening(
    images: Float[np.ndarray, "pictures height width channels"]
) -> Float32[np.ndarray, "2 2 channels filters"]:
    """Filters whose outputs over all 2x2 patches are uncorrelated and of mean square 1; then their negatives.

    They are the eigenvectors of the patches' second moments over √(eigenvalue + EPSILON), in order of the eigenvalues,
    computed in float64. An eigenvector has the sign that makes its largest entry positive.
    """
    moments, count = 0.0, 0
    # In parts, because the patches take four times the images' memory.
    for part in np.array_split(images, -(-len(images) // 500)):
        windows = np.lib.stride_tricks.sliding_window_view(np.asarray(part, np.float64), (SIDE, SIDE), axis=(1, 2))
        # In the order of a kernel: row, column, channel.
        patches = np.moveaxis(windows, 3, -1).reshape(-1, SIDE**2 * images.shape[-1])
        moments, count = moments + patches.T @ patches, count + len(patches)
    return _filters(*np.linalg.eigh(moments / count))


def _filters(eigenvalues, vectors):
    """float32 [2, 2, channels, filters] of eigenvalues [patch] and eigenvectors in columns [patch, patch]."""
    largest = vectors[np.abs(vectors).argmax(0), np.arange(len(vectors))]
    scaled = vectors * np.sign(largest) / np.sqrt(eigenvalues + EPSILON)
    return np.concatenate([scaled, -scaled], axis=1).reshape(SIDE, SIDE, -1, 2 * len(vectors)).astype(np.float32)


def partial_identity(key, shape, dtype=jnp.float32, out_sharding=None) -> Float[Array, "3 3 inputs outputs"]:
    """The first filters, as many as there are inputs, copy their input; the others are uniform in ± 1/√fan_in."""
    del out_sharding
    height, width, inputs, outputs = shape
    random = uniform((height * width * inputs) ** -0.5)(key, shape, dtype)
    copies = jnp.zeros(shape, dtype).at[height // 2, width // 2].set(jnp.eye(inputs, outputs, dtype=dtype))
    return jnp.where(jnp.arange(outputs) < inputs, copies, random)


def uniform(bound: float):
    """An initializer: uniform in ± bound."""
    return lambda key, shape, dtype=jnp.float32, out_sharding=None: jax.random.uniform(key, shape, dtype, -bound, bound)


def halve(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch rows columns channels"]:
    """Maximum over 2x2 windows at stride 2; an odd last row or column is dropped. See `layers.max_pool` for how."""
    for axis in (1, 2):
        end = x.shape[axis] // 2 * 2
        first, second = (lax.slice_in_dim(x, start, end, stride=2, axis=axis) for start in (0, 1))
        x = first_maximum(first, second)
    return x
