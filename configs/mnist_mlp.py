"""The paper's MNIST teacher (App. A.5): 784-1200-1200-10, shifts of up to 2 pixels, with and without smoothing.

    python -m ls_jax.main --config=configs/mnist_mlp.py --workdir=runs/mnist --config.data.dir=TFDS_DIR

The paper's test error with α = 0.1 instead of dropout is 0.59 %. A replication has 0.69 %, and 0.81 % without
smoothing but with dropout. Full length is 100 epochs; with 5 seeds it took 3.9 minutes on an H200 that other runs
shared: test accuracy 99.27 ± 0.05 % with α = 0 and 99.36 ± 0.03 % with α = 0.1 (results/mnist_mlp). `:short` is 20
epochs and 3 seeds, half an hour on two busy CPU cores: test accuracy 99.16 ± 0.04 % with α = 0 and 99.18 ± 0.07 %
with α = 0.1. `:smoke` takes seconds.
"""
from ls_jax import config as configs


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke", "short"))
    config = configs.default()
    config.data.name = "mnist"
    config.data.augment = "shift"                    # 25 equiprobable centrings
    config.data.normalize = "unit"                   # not stated; as the replication
    # "variance 0.03" in the paper is 12 to 18 times He's; the replication read standard deviation 0.03, and so do we.
    config.model = dict(name="mlp", hidden=(1200, 1200), dropout=0.0, init_std=0.03)
    config.batch_size = 128                          # not stated (the replication: 512)
    config.steps = configs.epochs(100, examples=60_000, batch_size=config.batch_size)
    config.sweep.learning_rate = (1.0,)
    config.optimizer.layer_rates.head = 0.1          # "the last layer with a learning rate of 0.1"
    config.optimizer.schedule = "linear"             # "dropped linearly to 0 after 100 epochs"
    config.optimizer.momentum_form = "averaged"      # "gradient smoothing": 0.9 x previous + 0.1 x current
    config.evaluate.every = config.checkpoint.every = config.checkpoint.keep_every = 4690  # for the dynamics
    if variant == "short":
        config.steps = configs.epochs(20, examples=60_000, batch_size=config.batch_size)
        config.sweep.seed = (0, 1, 2)
        config.evaluate.every = config.checkpoint.every = config.checkpoint.keep_every = 938
    if variant == "smoke":
        configs.smoke(config)
    return config
