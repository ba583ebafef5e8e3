"""XLA options that make networks train faster on CPUs. Imports no JAX, so that it can run before JAX starts."""

import ctypes
import importlib.util
import mmap
import os
import pathlib

FUSION_TYPE = "xla_cpu_experimental_ynn_fusion_type"  # which work XLA:CPU hands to a library (YNNPACK), fused

# By default XLA:CPU fuses the backward pass of a residual network too much: chains of sums are recomputed inside the inputs of every
# weight gradient. Handing elementwise work to the library too halves a ResNet-56's step. But the library then also takes each
# convolution that elementwise work follows, and convolves slower than XLA: without residual sums that only costs, of Inception-v4 a
# fifth of a training step and a quarter of a prediction.
RESIDUAL = ("DOT", "ELTWISE", "REDUCE")
FUSIONS = {"inception_v4": ("DOT", "REDUCE"), "mlp": (), "transformer": ()}  # by `config.model.name`; (): XLA's default, which is faster


def set_cpu_flags(network: str = "resnet") -> None:
    """Adds what makes a network train faster to the environment's XLA_FLAGS; call it before JAX makes its first array.

    A flag is left out if the user has set it, or if this jaxlib does not know it: an unknown flag would abort the process.
    """
    value = ",".join(f"LIBRARY_FUSION_TYPE_{kind}" for kind in FUSIONS.get(network, RESIDUAL))
    flags = os.environ.get("XLA_FLAGS", "")
    if value and FUSION_TYPE not in flags and _known(FUSION_TYPE, value):
        os.environ["XLA_FLAGS"] = f"{flags} --{FUSION_TYPE}={value}".strip()


def reuse_freed_memory() -> None:
    """Makes glibc keep freed memory for the next step instead of returning it; does nothing where there is no glibc.

    XLA:CPU allocates a step's temporaries anew each time (1 GB for a ResNet-56 at batch 128), as pages that the kernel
    must clear and map: a fifth of the step's processor time. The price is that the process keeps its largest footprint.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in ((-4, 0), (-8, 1), (-1, -1)):  # M_MMAP_MAX, M_ARENA_MAX, M_TRIM_THRESHOLD
        mallopt(parameter, value)


def _known(name: str, value: str) -> bool:
    """Whether the jaxlib that would be imported holds the flag's name, and its value's words, among its strings."""
    spec = importlib.util.find_spec("jaxlib")
    libraries = list(pathlib.Path(spec.origin).parent.glob("*jax_common*")) if spec and spec.origin else []
    if not libraries:
        return False
    with open(libraries[0], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # A registered flag is a C string, between NUL bytes; a retired one could still be named in a protocol buffer.
        words = [f"\0{name}\0", *(value.split(",") if value.isupper() else [])]
        return all(content.find(word.encode()) >= 0 for word in words)
