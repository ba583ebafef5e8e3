"""`python -m ls_jax --config=configs/NAME.py --workdir=DIR`: the command `ls_jax`, and `python -m ls_jax.main`; --helpfull tells all."""
from ls_jax import signals


def start() -> None:
    """The command `ls_jax`: signals first, before what takes long to import."""
    signals.install()
    from ls_jax import main
    main.start()


if __name__ == "__main__":
    start()
