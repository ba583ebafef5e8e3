"""The α × T grid on Fashion-MNIST with fully-connected networks: the paper's α and T on two CPU cores.

    python -m ls_jax.main --config=configs/fashion_mnist_distill.py --workdir=runs/fashion_distill \\
        --config.data.dir=TFDS_DIR

The teachers are the paper's MNIST network (2 × 1200 units), the students a small one (2 × 100 units). Neither is
augmented, so the teachers' logits are computed once; with shifts of up to 2 pixels and so few epochs the teachers are
no better than their students. It has every unsmoothed and smoothed teacher at every T, the control without dark
knowledge, and the baseline, with 20 epochs and 5 seeds. With 3 seeds, and teachers in bfloat16, it took 124 minutes on
two shared cores of an AMD EPYC (results/fashion_mnist_distill). `:short` is 5 epochs and 3 seeds, some 25 minutes.
`:smoke` takes seconds.
"""
import pathlib

from ls_jax import config as configs

ALPHAS = (0.0, 0.15, 0.30, 0.45, 0.60, 0.75)
TEMPERATURES = (1.0, 2.0, 3.0, 4.0, 8.0, 12.0, 16.0)


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke", "short"))
    teacher = configs.load(pathlib.Path(__file__).with_name("mnist_mlp.py"), variant)
    teacher.data.name = "fashion_mnist"
    teacher.data.augment = "none"
    alphas, temperatures = ((0.0, 0.6), (1.0, 4.0)) if variant == "smoke" else (ALPHAS, TEMPERATURES)
    teacher.sweep.alpha = alphas
    epochs = 5 if variant == "short" else 20
    if variant != "smoke":
        teacher.steps = configs.epochs(epochs, examples=60_000, batch_size=teacher.batch_size)
        teacher.evaluate.every = teacher.checkpoint.every = 469 * epochs // 5
        teacher.checkpoint.keep_every = None
        teacher.evaluate.train_examples = 1_000
    config = teacher.copy_and_resolve_references()
    configs.follow(config, teacher)
    config.model.hidden = (100, 100)
    config.model.init_std = None                     # He's: 0.03 is meant for 1200 units
    config.sweep.learning_rate = (0.3,)
    config.sweep.alpha = (0.0,)
    config.evaluate.train_examples = min(1_000, config.evaluate.train_examples)
    config.distill = configs.distillation(
        teachers=dict(mlp=teacher),
        students=dict(
            baseline=dict(alpha=alphas),
            distilled=dict(teacher="mlp", teacher_alpha=alphas, temperature=temperatures),
            control=dict(teacher="mlp", temperature=temperatures, control=(True,)),
        ))
    return config
