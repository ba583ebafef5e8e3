"""The command `ls_jax`, also `python -m ls_jax --config=configs/NAME.py --workdir=DIR`; --helpfull lists all flags."""
from ls_jax import signals


def start() -> None:
    """Run the command `ls_jax`. Signals are handled first, before the slow imports."""
    signals.install()
    from ls_jax import main
    main.start()


if __name__ == "__main__":
    start()
