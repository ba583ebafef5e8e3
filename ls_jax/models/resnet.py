"""Residual networks for small images: tensor2tensor's, which the paper trains (appendix A.2), and He et al.'s (2015).

With 9 blocks in each of three groups, both have 6 * 9 + 2 = 56 layers.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from ls_jax.devices import cpu
from ls_jax.fields import Field, choice, several, whole
from ls_jax.models.layers import BatchNorm, Output


class ResNet(nnx.Module):
    """Stem `conv`-`norm`-ReLU, then `blocks` residual blocks for each of `widths`, global average pooling, `head`.

    Every group but the first halves the image in its first block. Blocks are the attributes `group1_block1`, ….

    - Style "tensor2tensor": pre-activation blocks. The first block of each group has a convolution as its shortcut. The
      last sum is pooled without norm or ReLU, so features may be negative.
    - Style "he": post-activation blocks. Shortcuts have no parameters: they subsample, and pad with zero channels
      (option A). He et al.'s network for CIFAR-10 has widths 16, 32, 64.

    `axis_name` is the mesh axis over which batch statistics are averaged.
    """

    FIELDS = {
        "blocks": Field(9, "residual blocks of each group", whole(1)),
        "widths": Field((32, 64, 128), "channels of each group", several(whole(1))),
        "stem": Field(16, "channels of the first convolution", whole(1)),
        "style": Field("tensor2tensor", "tensor2tensor's blocks or He et al.'s", choice("tensor2tensor", "he")),
    }
    # By default XLA:CPU fuses too much of the backward pass: it recomputes chains of sums for every weight gradient.
    CPU_FUSION = cpu.EVERYTHING

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        rngs: nnx.Rngs,
        blocks: int,
        widths: Sequence[int],
        stem: int,
        style: str,
        axis_name: str | None = None,
        dtype: jax.typing.DTypeLike = jnp.float32,
    ):
        block, conv_init, head_init = STYLES[style]
        options = dict(kernel_init=conv_init, axis_name=axis_name, dtype=dtype, rngs=rngs)
        self.dtype = dtype
        self.conv = conv(image_shape[-1], stem, 3, 1, **options)
        self.norm = BatchNorm(stem, axis_name=axis_name)
        names, inputs = [], stem
        for group, width in enumerate(widths, 1):
            for i in range(1, blocks + 1):
                names.append(f"group{group}_block{i}")
                stride = 2 if i == 1 < group else 1
                setattr(self, names[-1], block(inputs, width, first=i == 1, stride=stride, **options))
                inputs = width
        self.block_names = tuple(names)
        self.head = nnx.Linear(inputs, num_classes, kernel_init=head_init, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool,
        dropout_keys: Key[Array, " batch"] | None = None
    ) -> Output:
        """Logits and pooled features. Training updates the running statistics of every BatchNorm."""
        del dropout_keys
        x = self.norm(self.conv(x.astype(self.dtype)), train=train, relu=True)
        for name in self.block_names:
            x = getattr(self, name)(x, train=train)
        features = x.astype(jnp.float32).mean((1, 2))
        return Output(self.head(features), features)


def conv(inputs, outputs, size, stride, *, kernel_init, dtype, rngs, axis_name=None) -> nnx.Conv:
    """A bias-free square convolution, padded by size // 2 on all sides for every stride."""
    del axis_name
    padding = ((size // 2, size // 2),) * 2
    options = dict(padding=padding, use_bias=False, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
    return nnx.Conv(inputs, outputs, (size, size), strides=stride, **options)


class PreActivationBlock(nnx.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))); a group's first block has norm(conv1x1(relu(norm(x)))) for x."""

    def __init__(self, inputs: int, outputs: int, *, first: bool, stride: int, **options):
        self.norm1 = BatchNorm(inputs, axis_name=options["axis_name"])
        self.conv1 = conv(inputs, outputs, 3, stride, **options)
        self.norm2 = BatchNorm(outputs, axis_name=options["axis_name"])
        self.conv2 = conv(outputs, outputs, 3, 1, **options)
        self.first = first
        if first:
            self.shortcut = conv(inputs, outputs, 1, stride, **options)
            self.shortcut_norm = BatchNorm(outputs, axis_name=options["axis_name"])

    def __call__(self, x, *, train: bool):  # noqa: D102  (the class says what it does)
        y = self.norm1(x, train=train, relu=True)
        if self.first:
            x = self.shortcut_norm(self.shortcut(y), train=train)
        y = self.norm2(self.conv1(y), train=train, relu=True)
        return x + self.conv2(y)


class PostActivationBlock(nnx.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))); where the shape changes, x is subsampled and zero-padded."""

    def __init__(self, inputs: int, outputs: int, *, first: bool, stride: int, **options):
        del first
        if outputs < inputs:
            raise ValueError(f"ResNet style 'he' cannot narrow from {inputs} to {outputs} channels; let widths "
                             "increase")
        self.conv1 = conv(inputs, outputs, 3, stride, **options)
        self.norm1 = BatchNorm(outputs, axis_name=options["axis_name"])
        self.conv2 = conv(outputs, outputs, 3, 1, **options)
        self.norm2 = BatchNorm(outputs, axis_name=options["axis_name"])
        self.stride, self.added = stride, outputs - inputs

    def __call__(self, x, *, train: bool):  # noqa: D102
        y = self.norm1(self.conv1(x), train=train, relu=True)
        if self.stride > 1 or self.added:
            before = self.added // 2
            x = jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0),) * 3 + ((before, self.added - before),))
        return self.norm2(self.conv2(y), train=train, relu=True, residual=x)


# Of each style: the block, the initializer of convolutions, and that of the head.
STYLES = {
    "tensor2tensor": (
        PreActivationBlock,
        nnx.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
        nnx.initializers.variance_scaling(2.0, "fan_avg", "truncated_normal"),
    ),
    "he": (
        PostActivationBlock,
        nnx.initializers.variance_scaling(2.0, "fan_in", "normal"),
        nnx.initializers.variance_scaling(2.0, "fan_in", "normal"),
    ),
}
