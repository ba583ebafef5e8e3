"""The paper's "AlexNet" recipe on Fashion-MNIST, which the paper does not use: are the results the same elsewhere?

    python -m ls_jax.main --config=configs/fashion_mnist_alexnet.py --workdir=runs/fashion --config.data.dir=TFDS_DIR

It differs from configs/cifar10_alexnet.py in the data, and reports the official test set, since the paper has no number
to compare with. `:short` is 2 epochs and 3 seeds, about half an hour on two busy CPU cores: test accuracy 83.29 ±
1.00 % with α = 0 and 83.50 ± 0.23 % with α = 0.1. `:smoke` takes seconds.
"""
from ls_jax import config as configs


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke", "short"))
    config = configs.default()
    config.data.name = "fashion_mnist"
    config.data.augment = "tutorial_crop_flip"
    config.data.normalize = "standardize"
    config.model = dict(name="alexnet")
    config.batch_size = 128
    config.steps = 390_000
    config.loss.multiplier = 3.0
    config.sweep.learning_rate = (0.1,)
    config.optimizer.momentum = 0.0
    config.optimizer.schedule = "step"
    config.optimizer.boundaries = (1 / 3, 2 / 3)
    config.sweep.weight_decay = (0.004,)             # the tutorial's
    config.optimizer.decay_layers = ("dense1", "dense2")
    config.evaluate.every = config.checkpoint.every = 5_000
    config.checkpoint.keep_every = 30_000           # to study the dynamics
    if variant == "short":
        config.steps = configs.epochs(2, examples=60_000, batch_size=config.batch_size)
        config.sweep.seed = (0, 1, 2)
        config.evaluate.every = config.checkpoint.every = config.checkpoint.keep_every = 235
    if variant == "smoke":
        configs.smoke(config)
    return config
