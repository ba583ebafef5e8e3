"""Label smoothing against its rivals on Fashion-MNIST, on a network that is over-confident without them.

    python -m ls_jax.main --config=configs/rivals_fashion.py --workdir=runs/rivals_fashion --config.data.dir=TFDS_DIR

The network and the recipe are those of fashion_mnist_mlp.py:short, 40 epochs of 10,000 examples; the arms are those of
rivals_digits.py, with margins for its larger logits, and 5 seeds. 5,000 further training examples are the split
"validation". Its 110 networks took 5 minutes on an H200 that other runs shared (results/rivals_fashion). `:smoke` takes
seconds.
"""
import pathlib

from ls_jax import config as configs

MARGINS = (6, 10)


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke",))
    here = pathlib.Path(__file__)
    config = configs.load(here.with_name("fashion_mnist_mlp.py"), variant or "short")
    arms = configs.load(here.with_name("rivals_digits.py")).sweep.arms
    arms = {name: own for name, own in arms.items() if not {"margin", "acls_margin"} & own.keys()}
    arms |= {f"margin {margin}": {"margin_penalty": 0.1, "margin": float(margin)} for margin in MARGINS}
    arms |= {f"ACLS {margin}": {"acls": 0.1, "acls_margin": float(margin)} for margin in MARGINS}
    config.sweep.update(arms=arms, baseline="plain")
    if variant != "smoke":
        config.sweep.seed = (0, 1, 2, 3, 4)
    return config
