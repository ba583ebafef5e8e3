"""Small programs that XLA:CPU is known to compute wrong, each compared with NumPy in float64.

From jaxlib 0.10.2 to 0.12.0.1, a batched product that is multiplied elementwise and reduced comes back as garbage,
without an error, under some values of the flag in `ls_jax.devices.cpu` (jax-ml/jax issues 39103, 39257 and 40412).
`python patterns.py` computes the programs under the flags of its process and prints the names of the wrong ones as
JSON.
"""
import json
import sys
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

TOLERANCE = 1e-4  # relative to the largest right value: float32 gives 1e-6, garbage 1e-3 and more
TIMES = 3         # runs of each program, since garbage differs from run to run


def wrong() -> list[str]:
    """The names of the patterns that this process computes wrong on its CPU, with all XLA optimizations or with few."""
    found = []
    optimizations = jax.config.values["jax_disable_most_optimizations"]
    try:
        on_cpu = jax.default_device(jax.local_devices(backend="cpu")[0])
        with on_cpu, jax.disable_jit(False), jax.transfer_guard("allow"):
            for without in (False, True):
                jax.config.update("jax_disable_most_optimizations", without)
                found += [name for name, *pattern in _patterns() if not _right(*pattern)]
    finally:
        jax.config.update("jax_disable_most_optimizations", optimizations)
    return list(dict.fromkeys(found))


def _right(program: Callable, arguments: tuple, due: np.ndarray) -> bool:
    """Whether a program, compiled, gives the result `due` each time."""
    jitted = jax.jit(lambda *arguments: program(*arguments))  # a new function, since JAX caches programs by function
    try:
        results = [np.asarray(jitted(*arguments)) for _ in range(TIMES)]
    except FloatingPointError:  # of jax_debug_nans
        return False
    return all(np.max(np.abs(result - due)) <= TOLERANCE * np.max(np.abs(due)) for result in results)


def _patterns() -> Iterator[tuple[str, Callable, tuple, np.ndarray]]:
    """(name, program, arguments, result in float64) of each pattern."""
    rng = np.random.default_rng(0)
    for size in (8, 15):
        ones = np.ones((2, size, size), np.float32)
        yield (f"product with a constant matrix, {size}", _with_constant, (ones, np.float32(1)),
               np.full((2, size), float(size * size)))
    for batch, columns, inner, width in ((64, 128, 32, 8), (3, 17, 5, 3)):
        matrices = rng.standard_normal((batch, columns, inner)).astype(np.float32)
        vectors, scale = rng.standard_normal((batch, inner)).astype(np.float32), np.float32(0.7)
        yield (f"product with a broadcast scalar, {batch}", _weighted,
               (matrices, vectors, scale, np.zeros(width, np.float32)),
               _weighted(matrices.astype(np.float64), vectors.astype(np.float64), np.float64(scale), np.zeros(width),
                         numpy=np))
    rows = np.stack([np.arange(32_769), np.zeros(32_769), np.zeros(32_769)], axis=1).astype(np.float32)
    yield "squared norm of a product", jax.vmap(_squared_norm), (rows,), rows[:, 0].astype(np.float64) ** 2


def _with_constant(x, c):
    return jnp.sum((x @ jnp.full_like(x, c)) * x, axis=-1)


def _squared_norm(row):
    return jnp.sum((jnp.eye(3, dtype=jnp.float32) @ row) ** 2)


def _weighted(matrices, vectors, scale, zeros, numpy=jnp):
    """Σ over columns of (M · s) weighted by M v; `zeros` [width] gives the width of the constant matrix."""
    constant = numpy.broadcast_to(scale, (len(matrices), matrices.shape[2], len(zeros)))
    weights = numpy.einsum("bnm,bm->bn", matrices, vectors)[..., None]
    return numpy.sum(numpy.einsum("bnm,bmk->bnk", matrices, constant) * weights, axis=1)


if __name__ == "__main__":
    json.dump(wrong(), sys.stdout)
