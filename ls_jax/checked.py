"""Checks and conversion of arrays from outside: labels, numbers, masks and names.

NumPy computes with most odd arrays without an error: in the small integer type of labels, without imaginary parts, with
the methods of objects, or with a mask's 0 and 1 as positions. Here labels become int64, numbers float32 or float64 in
the machine's byte order, masks bool, and names str. Arrays that have these types already are not copied.
"""
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ls_jax.errors import InvalidArray

LARGEST = float(np.finfo(np.float32).max)  # a sum of fourth powers of such numbers is finite in float64


def is_integer(dtype: Any) -> bool:
    """Whether it is an integer type of any size, also ml_dtypes' int4, but not bool."""
    return dtype.kind in "iu" or (dtype.kind == "V" and np.can_cast(dtype, np.int64))


def is_floating(dtype: Any) -> bool:
    """Whether it is a floating type of any size, also bfloat16 and others of ml_dtypes."""
    own = dtype.kind == "V" and np.can_cast(dtype, np.float64) and not np.can_cast(dtype, np.int64)
    return dtype.kind == "f" or own


def described(dtype: Any) -> str:
    """A dtype's name for a message. In npz files ml_dtypes' short floats are bytes without a type."""
    if dtype == "V1":
        return f"{dtype} (bytes, as NumPy writes float8: convert it with .astype(np.float32) first)"
    return str(dtype)


def check_unmasked(array: Any, name: str) -> None:
    """Refuse a masked array, since NumPy drops the mask on conversion to an ordinary array.

    Raises:
        InvalidArray: it is a masked array.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise InvalidArray(f"{name} is a masked array: leave the masked examples out, and give an ordinary array")


def integers(array: Any, name: str = "labels") -> Int[np.ndarray, "*batch examples"]:
    """Integers of any type as int64.

    Raises:
        InvalidArray: it has no dimension, another dtype, or a number too large for int64.
    """
    array = _array(array, name)
    if not is_integer(array.dtype):
        raise InvalidArray(f"{name} has dtype {described(array.dtype)}: integers are due")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.size and array.max() > np.iinfo(np.int64).max:
        raise InvalidArray(f"{name} holds {array.max()}, more than int64 does")
    return array.astype(np.int64, copy=False)


def class_ids(array: Any, classes: int, name: str = "labels") -> Int[np.ndarray, "*batch examples"]:
    """`integers` from 0 to classes - 1.

    Raises:
        InvalidArray: as `integers`, or a number is outside.
    """
    labels = integers(array, name)
    if labels.size:
        low, high = labels.min(), labels.max()
        if low < 0 or high >= classes:
            bad = low if low < 0 else high
            raise InvalidArray(f"{name} must be in 0..{classes - 1}, found {bad}: mask out padding")
    return labels


def check_reals(array: Any, name: str = "logits", dimensions: int | None = None) -> None:
    """Check that an array holds real numbers, of any floating or integer type. It may be on disk, and is not read.

    Raises:
        InvalidArray: it has another dtype or a wrong number of dimensions.
    """
    check_unmasked(array, name)
    if not (is_floating(array.dtype) or is_integer(array.dtype)):
        raise InvalidArray(f"{name} has dtype {described(array.dtype)}: real numbers are due")
    if not array.shape or dimensions not in (None, len(array.shape)):
        due = dimensions or "one or more"
        raise InvalidArray(f"{name} has shape {tuple(array.shape)}: an array of {due} dimensions is due")


def reals(array: Any, name: str = "logits") -> Float[np.ndarray, "*batch last"]:
    """Real numbers as float32 (from floats of at most 32 bits) or float64 (from longer floats and integers).

    Raises:
        InvalidArray: as `check_reals`.
    """
    array = _array(array, name)
    check_reals(array, name)
    short = is_floating(array.dtype) and array.dtype.itemsize <= 4
    return array.astype(np.float32 if short else np.float64, copy=False)


def doubles(array: Any, name: str = "features") -> Float[np.ndarray, "*batch last"]:
    """`reals` in float64."""
    return reals(array, name).astype(np.float64, copy=False)


def booleans(array: Any, name: str = "mask") -> Bool[np.ndarray, "*batch examples"]:
    """Booleans, or integers that are all 0 or 1.

    Raises:
        InvalidArray: it has no dimension, or holds other values.
    """
    array = _array(array, name)
    if array.dtype != bool and not (is_integer(array.dtype) and np.isin(array, (0, 1)).all()):
        raise InvalidArray(f"{name} has dtype {described(array.dtype)}: booleans are due")
    return array.astype(bool, copy=False)


def strings(array: Any, name: str = "class_names") -> list[str]:
    """The strings in a one-dimensional array; bytes are decoded as UTF-8.

    Raises:
        InvalidArray: it has another shape or dtype, bytes that are not UTF-8, or numbers that are no characters.
    """
    check_unmasked(array, name)
    array = np.asarray(array)
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise InvalidArray(f"{name} is {array.dtype} {array.shape}; it must be strings [K]")
    return [_string(array, at, name) for at in range(len(array))]


def _string(array, at, name):
    try:
        each = array[at].item()
        if isinstance(each, bytes):
            return each.decode()
        each.encode()  # fails for half of a surrogate pair, which cannot be written to a file
        return each
    except UnicodeDecodeError as error:
        raise InvalidArray(f"{name} holds bytes that are not UTF-8 ({error.object!r})") from error
    except (ValueError, SystemError) as error:  # by NumPy, for numbers that are no characters
        raise InvalidArray(f"{name}[{at}] holds a number that is no character of Unicode") from error


def member(logits: Any, labels: Any) -> tuple[Any, Int[np.ndarray, " examples"]]:
    """One network's (logits [examples, classes], unchanged and perhaps on disk; labels [examples] as `class_ids`).

    Raises:
        InvalidArray: a dtype, a shape or a label is wrong, or there is no example or no class.
    """
    logits = logits if hasattr(logits, "dtype") else np.asarray(logits)
    check_reals(logits, "logits", 2)
    if 0 in logits.shape:
        raise InvalidArray(f"logits have shape {tuple(logits.shape)}: at least one example and one class are due")
    labels = class_ids(labels, logits.shape[1])
    if labels.shape != (logits.shape[0],):
        raise InvalidArray(f"labels have shape {labels.shape}, and {(logits.shape[0],)} goes with logits of shape "
                           f"{tuple(logits.shape)}")
    return logits, labels


def check_finite(name: str, block: Any, start: int = 0, absent: bool = False) -> None:
    """Check that all numbers are finite in float32.

    Args:
        name: the array's name, for the message.
        block: rows of the array.
        start: the number of the block's first row, for the message.
        absent: whether -inf is allowed, for a class that does not exist for an example.

    Raises:
        InvalidArray: names the first number that is not finite.
    """
    block = reals(block, name)
    if not block.size or (block.min() >= -LARGEST and block.max() <= LARGEST):
        return
    fine = np.abs(block) <= LARGEST
    bad = np.argwhere(~(fine | (block == -np.inf)) if absent else ~fine)
    if len(bad):
        at, value = ", ".join(str(i + start * (axis == 0)) for axis, i in enumerate(bad[0])), block[tuple(bad[0])]
        limit = f" and at most {LARGEST:.1e}" if np.isfinite(value) else ""
        raise InvalidArray(f"{name}[{at}] is {value}: every number must be finite{limit}")


def are_probabilities(block: Float[np.ndarray, "examples classes"]) -> bool:
    """Whether all numbers are at least 0 and each row sums to 1, up to errors of half precision."""
    return bool(np.all(block >= 0) and np.all(np.abs(block.sum(axis=1, dtype=np.float64) - 1) < 1e-2))


def _array(array, name):
    check_unmasked(array, name)
    array = np.asarray(array)
    if not array.ndim:
        raise InvalidArray(f"{name} is a single {array.dtype}: an array is due")
    return array
