"""Distillation on CIFAR-10, ResNet-56 to "AlexNet" (the paper's Figure 5): teachers over α, students over T and α.

    python -m ls_jax.main --config=configs/cifar10_distill.py --workdir=runs/cifar10_distill --config.data.dir=TFDS_DIR

There are 5 seeds of each student: the baseline without a teacher, over α; students of the unsmoothed teacher at T = 1
... 16; students of each smoothed teacher at T = 1. β = 1, and the student's temperature is 1. `:grid` adds what the
paper does not have: every smoothed teacher at every T, and a control in which all wrong classes are equally likely. The
recipes are those of configs/cifar10_resnet56.py and configs/cifar10_alexnet.py, but both networks see the ResNet's
32 × 32 crops: the paper does not state the AlexNet's input in Figure 5.

`:fast` has the network of configs/cifar10_fast.py as its teacher. Its students see pictures without augmentation, so
the teachers' logits are computed once and a GPU trains all students as one program (`--config.members=vmap`). It has T
up to 8, smoothed teachers also at T = 2, and the control. Not yet run to its end: on an H200 that other runs shared it
needs more than ten minutes. `:short` is for two CPU cores, about five hours (estimated, not yet run): 24 × 24 crops (as
the replication), He et al.'s widths with one block a group, 6 epochs, 3 seeds, fewer α and T, and the grid. `:smoke`
takes seconds.
"""
import pathlib

from ls_jax import config as configs

ALPHAS = (0.0, 0.15, 0.30, 0.45, 0.60, 0.75)
TEMPERATURES = (1.0, 2.0, 3.0, 4.0, 8.0, 12.0, 16.0)


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke", "short", "grid", "fast"))
    if variant == "fast":
        return _fast()
    recipe = variant if variant in ("smoke", "short") else ""
    alphas, temperatures = {"": (ALPHAS, TEMPERATURES), "short": ((0.0, 0.3, 0.6), (1.0, 2.0, 4.0, 8.0)),
                            "smoke": ((0.0, 0.3), (1.0, 4.0))}[recipe]
    teacher, config = (configs.load(pathlib.Path(__file__).with_name(f"cifar10_{name}.py"), recipe)
                       for name in ("resnet56", "alexnet"))
    config.data.augment = teacher.data.augment       # crop_flip, 32 x 32: the teacher sees what the student sees
    if variant == "short":
        config.data.augment = teacher.data.augment = "tutorial_crop_flip"
        teacher.steps = config.steps
    configs.follow(config, teacher)
    teacher.sweep.alpha = alphas
    teacher.evaluate.train_examples = 200 if variant == "smoke" else 40_000  # γ is an expectation over the training set
    teacher.checkpoint.keep_every = None
    config.evaluate.train_examples = min(1_000, config.evaluate.train_examples)
    config.sweep.alpha = (0.0,)
    config.distill = configs.distillation(
        teachers=dict(resnet=teacher),
        students=dict(
            baseline=dict(alpha=alphas),
            scaled=dict(teacher="resnet", temperature=temperatures),
            smoothed=dict(teacher="resnet", teacher_alpha=alphas[1:]),
        ))
    if variant in ("grid", "short"):
        del config.distill.students.smoothed
        config.distill.students.grid = dict(teacher="resnet", teacher_alpha=alphas[1:], temperature=temperatures)
        config.distill.students.control = dict(teacher="resnet", temperature=temperatures, control=(True,))
    return config


def _fast():
    teacher, config = (configs.load(pathlib.Path(__file__).with_name(f"cifar10_{name}.py"), variant)
                       for name, variant in (("fast", ""), ("alexnet", "short")))
    configs.follow(config, teacher)
    alphas, temperatures = (0.0, 0.1, 0.3, 0.6), (1.0, 2.0, 4.0, 8.0)
    teacher.sweep.alpha = alphas
    teacher.evaluate.train_examples = 40_000         # γ is an expectation over the training set
    config.data.augment = "none"
    config.steps = configs.epochs(20, examples=40_000, batch_size=config.batch_size)
    config.evaluate.every = config.checkpoint.every = config.steps // 20
    config.checkpoint.keep_every = None
    config.evaluate.train_examples = 1_000
    config.sweep.alpha = (0.0,)
    config.distill = configs.distillation(
        teachers=dict(fastnet=teacher),
        students=dict(
            baseline=dict(alpha=alphas),
            scaled=dict(teacher="fastnet", temperature=temperatures),
            smoothed=dict(teacher="fastnet", teacher_alpha=alphas[1:], temperature=(1.0, 2.0)),
            control=dict(teacher="fastnet", temperature=temperatures, control=(True,)),
        ))
    return config
