"""The networks: each takes images, or the Transformer `data.text.tokens.Tokens`, and returns `Output(logits, features)`.

Every model is a `flax.nnx` module whose state is read and written as pure nested dicts (`nnx.split`, `nnx.to_pure_dict`,
`nnx.merge`), holds no random state, and ends in a linear layer: logits = features @ kernel + bias with those of `head`, or
logits = features @ embedding.T in the Transformer.
"""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ls_jax.errors import did_you_mean
from ls_jax.models.alexnet import AlexNet
from ls_jax.models.inception import InceptionV4
from ls_jax.models.layers import Output
from ls_jax.models.mlp import MLP
from ls_jax.models.resnet import ResNet
from ls_jax.models.transformer import Transformer

__all__ = ["MODELS", "AlexNet", "InceptionV4", "MLP", "Output", "ResNet", "Transformer", "build", "head"]

MODELS = {"mlp": MLP, "alexnet": AlexNet, "resnet": ResNet, "inception_v4": InceptionV4, "transformer": Transformer}


def build(
    name: str,
    *,
    num_classes: int,
    image_shape: tuple[int, ...] | None = None,
    rngs: nnx.Rngs,
    axis_name: str | None = None,
    dtype: jax.typing.DTypeLike = jnp.float32,
    **fields,
) -> nnx.Module:
    """Builds the model called `name` with its config `fields`.

    `axis_name` is the mesh axis over which batch statistics are averaged; models without any take no notice of it. The
    Transformer has no `image_shape`, and its classes are the vocabulary.
    Raises ValueError for an unknown name or field.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}{did_you_mean(name, MODELS)}; choose from {', '.join(MODELS)}")
    allowed = inspect.signature(MODELS[name].__init__).parameters
    for field in fields:
        if field not in allowed:
            own = [field for field in allowed if field not in ("self", "rngs", "num_classes", "image_shape")]
            raise ValueError(f"model {name!r} has no field {field!r}{did_you_mean(field, own)}; it has {', '.join(own)}")
    for field, value in (("axis_name", axis_name), ("image_shape", image_shape)):
        if field in allowed:
            fields[field] = value
    return MODELS[name](num_classes=num_classes, rngs=rngs, dtype=jnp.dtype(dtype), **fields)


def head(params: dict[str, Any]) -> dict[str, jax.Array]:
    """The output layer's kernel [..., features, classes] and bias [..., classes], of members with or without leading axes.

    A network that shares its output layer with its embedding has no bias: zeros.
    """
    if "head" in params:
        return params["head"]
    embedding = params["embedding"]
    return {"kernel": jnp.swapaxes(embedding, -1, -2), "bias": jnp.zeros(embedding.shape[:-1], embedding.dtype)}
