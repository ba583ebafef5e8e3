"""Distillation from wrong labels (Lukasik et al. 2020): does smoothing the teacher help if 40 % of labels are wrong?

    python -m ls_jax.main --config=configs/mnist_noise_distill.py --workdir=runs/mnist_noise_distill \\
        --config.data.dir=TFDS_DIR

The teachers are those of configs/mnist_noise.py, the students the paper's 2 × 800 units. Both learn from the same wrong
labels; the test labels are right. There are students for each T, and students without a teacher for each α. `:short` is
40 epochs of 10,000 examples and 3 seeds; with 5 seeds it took 3.9 minutes on an H200 that other runs shared
(results/mnist_noise_distill). `:smoke` takes seconds.
"""
import pathlib

from ls_jax import config as configs


def get_config(variant: str = ""):
    teacher, config = (configs.load(pathlib.Path(__file__).with_name("mnist_noise.py"), variant) for _ in range(2))
    configs.follow(config, teacher)
    alphas = teacher.sweep.alpha = (0.0, 0.1) if variant == "smoke" else (0.0, 0.1, 0.4)
    teacher.evaluate.train_examples = 200 if variant == "smoke" else 10_000
    config.transfer.data = teacher.transfer.data = ()
    config.model.hidden = (800, 800)
    config.sweep.alpha = (0.0,)
    config.distill = configs.distillation(
        teachers=dict(mlp=teacher),
        students=dict(
            baseline=dict(alpha=alphas),
            distilled=dict(teacher="mlp", teacher_alpha=alphas, temperature=(1.0, 4.0)),
        ))
    return config
