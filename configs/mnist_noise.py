"""Smoothing against wrong labels (Lukasik et al. 2020): the paper's MNIST network, 40 % of the training labels wrong.

    python -m ls_jax.main --config=configs/mnist_noise.py --workdir=runs/mnist_noise_40 --config.data.dir=TFDS_DIR

For a grid of rate × α run it at several rates, each in its own workdir, and write one report about all:

    python -m ls_jax.main --config=configs/mnist_noise.py --workdir=runs/mnist_noise_20 --config.data.label_noise=0.2
    python -m ls_jax.main --mode=report --workdir=runs/mnist_noise_20,runs/mnist_noise_40

The test labels are right. Training accuracy counts agreement with the wrong labels. Probes on Fashion-MNIST measure the
transfer of the features. It has not been run to its end. `:short` is 40 epochs of 10,000 examples and 3 seeds, `:smoke`
takes seconds.
"""
import pathlib

from ls_jax import config as configs


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke", "short"))
    config = configs.load(pathlib.Path(__file__).with_name("mnist_mlp.py"), variant)
    config.data.label_noise = 0.4
    config.data.augment = "none"                     # without shifts the network can learn wrong labels by heart
    config.sweep.alpha = (0.0, 0.1, 0.2, 0.4)
    config.transfer.data = ("fashion_mnist",)
    if variant == "short":                           # few examples, often: what it takes to learn wrong labels by heart
        config.data.train_examples = 10_000
        config.steps = configs.epochs(40, examples=10_000, batch_size=config.batch_size)
        config.evaluate.every = config.checkpoint.every = config.checkpoint.keep_every = 626
    if variant == "smoke":
        config.sweep.alpha = (0.0, 0.1)
    return config
