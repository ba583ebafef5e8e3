"""Sets a process up as a run's: flags under which XLA:CPU computes right, memory that is kept, programs that are compiled once."""
import ctypes

from ls_jax import cache
from ls_jax.devices import cpu


def setup(network: str | None = None) -> None:
    """Set this process up as a run does; call it before JAX's first array.

    XLA_FLAGS gets the fastest value under which XLA:CPU computes right, which takes a few seconds the first time on a machine. JAX's
    compilation cache is set unless it is set already. Flags of the user stay; a RuntimeWarning says where flags compute wrong and
    cannot be changed.

    Args:
        network: `config.model.name` of what is trained, whose speed decides among the right flags; None: any.
    """
    cpu.choose_flags(network)
    reuse_freed_memory()
    import jax  # only now: it reads the flags when it starts
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache.directory() / "compiled"))


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
