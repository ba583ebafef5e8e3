"""The networks. Each maps images, or for the Transformer `data.text.tokens.Tokens`, to `Output(logits, features)`.

Every model is a `flax.nnx` module without random state. Its state is read and written as pure nested dicts
(`nnx.split`, `nnx.to_pure_dict`, `nnx.merge`). It ends in a linear layer: logits = features @ head.kernel + head.bias,
or in the Transformer logits = features @ embedding.T. MODELS lists the models, and `Model` is their protocol.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from ls_jax.errors import InvalidField, did_you_mean
from ls_jax.fields import Field
from ls_jax.models.layers import Output

__all__ = ["MODELS", "Model", "Output", "build", "check", "cpu_fusion", "fields", "head", "statistics", "vmap_members"]


class Model(Protocol):
    """A network: a class of `flax.nnx.Module`s that MODELS names.

    FIELDS are the fields of `config.model` beside `name`; the constructor takes each as a keyword, and has no defaults
    of its own. It also takes `num_classes`, `rngs` and `dtype` (of the computation: parameters, features and logits are
    float32), and may take `image_shape` (height, width, channels) and `axis_name`, the mesh axis over which batch
    statistics are averaged. Its output layer is `head`, an `nnx.Linear`; or it has none, and its `embedding` [classes,
    features] is the output layer.

    A class may also declare two measured facts, which change the speed of a run alone:

    CPU_FUSION: the value of XLA:CPU's fusion flag under which it trains fastest, one of `devices.cpu.VALUES`
        (benchmarks/cpu_flags.py).
    VMAP_MEMBERS: whether members that share a GPU or TPU train fastest as one vmapped program
        (benchmarks/train_step.py --members).

    It may have a static method `statistics`. Of normalised training images [images, height, width, channels], on the
    host, this makes nested dicts of NumPy arrays, which replace every member's initial batch statistics of these names.
    """

    FIELDS: ClassVar[Mapping[str, Field]]

    def __init__(self, *, num_classes: int, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike, **fields: Any): ...

    def __call__(self, x: Float[Array, "batch height width channels"], *, train: bool,
                 dropout_keys: Key[Array, " batch"] | None = None) -> Output:
        """Logits [batch, classes] and features [batch, features] of images; of Tokens [batch, places] one more axis.

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
    "fastnet": "ls_jax.models.fastnet.FastNet",
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
    """A new model from the given fields of `config.model`; the others have their defaults.

    Args:
        name: a name in MODELS.
        num_classes: for the Transformer, the size of the vocabulary.
        image_shape: height, width, channels; None for the Transformer.
        rngs: for the initial parameters.
        axis_name: the mesh axis over which batch statistics are averaged; models without any ignore it.
        dtype: of the computation.

    Raises:
        ValueError: an unknown name or field, or sizes that do not fit each other.
    """
    check(name, given)
    model = _load(name)
    allowed = inspect.signature(model.__init__).parameters
    shape = {field: value for field, value in (("axis_name", axis_name), ("image_shape", image_shape))
             if field in allowed}
    defaults = {field: each.default for field, each in model.FIELDS.items()}
    return model(num_classes=num_classes, rngs=rngs, dtype=jnp.dtype(dtype), **shape, **(defaults | given))


def statistics(name: str) -> Callable[[np.ndarray], dict[str, Any]] | None:
    """The function of training pictures that a model's initial statistics are in part; None for most. See `Model`."""
    return getattr(_load(name), "statistics", None)


def fields(name: str) -> Mapping[str, Field]:
    """The fields of a model, by name."""
    return _load(name).FIELDS


def cpu_fusion(name: str) -> str | None:
    """The value of XLA:CPU's fusion flag with which a model trains fastest; None: it declares none."""
    return getattr(_load(name), "CPU_FUSION", None)


def vmap_members(name: str) -> bool:
    """Whether members that share a GPU or TPU train fastest as one vmapped program, as the class declares."""
    return getattr(_load(name), "VMAP_MEMBERS", False)


def check(name: str, given: Mapping[str, Any]) -> None:
    """Raise InvalidField, a ValueError, unless there is a model of this name whose fields may have these values."""
    known = fields(name)
    for field, value in given.items():
        if field not in known:
            raise InvalidField(f"model {name!r} has no field {field!r}{did_you_mean(field, known)}; it has "
                               f"{', '.join(known) or 'none'}")
        known[field].refuse(f"config.model.{field}", value)


def _load(name: str) -> type[nnx.Module]:
    if name not in MODELS:
        raise InvalidField(f"unknown model {name!r}{did_you_mean(name, MODELS)}; choose from {', '.join(MODELS)}")
    model = MODELS[name]
    if isinstance(model, str):
        module, _, attribute = model.rpartition(".")
        model = getattr(importlib.import_module(module), attribute)
    if not hasattr(model, "FIELDS"):
        raise InvalidField(f"model {name!r}: {model.__name__} has no FIELDS; declare there what it takes of "
                           "config.model, {} for nothing")
    return model


def head(params: dict[str, Any]) -> dict[str, jax.Array]:
    """The output layer's kernel [..., features, classes] and bias [..., classes]; leading axes are members.

    An output layer without a bias, such as one that is shared with an embedding, has zeros.
    """
    if "head" in params:
        kernel = params["head"]["kernel"]
        return {"bias": jnp.zeros((*kernel.shape[:-2], kernel.shape[-1]), kernel.dtype)} | params["head"]
    embedding = params["embedding"]
    return {"kernel": jnp.swapaxes(embedding, -1, -2), "bias": jnp.zeros(embedding.shape[:-1], embedding.dtype)}
