"""When does label smoothing help? Sweeps over smoothing and seeds, trained as one program, then studied.

    python -m ls_jax.main --config=configs/digits_mlp.py --workdir=runs/digits

In a notebook or a program of your own call `ls_jax.setup()` first.
"""
from ls_jax.devices import cpu
from ls_jax.devices.setup import setup
from ls_jax.version import __version__

cpu.be_safe()  # before anything computes: by default some versions of XLA:CPU return garbage

__all__ = ["__version__", "setup"]
