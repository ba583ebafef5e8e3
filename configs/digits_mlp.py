"""Label smoothing against none on 1,797 real handwritten digits, in under a minute on a laptop.

    python -m ls_jax.main --config=configs/digits_mlp.py --workdir=runs/digits

The network is a small relative of the paper's MNIST network: two hidden layers, 5 seeds, α = 0 and 0.1. `:smoke` takes
seconds.
"""
from ls_jax import config as configs


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke",))
    config = configs.default()
    config.steps = 1000
    config.batch_size = 64
    config.model = dict(name="mlp", hidden=(128, 128), init_std=None)
    config.optimizer.schedule = "linear"
    config.evaluate.every = 100
    if variant == "smoke":
        configs.smoke(config)
    return config
