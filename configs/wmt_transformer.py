"""The paper's Transformer (App. A.3; Table 3, Figures 3, 4, 7): tensor2tensor's `transformer_base`, English to German.

    python -m ls_jax.main --config=configs/wmt_transformer.py --workdir=runs/wmt --config.data.dir=TFDS_DIR

α = 0.1 is `transformer_base` and α = 0 is `transformer_ls0`. Smoothing follows tensor2tensor's convention, α/(K-1) on
the wrong pieces. The paper's ECE is 0.056 unsmoothed, 0.018 with temperature 1.13 and 0.019 with α = 0.1. The data are
WMT 2014, which TFDS prepares; the validation split is newstest2013. We have not run its 300k steps. A step of one
member takes 24 s of a core of an AMD EPYC and 8 GiB (on Multi30k's text, with a vocabulary of 32,000);
results/topologies.md says what it needs on a TPU v5e:4x4. `:smoke` takes seconds.
"""
from ls_jax import config as configs


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke",))
    config = configs.default()
    config.data.name = "wmt14_translate/de-en"
    config.data.vocabulary = 32_000
    config.data.row_length = 256                     # tensor2tensor's max_length
    config.evaluate.split = "validation"
    config.model = dict(name="transformer", layers=6, width=512, feed_forward=2048, heads=8, dropout=0.1,
                        attention_dropout=0.1, relu_dropout=0.1)
    config.batch_size = 4096                         # tokens of the target, padding included
    config.steps = 300_000
    config.sweep.seed = (0,)
    config.sweep.learning_rate = (2.0,)
    config.loss.convention = "off_target"
    config.optimizer.momentum_form = "adam"
    config.optimizer.schedule = "rsqrt"
    config.optimizer.warmup = 8000 / 300_000
    config.evaluate.batch_size = 4096
    config.evaluate.every = config.checkpoint.every = 10_000
    config.dtype = "bfloat16"
    if variant == "smoke":
        config.model.update(layers=1, width=16, feed_forward=32, heads=2)
        configs.smoke(config)
        config.data.update(vocabulary=600, row_length=64)
        config.batch_size = 4 * 64
        config.evaluate.tokens = 512
        config.translation.update(temperatures=(0.5, 1.0), decoded=(0.5, 1.0), beams=(2, 1), extra=4, sentences=4)
    return config
