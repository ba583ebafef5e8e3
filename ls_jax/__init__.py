"""When does label smoothing help? Sweeps over smoothing and seeds, trained as one program, then studied.

    python -m ls_jax.main --config=configs/digits_mlp.py --workdir=runs/digits
"""
from ls_jax.version import __version__

__all__ = ["__version__"]
