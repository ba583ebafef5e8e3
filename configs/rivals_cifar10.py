"""Label smoothing against its rivals on CIFAR-10, on a convolutional network that trains fast.

    python -m ls_jax.main --config=configs/rivals_cifar10.py --workdir=runs/rivals_cifar10 --config.data.dir=TFDS_DIR

The network and the recipe are those of cifar10_fast.py, and so are the variants `:short`, `:small_data` and `:smoke`.
Two strengths of each rival, with 3 seeds. 10,000 training examples are the split "validation". The full config took 8.4
minutes on an H200 that other runs shared (`--config.members=map`): 88.33 ± 0.36 % on the test set for plain
cross-entropy, no loss known to be better (results/rivals_cifar10).
"""
import pathlib

from ls_jax import config as configs

ARMS = {
    "plain": {},
    **{f"smoothing {percent} %": {"alpha": percent / 100} for percent in (10, 20)},
    "MaxSup 10 %": {"max_suppression": 0.1},
    "MaxSup 10 to 20 %": {"max_suppression": 0.1, "max_suppression_end": 0.2},
    **{f"confidence penalty {percent} %": {"confidence_penalty": percent / 100} for percent in (10, 30)},
    "focal 3": {"focal": 3.0},
    "focal 3, 5": {"focal": 3.0, "focal_low": 5.0},  # FLSD-53
    **{f"margin {margin}": {"margin_penalty": 0.1, "margin": float(margin)} for margin in (6, 10)},
    **{f"ACLS {margin}": {"acls": 0.1, "acls_margin": float(margin)} for margin in (6, 10)},
    **{f"logit penalty {weight}": {"logit_penalty": float(weight)} for weight in ("2e-3", "2e-2")},
    **{f"Poly-1 {weight}": {"poly1": float(weight)} for weight in (1, 2)},
}


def get_config(variant: str = ""):
    config = configs.load(pathlib.Path(__file__).with_name("cifar10_fast.py"), variant)
    config.sweep.update(arms=ARMS, baseline="plain")
    if variant != "smoke":
        config.sweep.seed = (0, 1, 2)
    return config
