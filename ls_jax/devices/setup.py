"""Set-up of a process: flags under which XLA:CPU computes right, reuse of memory, and the compilation cache."""
import ctypes

from ls_jax import cache
from ls_jax.devices import cpu


def set_up_process(cpu_fusion: str | None = None) -> None:
    """Set this process up as a run does; call it before JAX's first array.

    XLA_FLAGS gets the fastest value under which XLA:CPU computes right. The first test on a machine takes a few
    seconds. Flags that the user has set stay, and a RuntimeWarning says if XLA computes wrong under them. JAX's
    compilation cache is switched on unless the user has set its directory.

    Args:
        cpu_fusion: the value of XLA:CPU's fusion flag under which the network is fastest; None: XLA's default.
    """
    cpu.choose_flags(cpu_fusion)
    reuse_freed_memory()

    import jax  # only now, since JAX reads the flags when it starts

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache.directory() / "compiled"))


def reuse_freed_memory() -> None:
    """Make glibc keep freed memory for the next step instead of returning it. Without glibc, nothing happens.

    XLA:CPU allocates a step's temporaries anew each time (1 GB for a ResNet-56 at batch 128). The kernel must clear and
    map their pages, which takes a fifth of the step's processor time. The price is that the process keeps its largest
    footprint.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in ((-4, 0), (-8, 1), (-1, -1)):  # M_MMAP_MAX, M_ARENA_MAX, M_TRIM_THRESHOLD
        mallopt(parameter, value)
