"""Augmentation and normalisation on the device: pure and jit-able, with one random key per example.

An augmentation is a function of one image and one key, and `train` maps it over the batch. So the result for an example
depends on its key alone, never on other examples or its shard. Pixels are on the 0..255 scale until they are
normalised. Crops are dynamic slices: with standardisation these took 0.6 ms on XLA:CPU (2 cores) for 128 32x32x3
images, against 1.2 ms for row and column gathers, 2 ms for one-hot products and 1 to 2.8 ms for conditional shifts.
"""
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8, UInt32

TUTORIAL_SIZE = 24  # side of the crop in TensorFlow's CIFAR-10 tutorial

Image = UInt8[Array, "_ _ _"] | Float[Array, "_ _ _"]  # height, width, channels; crops change the first two


def none(image: Image, key: Key[Array, ""]) -> Image:
    """The image as it is."""
    return image


def shift(image: Image, key: Key[Array, ""]) -> Image:
    """Shifts by -2..2 pixels in y and in x, all 25 equally likely, padded with zeros (the MNIST teachers, A.5)."""
    return _crop(_pad(image, 2), image.shape[:2], jax.random.bits(key))[0]


def crop_flip(image: Image, key: Key[Array, ""]) -> Image:
    """4 zeros on each side, a random crop back, mirrored at random (tensor2tensor's cifar_image_augmentation)."""
    return _flip(*_crop(_pad(image, 4), image.shape[:2], jax.random.bits(key)))


def reflect_crop(image: Image, key: Key[Array, ""]) -> Image:
    """Pad by 2 reflected pixels and crop at random, as cifar10-airbench does; `data.flip_period` adds its flips."""
    return _crop(jnp.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect"), image.shape[:2], jax.random.bits(key))[0]


def tutorial_crop_flip(image: Image, key: Key[Array, ""]) -> Image:
    """A random 24x24 crop, mirrored at random."""
    return _flip(*_crop(image, (TUTORIAL_SIZE, TUTORIAL_SIZE), jax.random.bits(key)))


def tutorial(image: Image, key: Key[Array, ""]) -> Image:
    """TensorFlow's CIFAR-10 tutorial: 24x24 crop, mirror, brightness +-63, contrast 0.2..1.8; float32, unclipped.

    Contrast scales each channel's distance from that channel's mean, as tf.image.adjust_contrast does.
    """
    position, brightness, contrast = jax.random.bits(key, (3,))
    image = _flip(*_crop(image, (TUTORIAL_SIZE, TUTORIAL_SIZE), position)).astype(jnp.float32)
    image = image + _uniform(brightness, -63.0, 63.0)
    mean = image.mean((0, 1), keepdims=True)
    return mean + (image - mean) * _uniform(contrast, 0.2, 1.8)


def inception(image: Image, key: Key[Array, ""]) -> Float[Array, "_ _ _"]:
    """TF-slim's augmentation for Inception in fast mode, after the crop; float32 in 0..255.

    It mirrors, adds brightness of +-32, and multiplies the saturation by 0.5..1.5; the last two in random order.
    """
    order, brightness, saturation = jax.random.bits(key, (3,))
    image = _flip(image, order).astype(jnp.float32)
    shift, factor = _uniform(brightness, -32.0, 32.0), _uniform(saturation, 0.5, 1.5)
    brightness_first = saturate(_brighten(image, shift), factor)
    saturation_first = _brighten(saturate(image, factor), shift)
    return jnp.where(order >> 1 & 1 == 1, brightness_first, saturation_first)


def _brighten(image: Float[Array, "height width channels"], shift: Float[Array, ""],
              ) -> Float[Array, "height width channels"]:
    """The image plus `shift`, clipped to 0..255."""
    return jnp.clip(image + shift, 0.0, 255.0)


def saturate(image: Float[Array, "height width channels"], factor: Float[Array, ""],
             ) -> Float[Array, "height width channels"]:
    """The image with its HSV saturation times `factor`, at most 1, as tf.image.adjust_saturation."""
    value = image.max(-1, keepdims=True)
    chroma = value - image.min(-1, keepdims=True)
    return jnp.maximum(0.0, value - (value - image) * jnp.minimum(factor, value / jnp.maximum(chroma, 1e-6)))


AUGMENTATIONS: dict[str, Callable[[Image, Key[Array, ""]], Image]] = {
    "none": none,
    "shift": shift,
    "crop_flip": crop_flip,
    "reflect_crop": reflect_crop,
    "tutorial": tutorial,
    "tutorial_crop_flip": tutorial_crop_flip,
    "inception": inception,
}


def unit(image: Image) -> Float[Array, "_ _ _"]:
    """Pixels scaled from 0..255 to 0..1."""
    return image.astype(jnp.float32) / 255


def symmetric(image: Image) -> Float[Array, "_ _ _"]:
    """Pixels scaled from 0..255 to -1..1, as the Inception networks take them."""
    return image.astype(jnp.float32) / 127.5 - 1


def standardize(image: Image) -> Float[Array, "_ _ _"]:
    """(x - mean) / max(std, 1/sqrt(n)) over the n values of the image, on the 0..255 scale.

    It equals tf.image.per_image_standardization of a float image, and of a uint8 image in TensorFlow 1, the paper's.
    (TensorFlow 2 first scales uint8 to 0..1, where the floor of std is higher.) A constant image becomes 0.
    """
    image = image.astype(jnp.float32)
    image = image - image.mean()
    deviation = jnp.sqrt(jnp.mean(image * image))
    return image / jnp.maximum(deviation, image.size**-0.5)


NORMALIZATIONS: dict[str, Callable[[Image], Float[Array, "_ _ _"]]] = {
    "unit": unit,
    "symmetric": symmetric,
    "standardize": standardize,
}


def mirror(images: UInt8[Array, "batch height width channels"],
           bits: UInt32[Array, " batch"]) -> UInt8[Array, "batch height width channels"]:
    """Mirrors left and right the images whose lowest bit is set."""
    return jax.vmap(_flip)(images, bits)


def train(images: UInt8[Array, "batch height width channels"], keys: Key[Array, " batch"], augmentation: str,
          normalization: str) -> Float[Array, "batch out_height out_width channels"]:
    """Each image augmented with its own key, then normalised. ValueError: unknown name, image too small."""
    augment = _named(AUGMENTATIONS, "augmentation", augmentation)
    normalize = _named(NORMALIZATIONS, "normalization", normalization)
    output_shape(images.shape[1:], augmentation)
    return jax.vmap(lambda image, key: normalize(augment(image, key)))(images, keys)


def evaluate(images: UInt8[Array, "batch height width channels"], augmentation: str,
             normalization: str) -> Float[Array, "batch out_height out_width channels"]:
    """The central crop of each image (all of it if `augmentation` crops nothing), normalised."""
    normalize = _named(NORMALIZATIONS, "normalization", normalization)
    height, width, _ = output_shape(images.shape[1:], augmentation)
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    return jax.vmap(normalize)(images[:, top:top + height, left:left + width])


def output_shape(image_shape: tuple[int, int, int], augmentation: str) -> tuple[int, int, int]:
    """(height, width, channels) after `train` or `evaluate`. ValueError: unknown name, image smaller than the crop."""
    _named(AUGMENTATIONS, "augmentation", augmentation)
    height, width, channels = image_shape
    if augmentation not in ("tutorial", "tutorial_crop_flip"):
        return height, width, channels
    if min(height, width) < TUTORIAL_SIZE:
        raise ValueError(f"augmentation {augmentation!r} crops {TUTORIAL_SIZE}x{TUTORIAL_SIZE} pixels, but the images "
                         f"are {height}x{width}; choose another data.augment")
    return TUTORIAL_SIZE, TUTORIAL_SIZE, channels


def _named(functions: dict[str, Callable], kind: str, name: str) -> Callable:
    if name not in functions:
        raise ValueError(f"unknown {kind} {name!r}; choose one of {', '.join(functions)}")
    return functions[name]


def _pad(image: Image, pixels: int) -> Image:
    """Zeros on all four sides."""
    return jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))


def _crop(image: Image, size: tuple[int, int], bits: UInt32[Array, ""]) -> tuple[Image, UInt32[Array, ""]]:
    """A uniformly placed crop, and the random bits that are left.

    The number of positions need not divide 2**32; the bias is less than one part in a million.
    """
    rows, columns = image.shape[0] - size[0] + 1, image.shape[1] - size[1] + 1
    bits, column = bits // columns, (bits % columns).astype(jnp.int32)
    bits, row = bits // rows, (bits % rows).astype(jnp.int32)
    return jax.lax.dynamic_slice(image, (row, column, jnp.int32(0)), (*size, image.shape[2])), bits


def _flip(image: Image, bits: UInt32[Array, ""]) -> Image:
    """Mirrors left and right if the lowest bit is set."""
    return jnp.where(bits % 2 == 1, image[:, ::-1], image)


def _uniform(bits: UInt32[Array, ""], low: float, high: float) -> Float[Array, ""]:
    """Uniform in [low, high) from the upper 24 bits, which float32 holds exactly."""
    return low + (high - low) * (bits >> 8).astype(jnp.float32) * 2.0**-24
