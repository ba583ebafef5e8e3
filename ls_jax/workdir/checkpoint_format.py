"""The format of a checkpoint on the disk, with checksums by which a reader detects damage.

A checkpoint is a directory with two Orbax items. `state` is nested dicts of arrays [M, ...]. `metadata` is JSON: the
format's number, the step, the shape, dtype and checksum of each leaf, the caller's metadata, and a checksum of itself.
"""
import errno
import functools
import json
import math
import os
import pathlib
import reprlib
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Shaped, UInt32

from ls_jax.errors import UserError

FORMAT = 1
GOLDEN_RATIO = 0x9E3779B9  # 2^32 over it
BLOCK = 2**15  # words
SLICE = 2**20  # bytes; replicas share the writing of larger arrays, for smaller ones that is slower


class Damaged(Exception):
    """A checkpoint that cannot be trusted; the message is the reason."""


def checksum(x: Shaped[Array, "..."]) -> UInt32[Array, ""]:
    """Checksum of an array's values and positions. It is the same for every sharding, and gathers no data.

    It is a sum modulo 2^32 over the elements: the bits, xor the row-major index times the golden ratio, through
    MurmurHash3's 32-bit finalizer. Each step is a bijection of the word, so a change of one element is always detected.

    Args:
        x: any shape, of bool or of a dtype of 8, 16 or 32 bits.
    """
    if x.dtype == bool:
        x = x.astype(jnp.uint8)
    words = jax.lax.bitcast_convert_type(x, np.dtype(f"uint{8 * x.dtype.itemsize}")).astype(np.uint32)
    index = jnp.zeros((), np.uint32)
    for axis, size in enumerate(x.shape):
        stride = math.prod(x.shape[axis + 1:]) * GOLDEN_RATIO % 2**32
        index += (jnp.arange(size, dtype=np.uint32) * np.uint32(stride)).reshape((size,) + (1,) * (x.ndim - axis - 1))
    return _mixed(words ^ index).sum(dtype=np.uint32)


def checksum_on_host(x: Shaped[np.ndarray, "..."]) -> int:
    """`checksum` in NumPy, in blocks that fit into a processor's cache. On a CPU it saves the compilation."""
    flat = np.ascontiguousarray(x).reshape(-1)
    flat, total = flat.view(f"uint{8 * flat.dtype.itemsize}"), 0
    places = np.arange(min(len(flat), BLOCK), dtype=np.uint32) * np.uint32(GOLDEN_RATIO)
    for start in range(0, len(flat), BLOCK):
        words = flat[start:start + BLOCK].astype(np.uint32)
        index = places[:len(words)] + np.uint32(start * GOLDEN_RATIO % 2**32)
        total += int(_mixed(words ^ index).sum(dtype=np.uint64))
    return total % 2**32


def _mixed(words: Any) -> Any:
    """MurmurHash3's finalizer of uint32 words, NumPy's or JAX's."""
    words = (words ^ words >> 16) * np.uint32(0x85EBCA6B)
    words = (words ^ words >> 13) * np.uint32(0xC2B2AE35)
    return words ^ words >> 16


_checksum = jax.jit(checksum)  # one small program per shape and dtype: for all leaves at once it compiles for seconds


def _checksums(leaves: dict[str, Any]) -> dict[str, int]:
    """{name: checksum}. On a CPU NumPy computes them.

    Elsewhere the programs run one after another: on several CPU devices, concurrent programs with collectives deadlock.
    """
    on_host = jax.default_backend() == "cpu" and jax.process_count() == 1
    return {name: checksum_on_host(np.asarray(x)) if on_host else int(jax.device_get(_checksum(x)))
            for name, x in leaves.items()}


@functools.cache
def orbax() -> Any:
    """Orbax, imported when first needed (0.4 s). `workdir.quiet.Quiet` silences what it prints of errors."""
    import orbax.checkpoint
    return orbax.checkpoint


def writers() -> Any:
    """Orbax's handlers of the two items, with one change: a single replica writes a small array whole.

    By default each device writes a slice of every replicated array. The first save of a ResNet-56 on eight devices then
    compiles 136 programs, which takes longer than everything else in it.
    """
    ocp = orbax()
    types = ocp.type_handlers.create_type_handler_registry(
        (jax.Array, ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=SLICE)),
        (np.ndarray, ocp.type_handlers.NumpyHandler()))
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    registry.add("state", ocp.args.PyTreeSave, ocp.PyTreeCheckpointHandler(type_handler_registry=types))
    registry.add("metadata", ocp.args.JsonSave, ocp.JsonCheckpointHandler())
    return registry


def flatten(tree: Any) -> dict[str, Any]:
    """The leaves of any pytree by name, such as "params/head/kernel"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def nest(leaves: dict[str, Any], key: Any = str) -> dict[Any, Any]:
    """Nested dicts from leaves named as `flatten` names them; `key` converts each part of a name."""
    tree: dict[Any, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = map(key, name.split("/"))
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def seal(step: int, leaves: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint's JSON: format, step, the leaves' shapes, dtypes and checksums, and its own checksum."""
    sums = _checksums(leaves)
    table = {name: {"shape": list(x.shape), "dtype": str(x.dtype), "checksum": sums[name]}
             for name, x in leaves.items()}
    content = json.loads(json.dumps({"format": FORMAT, "step": step, "leaves": table, "metadata": metadata}))
    return content | {"crc32": _crc32(content)}


def _crc32(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _unseal(path: pathlib.Path) -> dict[str, Any]:
    """The JSON of the checkpoint in a directory. Raises Damaged unless it is complete and of this format."""
    try:
        content = json.loads((path / "metadata" / "metadata").read_bytes())
        found = content["format"]
        if found == FORMAT and content.pop("crc32") == _crc32(content) and content["step"] == int(path.name):
            return content
    except Exception as error:  # damage of any kind: bytes that are no text, lists nested too deeply, a number too long
        raise Damaged(f"its metadata cannot be read: {line(error)}") from error
    raise Damaged("its metadata was altered" if found == FORMAT
                  else f"it has format {reprlib.repr(found)}, and this version of ls_jax reads format {FORMAT}")


def restore(path: pathlib.Path, abstract: Any) -> tuple[Any, dict[str, Any]]:
    """State with the structure and shardings of `abstract`, and metadata. Raises Damaged on all processes or none."""
    targets, content, problem = flatten(abstract), None, None
    try:
        content = _unseal(path)
        _check_fits(path, content["leaves"], targets)
        leaves = _read(path, targets)
    except Damaged as damage:
        problem = damage
    if _on_any_process(problem is not None):
        raise problem or Damaged("another process cannot read it")
    sums = _checksums(leaves)
    _check_sums(sums, content["leaves"])
    return jax.tree.unflatten(jax.tree.structure(abstract), leaves.values()), content["metadata"]


def load(path: pathlib.Path) -> tuple[dict[Any, Any], dict[str, Any]]:
    """The state as a nested dict of NumPy arrays, and metadata. Raises Damaged."""
    content = _unseal(path)
    leaves = _read(path, {name: jax.ShapeDtypeStruct(leaf["shape"], jnp.dtype(leaf["dtype"]))
                          for name, leaf in content["leaves"].items()})
    _check_sums({name: checksum_on_host(x) for name, x in leaves.items()}, content["leaves"])
    return nest(leaves, key=lambda part: int(part) if part.isdecimal() else part), content["metadata"]


def _read(path: pathlib.Path, targets: dict[str, jax.ShapeDtypeStruct]) -> dict[str, Any]:
    """Arrays by name: on the devices if the target has a sharding, else in NumPy."""
    ocp = orbax()
    full = nest({name: target for name, target in targets.items() if math.prod(target.shape)})
    try:
        args = ocp.args.PyTreeRestore(item=full, restore_args=ocp.checkpoint_utils.construct_restore_args(full))
        # Not CheckpointManager.restore: it waits for all processes, also for one that failed.
        read = flatten(ocp.PyTreeCheckpointHandler().restore(path / "state", args=args))
    except Exception as error:
        raise Damaged(f"its arrays cannot be read: {line(error)}") from error
    for name, array in read.items():  # the checksum does not see a change of shape
        due = targets[name]
        if (*array.shape, array.dtype) != (*due.shape, due.dtype):
            raise Damaged(f"{name} is {array.dtype}{list(array.shape)}, and {due.dtype}{list(due.shape)} was written")
    return {name: read[name] if name in read else _empty(target) for name, target in targets.items()}


def _empty(target: jax.ShapeDtypeStruct) -> Any:
    array = np.empty(target.shape, target.dtype)
    if target.sharding is None:
        return array
    return jax.make_array_from_callback(target.shape, target.sharding, lambda index: array[index])


def _check_fits(path: pathlib.Path, saved: dict[str, Any], targets: dict[str, jax.ShapeDtypeStruct]) -> None:
    """Raise UserError, which names the first leaf that differs."""
    for name in [*targets, *(name for name in saved if name not in targets)]:
        there = f"{saved[name]['dtype']}{saved[name]['shape']}" if name in saved else "absent"
        here = f"{targets[name].dtype}{list(targets[name].shape)}" if name in targets else "absent"
        if there != here:
            raise UserError(f"checkpoint {path} is of another model or sweep: {name} is {there} there and {here} here; "
                            "use the config that wrote it, or another --workdir")


def _check_sums(sums: dict[str, int], saved: dict[str, Any]) -> None:
    for name, value in sums.items():
        if value != saved[name]["checksum"]:
            raise Damaged(f"the checksum of {name} differs")


def _on_any_process(flag: bool) -> bool:
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def line(error: Exception) -> str:
    """An error in one short line. A full disk, which TensorStore reports in a paragraph, is named."""
    text = f"{type(error).__name__}: {error}"
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if os.strerror(number) in text:
            return os.strerror(number)
    return text.splitlines()[0][:120]
