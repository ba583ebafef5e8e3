"""Distillation on the embedded digits: Figure 5's curves and the α × T grid at small scale, in minutes on a laptop.

    python -m ls_jax.main --config=configs/digits_distill.py --workdir=runs/digits_distill

The teachers have 2 × 128 units and three values of α, the students 16 units. The images are not augmented, so the
teachers' logits are computed once. `:smoke` takes seconds.
"""
import pathlib

from ls_jax import config as configs


def get_config(variant: str = ""):
    teacher = configs.load(pathlib.Path(__file__).with_name("digits_mlp.py"), variant)
    teacher.sweep.alpha = (0.0, 0.3, 0.6)
    config = configs.load(pathlib.Path(__file__).with_name("digits_mlp.py"), variant)
    configs.follow(config, teacher)
    config.model.hidden = (16,)
    config.sweep.alpha = (0.0,)
    config.distill = configs.distillation(
        teachers=dict(mlp=teacher),
        students=dict(
            baseline=dict(alpha=(0.0, 0.3, 0.6)),
            distilled=dict(teacher="mlp", teacher_alpha=(0.0, 0.3, 0.6), temperature=(1.0, 2.0, 4.0, 8.0)),
            control=dict(teacher="mlp", temperature=(4.0,), control=(True,)),
        ))
    if variant == "smoke":
        config.distill.students.distilled.update(teacher_alpha=(0.0, 0.3), temperature=(1.0, 4.0))
    return config
