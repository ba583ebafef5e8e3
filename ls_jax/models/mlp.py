"""Fully-connected ReLU network (paper, A.5: two hidden layers, of 1200 units for the teacher, 800 for the student)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from ls_jax.fields import Field, between, optional, several, whole
from ls_jax.models.layers import Linear, Output, dropout


class MLP(nnx.Module):
    """Hidden ReLU layers `dense1`, `dense2`, … with `hidden` units each, followed by dropout in training.

    Kernels start from N(0, init_std²), or from He's normal distribution if init_std is None; biases start at zero. The
    paper says «Gaussian, variance 0.03»; what trains with its learning rate of 1 is a standard deviation of 0.03.
    """

    FIELDS = {
        "hidden": Field((1200, 1200), "units of each hidden layer", several(whole(1))),
        "dropout": Field(0.0, "dropout rate after each hidden layer", between(0, 1)),
        "init_std": Field(0.03, "standard deviation of the initial kernels; None: He's",
                          optional(between(0, float("inf")))),
    }
    # Its products are too small to fill an accelerator: half of map's time on an H200, a sweep of 6, timed once.
    VMAP_MEMBERS = True

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        rngs: nnx.Rngs,
        hidden: Sequence[int],
        dropout: float,
        init_std: float | None,
        dtype: jax.typing.DTypeLike = jnp.float32,
    ):
        height, width, channels = image_shape
        initializer = nnx.initializers.he_normal() if init_std is None else nnx.initializers.normal(init_std)
        self.hidden, self.dropout, self.dtype = tuple(hidden), dropout, dtype
        inputs = height * width * channels
        for i, units in enumerate(self.hidden, 1):
            setattr(self, f"dense{i}", Linear(inputs, units, kernel_init=initializer, dtype=dtype, rngs=rngs))
            inputs = units
        self.head = nnx.Linear(inputs, num_classes, kernel_init=initializer, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool,
        dropout_keys: Key[Array, " batch"] | None = None
    ) -> Output:
        """Logits and the last hidden activations. Training with dropout needs `dropout_keys`, one per example."""
        drop = train and self.dropout > 0
        if drop and dropout_keys is None:
            raise ValueError("training with dropout needs dropout_keys: one key per example")
        x = x.reshape(len(x), -1).astype(self.dtype)
        for i in range(1, len(self.hidden) + 1):
            x = nnx.relu(getattr(self, f"dense{i}")(x))
            if drop:
                x = dropout(x, self.dropout, jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(dropout_keys))
        features = x.astype(jnp.float32)
        return Output(self.head(features), features)
