"""The paper's ResNet-56 on CIFAR-10 (App. A.2; the teacher of Figure 5, the network of Figure 6): 64k steps.

    python -m ls_jax.main --config=configs/cifar10_resnet56.py --workdir=runs/cifar10_resnet56 \\
        --config.data.dir=TFDS_DIR

The paper prints no numbers for it, only Figure 5. A replication has 93.6 % on the test set with and without smoothing.
`:short` is two epochs with 2 seeds, He et al.'s widths and one block a group, 12 minutes on two busy CPU cores. On
images recompressed as JPEG its validation accuracy was 55.8 ± 0.8 % with α = 0 and 56.4 ± 0.4 % with α = 0.1.
`:resnet20` is 30 epochs with 3 seeds, He et al.'s widths and three blocks a group. 20 epochs of it took 6.8 minutes on
an H200 that other runs shared (`--config.members=map --config.steps=6250`): 81.41 ± 0.21 % on the test set with α = 0,
81.41 ± 0.30 % with 0.1 (results/cifar10_resnet20). `:smoke` takes seconds.
"""
from ls_jax import config as configs


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke", "short", "resnet20"))
    config = configs.default()
    config.data.name = "cifar10"
    config.data.holdout = 10_000
    config.evaluate.split = "validation"
    config.data.augment = "crop_flip"
    config.data.normalize = "standardize"
    # Widths are not stated: tensor2tensor's 32/64/128, twice He et al.'s (style="he", widths=(16, 32, 64)).
    config.model = dict(name="resnet", style="tensor2tensor", blocks=9, widths=(32, 64, 128), stem=16)
    config.batch_size = 128
    config.steps = 64_000
    config.loss.multiplier = 3.0                     # tensor2tensor's loss_multiplier for small images
    config.sweep.learning_rate = (0.1,)
    config.optimizer.momentum_form = "nesterov"
    config.optimizer.schedule = "step"
    config.optimizer.boundaries = (0.5, 0.75)        # 32k and 48k of 64k
    config.optimizer.clip = 1.0
    config.sweep.weight_decay = (1e-4,)
    config.optimizer.decay_norm = True               # tensor2tensor decays batch norm's scale and bias
    config.evaluate.every = config.checkpoint.every = 2_000
    config.checkpoint.keep_every = 4_000             # Figure 6 shows the dynamics every 4k steps
    if variant == "short":
        config.model.update(style="he", blocks=1, widths=(16, 32, 64))
        config.steps = configs.epochs(2, examples=40_000, batch_size=config.batch_size)
        config.sweep.seed = (0, 1)
        config.evaluate.every = config.checkpoint.every = config.checkpoint.keep_every = 313
    if variant == "resnet20":
        config.model.update(style="he", blocks=3, widths=(16, 32, 64))
        config.steps = configs.epochs(30, examples=40_000, batch_size=config.batch_size)
        config.sweep.seed = (0, 1, 2)
        every = configs.epochs(3, examples=40_000, batch_size=config.batch_size)
        config.evaluate.every = config.checkpoint.every = every
        config.checkpoint.keep_every = None
    if variant == "smoke":
        config.model.update(blocks=1, widths=(8, 8, 16), stem=8)
        configs.smoke(config)
    return config
