"""Label smoothing against its rivals on 1,797 handwritten digits: would another term calibrate, rank and tighten as
well?

    python -m ls_jax.main --config=configs/rivals_digits.py --workdir=runs/rivals_digits

Every rival over a small grid of strengths, label smoothing included, with 5 seeds: one program trains all. The
network is that of digits_mlp.py; 297 training examples are held out as the split "validation". It took 22 minutes on
two busy CPU cores (results/rivals_digits). `:smoke` takes seconds.
"""
import pathlib

from ls_jax import config as configs

MARGINS = (2, 6)  # of logits; the sources have 6 and 10 for larger networks, whose logits spread farther
ARMS = {
    "plain": {},
    **{f"smoothing {percent} %": {"alpha": percent / 100} for percent in (5, 10, 20)},
    **{f"MaxSup {percent} %": {"max_suppression": percent / 100} for percent in (5, 10, 20)},
    "MaxSup 10 to 20 %": {"max_suppression": 0.1, "max_suppression_end": 0.2},
    **{f"confidence penalty {percent} %": {"confidence_penalty": percent / 100} for percent in (3, 10, 30)},
    **{f"focal {gamma}": {"focal": float(gamma)} for gamma in (1, 3)},
    "focal 3, 5": {"focal": 3.0, "focal_low": 5.0},  # FLSD-53
    **{f"margin {margin}": {"margin_penalty": 0.1, "margin": float(margin)} for margin in MARGINS},
    **{f"ACLS {margin}": {"acls": 0.1, "acls_margin": float(margin)} for margin in MARGINS},
    **{f"logit penalty {weight}": {"logit_penalty": float(weight)} for weight in ("2e-3", "2e-2")},
    **{f"Poly-1 {weight}": {"poly1": float(weight)} for weight in (1, 2)},
}


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke",))
    config = configs.load(pathlib.Path(__file__).with_name("digits_mlp.py"), variant)
    config.data.holdout = 100 if variant == "smoke" else 297
    config.sweep.arms = ARMS
    config.sweep.baseline = "plain"
    return config
