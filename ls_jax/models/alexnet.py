"""The paper's CIFAR-10 "AlexNet" (A.1): the network of TensorFlow's CIFAR-10 tutorial, without weight averaging."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from ls_jax.models.layers import Output, local_response_norm, max_pool


class AlexNet(nnx.Module):
    """conv1 - pool - LRN - conv2 - LRN - pool - dense1 (384) - dense2 (192) - head, ReLU after each layer but the head.

    It takes images of any size and number of channels; the tutorial crops CIFAR-10 to 24x24x3. Kernels start from a
    normal distribution that is cut off at two standard deviations. As in TensorFlow this is not corrected for, so the
    kernels' standard deviation is 0.88 of the nominal one.
    """

    FIELDS = {}
    VMAP_MEMBERS = True  # 0.57 of map's time on an H200, a sweep of 6

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        rngs: nnx.Rngs,
        dtype: jax.typing.DTypeLike = jnp.float32,
    ):
        height, width, channels = image_shape
        rows, columns = (-(-size // 4) for size in (height, width))  # two poolings, each halves, rounded up
        self.dtype = dtype

        def start(std, bias):
            constant = nnx.initializers.constant(bias)
            return dict(kernel_init=nnx.initializers.truncated_normal(std), bias_init=constant, rngs=rngs)

        self.conv1 = nnx.Conv(channels, 64, (5, 5), dtype=dtype, **start(0.05, 0.0))
        self.conv2 = nnx.Conv(64, 64, (5, 5), dtype=dtype, **start(0.05, 0.1))
        self.dense1 = nnx.Linear(rows * columns * 64, 384, dtype=dtype, **start(0.04, 0.1))
        self.dense2 = nnx.Linear(384, 192, dtype=dtype, **start(0.04, 0.1))
        self.head = nnx.Linear(192, num_classes, **start(1 / 192, 0.0))

    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool,
        dropout_keys: Key[Array, " batch"] | None = None
    ) -> Output:
        """Logits and the 192 activations of dense2. There is no dropout and no batch norm, so `train` has no effect."""
        del train, dropout_keys
        x = x.astype(self.dtype)
        x = local_response_norm(max_pool(nnx.relu(self.conv1(x))))
        x = max_pool(local_response_norm(nnx.relu(self.conv2(x))))
        x = nnx.relu(self.dense1(x.reshape(len(x), -1)))
        features = nnx.relu(self.dense2(x)).astype(jnp.float32)
        return Output(self.head(features), features)
