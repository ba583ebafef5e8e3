"""Training tokens and translated sentences per second: ls_jax beside PyTorch, same sizes, weights and sentences, taken
in turns.

    PYTHONPATH=. python benchmarks/translation.py --repetitions 9

Sentences are random tokens of Multi30k's lengths. A training step is forward, smoothed cross-entropy, backward and
Adam, with dropout, on packed rows; ls_jax runs the step that it trains with, PyTorch `nn.TransformerEncoder` and
`nn.TransformerDecoder`, eagerly, and its fused Adam; only tokens that are no padding are counted, those of the target.
Decoding is beam search by the same rules; PyTorch has a cache that grows and is reordered at each step. Where END is
made impossible a translation goes to its limit, which is here its source's length, so both take the same steps, and
must find the same. A ratio above 1 means that ls_jax is faster.
"""
import argparse
import os
import statistics
import time

import ls_jax

ls_jax.setup("transformer")

import jax  # noqa: E402  (the flags above must be set first)
import numpy as np  # noqa: E402
import torch  # noqa: E402
from flax import nnx  # noqa: E402

from benchmarks import torch_transformer  # noqa: E402
from benchmarks.random_text import sentences  # noqa: E402
from ls_jax import config as configs  # noqa: E402
from ls_jax import data, models  # noqa: E402
from ls_jax.data import memory  # noqa: E402
from ls_jax.data.text import packing  # noqa: E402
from ls_jax.data.text.tokens import END  # noqa: E402
from ls_jax.devices import mesh  # noqa: E402
from ls_jax.devices.layout import over_mesh  # noqa: E402
from ls_jax.models import decoding  # noqa: E402
from ls_jax.training import loop, sweep  # noqa: E402

SIZES = {
    "multi30k": (8000, dict(layers=3, width=256, feed_forward=1024, heads=4)),
    "base": (32_768, dict(layers=6, width=512, feed_forward=2048, heads=8)),
}
RATE, SMOOTHING, DROPOUT, ROW = 1e-4, 0.1, 0.1, 64
EXTRA = 50  # steps that a translation may have more than its source, as `Translator` has it


class Ours:
    """The sweep's own training step on one batch of rows, again and again."""

    def __init__(self, vocabulary, sizes, split):
        config = configs.default()
        config.batch_size = split.labels.size
        config.model = dict(name="transformer", **sizes)
        config.sweep.update(alpha=(SMOOTHING,), seed=(0,), learning_rate=(RATE,))
        config.optimizer.update(momentum_form="adam")
        config.evaluate.batch_size = split.labels.size
        dataset = data.Dataset("random", tuple(map(str, range(vocabulary))), {"train": split, "test": split})
        run = loop.setup(config, dataset)
        self.layout, self.hypers, self.counted = run.layout, run.hypers(), np.zeros(2)
        self.program, _ = loop.training_programs(run)
        self.states = over_mesh(run.step.init, run.layout, (mesh.MEMBER,), mesh.MEMBER)(self.hypers)
        self.ids = loop.place_ids(run.layout, np.arange(len(split), dtype=np.int32)[None, None])
        self.arrays = memory.place(split, run.layout.mesh)

    def params(self):
        """The parameters, on the host."""
        return jax.device_get(sweep.take(self.layout.join(self.states), 0)).params

    def __call__(self):
        """Take a step; the loss."""
        self.states = self.program(self.states, self.hypers, self.ids, self.arrays)
        jax.block_until_ready(self.states)
        before, self.counted = self.counted, np.array([self.states[0].sums.loss[0], self.states[0].sums.count[0]])
        loss, count = self.counted - before
        return loss / count


def torch_step(vocabulary, sizes, params, split):
    """A closure that takes one eager PyTorch step from the ported weights and returns the loss."""
    twin = torch_transformer.port(torch_transformer.Transformer(vocabulary, **sizes, dropout=DROPOUT), params).train()
    optimizer = torch.optim.Adam([x for x in twin.parameters() if x.requires_grad], lr=RATE, betas=(0.9, 0.997),
                                 eps=1e-9, fused=True)
    tokens, labels = [torch.tensor(x).long() for x in split.inputs], torch.tensor(split.labels).long()

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits, _ = twin(*tokens)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=0,
                                                 label_smoothing=SMOOTHING)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def interleaved(steps, repetitions):
    """Seconds of each repetition of each step, taken in turns; a pause before each, since PyTorch's idle threads spin
    on."""
    seconds = {name: [] for name in steps}
    for _ in range(repetitions):
        for name, step in steps.items():
            time.sleep(0.3)
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def report(what, seconds, units, unit):
    rates = {name: units / statistics.median(values) for name, values in seconds.items()}
    cells = [f"{name} {rates[name]:9,.0f} ({units / min(values):9,.0f})" for name, values in seconds.items()]
    print(f"{what:28s} {unit}: {'   '.join(cells)}   ls_jax/PyTorch {rates['ls_jax'] / rates['PyTorch']:.2f}",
          flush=True)


def training(vocabulary, sizes, rows, repetitions):
    rng = np.random.default_rng(0)
    split = packing.pack(sentences(rng, 4 * rows + 60, vocabulary), sentences(rng, 4 * rows + 60, vocabulary), ROW)
    split = data.TextSplit(jax.tree.map(lambda x: x[:rows], split.inputs), split.labels[:rows])
    ours = Ours(vocabulary, sizes, split)
    steps = {"ls_jax": ours, "PyTorch": torch_step(vocabulary, sizes, ours.params(), split)}
    losses = {name: [step(), step()] for name, step in steps.items()}
    if np.abs(np.subtract(*losses.values())).max() > 0.03:  # they differ by their dropout
        raise SystemExit(f"the losses of two steps disagree: {losses}")
    tokens = int((split.inputs.target_segments > 0).sum())
    print(f"  {rows} rows of {ROW}, {tokens} target tokens, {tokens / split.labels.size:.1%} no padding")
    report("training", interleaved(steps, repetitions), tokens, "target tokens/s")


def without_end(params):
    """Weights with which END has no chance."""
    norm = params["decoder_norm"]
    embedding = np.array(params["embedding"])
    embedding[END] = 0
    embedding[END, 0] = -100
    return params | {"embedding": embedding,
                     "decoder_norm": norm | {"bias": norm["bias"] + 100 * (np.arange(len(norm["bias"])) == 0)}}


def translating(vocabulary, sizes, count, beams, repetitions):
    new = lambda key: models.build("transformer", num_classes=vocabulary, rngs=nnx.Rngs(key), **sizes)
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: new(jax.random.key(0))))
    params = without_end(jax.jit(lambda: nnx.to_pure_dict(nnx.split(new(jax.random.key(0)), nnx.Param)[1]))())
    ids, lengths = sentences(np.random.default_rng(1), count, vocabulary)
    lengths = np.sort(lengths)[::-1].copy()
    ids[np.cumsum(lengths) - 1] = END
    source = np.zeros((count, -(-lengths.max() // 16) * 16), np.int32)
    source[np.arange(source.shape[1]) < lengths[:, None]] = ids

    network = nnx.merge(graphdef, jax.device_put(params))
    search = lambda: decoding.beam_search(network, source, lengths, steps=source.shape[1] + EXTRA, beams=beams).ids
    twin = torch_transformer.port(torch_transformer.Transformer(vocabulary, **sizes).eval(), params)
    tensors = torch.tensor(source).long(), torch.tensor(lengths).long()
    runs = {"ls_jax": search, "PyTorch": lambda: twin.beam_search(*tensors, beams).numpy()}
    ours, theirs = (run() for run in runs.values())
    same = np.mean([list(a[:length]) == list(b[:length]) for a, b, length in zip(ours, theirs, lengths)])
    if same < 0.9:
        raise SystemExit(f"only {same:.0%} of the translations are the same")
    print(f"  {count} sentences of {lengths.min()} to {lengths.max()} tokens, {same:.0%} translated alike")
    report(f"beam search, {beams} beams", interleaved(runs, repetitions), int(lengths.sum()), "target tokens/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="multi30k", choices=SIZES)
    parser.add_argument("--rows", type=int, default=32, help=f"of {ROW} tokens, in a training step")
    parser.add_argument("--sentences", type=int, default=64, help="translated together")
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="threads of PyTorch; JAX takes all cores")
    parser.add_argument("--only", choices=("training", "decoding"))
    flags = parser.parse_args()
    if jax.default_backend() != "cpu":
        raise SystemExit("PyTorch runs on the CPU here, so JAX must too: set JAX_PLATFORMS=cpu")
    torch.set_num_threads(flags.threads)
    vocabulary, sizes = SIZES[flags.sizes]
    print(f"jax {jax.__version__}, torch {torch.__version__}, {jax.devices()[0].device_kind}, {flags.sizes}: median "
          "(best)")
    if flags.only != "decoding":
        training(vocabulary, sizes, flags.rows, flags.repetitions)
    if flags.only != "training":
        translating(vocabulary, sizes, flags.sentences, flags.beams, flags.repetitions)


if __name__ == "__main__":
    main()
