"""A Transformer on Multi30k, English to German: the paper's Figures 3, 4, 7 and Table 3 at a size for a laptop.

    python -m ls_jax.main --config=configs/multi30k_transformer.py --workdir=runs/multi30k --config.data.dir=DIR

DIR/multi30k holds train, val, test2016 and test2017, each as .en and .de: 29,000 training pairs of about 15 English
words. The network is a replication's, 3 + 3 layers of width 256. It predicts the next piece of the vocabulary from the
source and the pieces before. Full length is 60 epochs at 4096 tokens a step; it has not been run to its end. `:short`
is 8 epochs at 1024 tokens a step, with less dropout and a learning rate that falls linearly to zero: 0.4 s a step on
one core of an AMD EPYC with --config.dtype=bfloat16 (0.7 s in float32), so 25 minutes a member. Its BLEU on test 2016
is 37.2 unsmoothed and 37.6 smoothed (results/multi30k_transformer). `:smoke` takes seconds.
"""
from ls_jax import config as configs


def get_config(variant: str = ""):
    configs.check_variant(variant, ("smoke", "short"))
    config = configs.default()
    config.data.name = "text:multi30k"
    config.data.vocabulary = 8000
    config.data.row_length = 64                      # the longest training sentence has 55 tokens
    config.evaluate.split = "validation"
    config.model = dict(name="transformer", layers=3, width=256, feed_forward=1024, heads=4, dropout=0.3,
                        attention_dropout=0.1, relu_dropout=0.1)
    config.batch_size = 64 * 64                      # tokens of the target
    config.steps = configs.epochs(60, examples=482_000, batch_size=config.batch_size)  # of tokens
    config.sweep.seed = (0, 1, 2)
    config.sweep.learning_rate = (2.0,)
    config.loss.convention = "off_target"            # tensor2tensor's
    config.optimizer.momentum_form = "adam"
    config.optimizer.schedule = "rsqrt"
    config.optimizer.warmup = 0.25
    config.evaluate.batch_size = 64 * 64
    config.evaluate.every = config.checkpoint.every = 1000
    config.translation.beams = (4, 1, 16)
    config.projection.classes = (("▁einem", "▁einer", "▁einen"), ("▁Mann", "▁Frau", "▁Junge"))  # frequent and similar
    if variant == "short":
        config.model.dropout = 0.1
        config.batch_size = 16 * 64
        config.steps = configs.epochs(8, examples=482_000, batch_size=config.batch_size)
        config.sweep.learning_rate = (0.002,)
        config.optimizer.update(schedule="linear", warmup=0.1)
        epoch = configs.epochs(1, examples=482_000, batch_size=config.batch_size)
        config.evaluate.every = config.checkpoint.every = epoch
        config.evaluate.tokens = 5_000
        config.translation.decoded = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0)
        config.translation.sentences = 500
    if variant == "smoke":
        config.model.update(layers=1, width=16, feed_forward=32, heads=2)
        configs.smoke(config)
        config.data.vocabulary = 600
        config.projection.classes = ()
        config.batch_size = 4 * 64
        config.evaluate.tokens = 512
        config.translation.update(temperatures=(0.5, 1.0), decoded=(0.5, 1.0), beams=(2, 1), extra=4, sentences=4)
    return config
