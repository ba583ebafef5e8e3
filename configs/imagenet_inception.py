"""The paper's Inception-v4 on ImageNet (App. A.4): global batch 4,096, α in {0, 0.1}, on a TPU pod.

    python -m ls_jax.main --config=configs/imagenet_inception.py --workdir=runs/imagenet --config.data.dir=TFDS_DIR

The paper reports 80.9 % top-1 for both, ECE 0.071 unsmoothed and 0.035 with α = 0.1. We have not trained it, since we
had no ImageNet. One step at full size, on 8 of 64 photographs, took three minutes on a core of an AMD EPYC, with
compilation and evaluation. `--mode=compile --topology=v5e:16x16` prints what a step needs on a pod;
results/topologies.md has five of them. `:timm` is timm's version of the network, for `python -m
ls_jax.modes.import_timm` and `--mode=study`. `:smoke` takes seconds.
"""
from ls_jax import config as configs

EXAMPLES, EPOCHS = 1_281_167, 200                    # the length is not stated


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke", "timm"))
    config = configs.default()
    config.data.name = "imagenet2012"
    config.data.image_size = 299                     # not stated; TF-slim's
    config.data.augment = "inception"                # not stated; TF-slim's mirror and colours, behind its crop:
    config.data.crop.update(area=(0.05, 1.0), aspect=(0.75, 1.33), central=0.875)
    config.data.normalize = "symmetric"
    config.evaluate.split = "validation"
    config.evaluate.batch_size = 2_048
    # Dropout and auxiliary classifier are TF-slim's defaults; the paper states only that batch norm's scale is on.
    config.model = dict(name="inception_v4", dropout=0.2, auxiliary=True, norm_momentum=0.9997)
    config.dtype = "bfloat16"
    config.batch_norm = "synchronized"               # not stated
    config.batch_size = 4_096
    config.steps = configs.epochs(EPOCHS, examples=EXAMPLES, batch_size=config.batch_size)
    config.sweep.update(alpha=(0.0, 0.1), seed=(0,), weight_decay=(8e-5,))
    # Not stated. As in a transfer paper of one of the authors: 1.6 after 10 epochs of warm-up, then x 0.975 an epoch.
    config.sweep.learning_rate = (1.6,)
    config.optimizer.update(schedule="exponential", warmup=10 / EPOCHS, factor=0.975, factor_every=1 / EPOCHS)
    config.optimizer.update(momentum=0.9, momentum_form="nesterov", ema=0.9999)
    config.micro_batches = 1                         # more where a device cannot hold its share of the batch
    config.evaluate.every = config.checkpoint.every = 1_250  # about 4 epochs
    if variant == "timm":
        config.model.update(auxiliary=False)
        config.sweep.alpha = (0.0,)
        config.optimizer.ema = 0.0
        config.dtype = "float32"
        config.evaluate.batch_size = 50              # of a single machine
    if variant == "smoke":
        configs.smoke(config)
        config.data.update(image_size=75, train_examples=None)
        config.model.update(blocks=(0, 0, 0), width=0.06, norm_momentum=0.5, auxiliary=False)
        config.sweep.learning_rate = (0.05,)
        config.evaluate.batch_size = 8
    return config
