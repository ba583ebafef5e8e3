"""The networks: each takes images and returns `Output(logits, features)`.

Every model is a `flax.nnx` module whose state is read and written as pure nested dicts (`nnx.split`, `nnx.to_pure_dict`,
`nnx.merge`), holds no random state, and ends in the linear layer `head`: logits = features @ kernel + bias.
"""

import inspect

import jax
import jax.numpy as jnp
from flax import nnx

from ls_jax.errors import did_you_mean
from ls_jax.models.alexnet import AlexNet
from ls_jax.models.layers import Output
from ls_jax.models.mlp import MLP
from ls_jax.models.resnet import ResNet

__all__ = ["MODELS", "AlexNet", "MLP", "Output", "ResNet", "build"]

MODELS = {"mlp": MLP, "alexnet": AlexNet, "resnet": ResNet}


def build(
    name: str,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    rngs: nnx.Rngs,
    axis_name: str | None = None,
    dtype: jax.typing.DTypeLike = jnp.float32,
    **fields,
) -> nnx.Module:
    """Builds the model called `name` with its config `fields`.

    `axis_name` is the mesh axis over which batch statistics are averaged; models without any take no notice of it.
    Raises ValueError for an unknown name or field.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}{did_you_mean(name, MODELS)}; choose from {', '.join(MODELS)}")
    allowed = inspect.signature(MODELS[name].__init__).parameters
    for field in fields:
        if field not in allowed:
            own = [field for field in allowed if field not in ("self", "rngs", "num_classes", "image_shape")]
            raise ValueError(f"model {name!r} has no field {field!r}{did_you_mean(field, own)}; it has {', '.join(own)}")
    if "axis_name" in allowed:
        fields["axis_name"] = axis_name
    return MODELS[name](num_classes=num_classes, image_shape=image_shape, rngs=rngs, dtype=jnp.dtype(dtype), **fields)
