"""The paper's CIFAR-10 "AlexNet" (App. A.1, Table 2, Figure 1 row 1): TensorFlow's tutorial network, 390k steps.

    python -m ls_jax.main --config=configs/cifar10_alexnet.py --workdir=runs/cifar10_alexnet --config.data.dir=TFDS_DIR

The paper: 86.8 ± 0.2 % without and 86.7 ± 0.3 % with smoothing of 0.1, on 10,000 examples held out of the training set.
`:short` is 6 epochs and 3 seeds: on pictures recompressed as JPEG, 61.99 ± 0.51 % at α = 0 and 63.25 ± 0.70 % at 0.1, in half an
hour on two busy CPU cores. `:smoke` takes seconds.
"""
from ls_jax import config as configs


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke", "short"))
    config = configs.default()
    config.data.name = "cifar10"
    config.data.holdout = 10_000                     # the paper reports on this split
    config.evaluate.split = "validation"
    # Input size and augmentation are not stated. These are the replication's: the tutorial's crop and flip, without its
    # brightness and contrast ("tutorial" has those too).
    config.data.augment = "tutorial_crop_flip"
    config.data.normalize = "standardize"
    config.model = dict(name="alexnet")
    config.batch_size = 128
    config.steps = 390_000
    config.loss.multiplier = 3.0
    config.sweep.learning_rate = (0.1,)
    config.optimizer.momentum = 0.0                  # plain gradient descent
    config.optimizer.schedule = "step"
    config.optimizer.boundaries = (1 / 3, 2 / 3)     # every 130k of 390k steps
    # The paper says 0.04 on "the last two dense layers", ten times the tutorial's 0.004 on the two hidden ones.
    config.sweep.weight_decay = (0.04,)
    config.optimizer.decay_layers = ("dense1", "dense2")
    config.evaluate.every = config.checkpoint.every = 5_000
    config.checkpoint.keep_every = 30_000           # the training's course is studied
    if variant == "short":
        config.steps = configs.epochs(6, examples=40_000, batch_size=config.batch_size)
        config.sweep.seed = (0, 1, 2)
        config.sweep.weight_decay = (0.004,)         # the tutorial's: 0.04 underfits in so few steps
        config.evaluate.every = config.checkpoint.every = config.checkpoint.keep_every = 313
    if variant == "smoke":
        configs.smoke(config)
    return config
