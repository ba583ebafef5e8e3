"""`python -m ls_jax --config=configs/NAME.py --workdir=DIR`: the command `ls_jax`, and `python -m ls_jax.main`; --helpfull tells all."""
from ls_jax import signals

if __name__ == "__main__":
    signals.install()  # before what takes long to import
    from ls_jax.main import start
    start()
