"""The networks: each takes images, or the Transformer `data.text.tokens.Tokens`, and returns `Output(logits, features)`.

Every model is a `flax.nnx` module whose state is read and written as pure nested dicts (`nnx.split`, `nnx.to_pure_dict`,
`nnx.merge`), holds no random state, and ends in a linear layer: logits = features @ kernel + bias with those of `head`, or
logits = features @ embedding.T in the Transformer. MODELS lists them; `Model` says what one has.
"""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from ls_jax.errors import InvalidField, did_you_mean
from ls_jax.fields import Field
from ls_jax.models.layers import Output

__all__ = ["MODELS", "Model", "Output", "build", "check", "fields", "head"]


class Model(Protocol):
    """A network: a class of `flax.nnx.Module`s that MODELS names.

    FIELDS are the fields of `config.model` beside `name`; the constructor takes each as a keyword, and has no defaults of its own.
    It also takes `num_classes`, `rngs` and `dtype` (of the computation: parameters, features and logits are float32), and may take
    `image_shape` (height, width, channels) and `axis_name`, the mesh axis over which batch statistics are averaged.
    Its output layer is `head`, an `nnx.Linear`; or it has none, and its `embedding` [classes, features] is the output layer.
    """

    FIELDS: ClassVar[Mapping[str, Field]]

    def __init__(self, *, num_classes: int, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike, **fields: Any): ...

    def __call__(self, x: Float[Array, "batch height width channels"], *, train: bool,
                 dropout_keys: Key[Array, " batch"] | None = None) -> Output:
        """Logits [batch, classes] and features [batch, features] of images (or of Tokens [batch, places], one more axis each).

        Args:
            x: float32 images, augmented and normalised.
            train: whether to drop units and to use the batch's own statistics.
            dropout_keys: one per example; None where nothing is dropped.
        """
        ...


# Name: where its class is, which is imported on use; or the class itself, as a notebook may add its own.
MODELS: dict[str, str | type[Model]] = {
    "mlp": "ls_jax.models.mlp.MLP",
    "alexnet": "ls_jax.models.alexnet.AlexNet",
    "resnet": "ls_jax.models.resnet.ResNet",
    "inception_v4": "ls_jax.models.inception.InceptionV4",
    "transformer": "ls_jax.models.transformer.Transformer",
}


def build(
    name: str,
    *,
    num_classes: int,
    image_shape: tuple[int, ...] | None = None,
    rngs: nnx.Rngs,
    axis_name: str | None = None,
    dtype: jax.typing.DTypeLike = jnp.float32,
    **given: Any,
) -> nnx.Module:
    """Builds the model called `name` from the fields of `config.model` that are given, the others at their defaults.

    `axis_name` is the mesh axis over which batch statistics are averaged; models without any take no notice of it. The
    Transformer has no `image_shape`, and its classes are the vocabulary.
    Raises ValueError for an unknown name or field, and for sizes that do not fit each other.
    """
    check(name, given)
    model = _load(name)
    allowed = inspect.signature(model.__init__).parameters
    shape = {field: value for field, value in (("axis_name", axis_name), ("image_shape", image_shape)) if field in allowed}
    defaults = {field: each.default for field, each in model.FIELDS.items()}
    return model(num_classes=num_classes, rngs=rngs, dtype=jnp.dtype(dtype), **shape, **(defaults | given))


def fields(name: str) -> Mapping[str, Field]:
    """The fields of a model, by name."""
    return _load(name).FIELDS


def check(name: str, given: Mapping[str, Any]) -> None:
    """Raise InvalidField, a ValueError, unless there is a model of this name whose fields may have these values."""
    known = fields(name)
    for field, value in given.items():
        if field not in known:
            raise InvalidField(f"model {name!r} has no field {field!r}{did_you_mean(field, known)}; it has {', '.join(known) or 'none'}")
        known[field].refuse(f"config.model.{field}", value)


def _load(name: str) -> type[nnx.Module]:
    if name not in MODELS:
        raise InvalidField(f"unknown model {name!r}{did_you_mean(name, MODELS)}; choose from {', '.join(MODELS)}")
    model = MODELS[name]
    if isinstance(model, str):
        module, _, attribute = model.rpartition(".")
        model = getattr(importlib.import_module(module), attribute)
    if not hasattr(model, "FIELDS"):
        raise InvalidField(f"model {name!r}: {model.__name__} has no FIELDS; declare there what it takes of config.model, {{}} for nothing")
    return model


def head(params: dict[str, Any]) -> dict[str, jax.Array]:
    """The output layer's kernel [..., features, classes] and bias [..., classes], of members with or without leading axes.

    A network that shares its output layer with its embedding has no bias: zeros.
    """
    if "head" in params:
        return params["head"]
    embedding = params["embedding"]
    return {"kernel": jnp.swapaxes(embedding, -1, -2), "bias": jnp.zeros(embedding.shape[:-1], embedding.dtype)}
