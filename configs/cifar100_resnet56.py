"""The paper's ResNet-56 on CIFAR-100 (App. A.2; Table 2, Table 3, Figure 1 row 2, Figure 2): 64k steps.

    python -m ls_jax.main --config=configs/cifar100_resnet56.py --workdir=runs/cifar100 --config.data.dir=TFDS_DIR

The paper: 72.1 ± 0.3 % unsmoothed and 72.7 ± 0.3 % with α = 0.1, on 10,000 examples held out of the training set. The
calibration in Table 3 uses α = 0.05. The recipe is that of configs/cifar10_resnet56.py.
"""
import pathlib

from ls_jax import config as configs


def get_config(variant: str = ""):
    config = configs.load(pathlib.Path(__file__).with_name("cifar10_resnet56.py"), variant)
    config.data.name = "cifar100"
    if not variant:
        config.sweep.alpha = (0.0, 0.05, 0.1)
    return config
