"""Milliseconds per training step: ls_jax beside PyTorch, same network, same weights, same batch, taken in turns.

    PYTHONPATH=. python benchmarks/train_step.py --models mlp,alexnet,resnet --repetitions 15 --members 4

One step is forward, smoothed cross-entropy, backward, SGD with Nesterov momentum and weight decay. ls_jax runs the step
that it trains with (gather by example id, metrics and divergence check included); "plain JAX" is the same network in
the step that a script of a few lines would have, without any of that; PyTorch runs eagerly, convolutions in
channels_last. Neither reads data. A ratio above 1 means that ls_jax is faster. --members also times a sweep of so many,
per member and relative to a solo step, for each strategy of `config.members`. Without PyTorch it is left out.

All run on the device that JAX uses. On a GPU a call of ls_jax takes as many steps as a run's does, the others as many
without waiting in between, and products have 10-bit mantissas (TF32) in both libraries.

What bounds the MLP (two cores of an AMD EPYC): its products alone take 8 ms at the speed of either library, of the 12
to 13 of a step.
"""
import argparse
import re
import statistics
import subprocess
import sys
import time

import ls_jax

ls_jax.setup((re.search(r"--models[= ](\w+)", " ".join(sys.argv)) or [None, None])[1])

import jax  # noqa: E402  (the flags above must be set first)
import numpy as np  # noqa: E402
import optax  # noqa: E402
from flax import nnx  # noqa: E402

try:
    import torch

    from benchmarks import torch_models
except ModuleNotFoundError:
    torch = None

from ls_jax import config as configs  # noqa: E402
from ls_jax import data  # noqa: E402
from ls_jax.data import memory  # noqa: E402
from ls_jax.devices import mesh  # noqa: E402
from ls_jax.devices.layout import over_mesh  # noqa: E402
from ls_jax.training import loop, sweep  # noqa: E402
from ls_jax.training import step as steps_module  # noqa: E402

NETWORKS = {
    "mlp": ("mlp", {}, (28, 28, 1)),
    "alexnet": ("alexnet", {}, (24, 24, 3)),
    "resnet": ("resnet", dict(style="he", widths=(16, 32, 64), blocks=9), (32, 32, 3)),
    "resnet20": ("resnet", dict(style="he", widths=(16, 32, 64), blocks=3), (32, 32, 3)),
    "resnet-t2t": ("resnet", dict(style="tensor2tensor", widths=(32, 64, 128), blocks=9), (32, 32, 3)),
    "fastnet": ("fastnet", {}, (32, 32, 3)),
}
ON_CPU = jax.default_backend() == "cpu"
# seconds: on a CPU shorter ones see a small network's first steps after the pause, a fifth slower than those of a run
TURN = 1.0 if ON_CPU else 0.4
PAUSE = 0.3 if ON_CPU else 0.0
TOLERANCE = 2e-3 if ON_CPU else 5e-2  # of the loss
LEARNING_RATE, MOMENTUM, DECAY, SMOOTHING, CLASSES = 0.01, 0.9, 1e-4, 0.1, 10


class Ours:
    """The sweep's own training steps on one batch, again and again. `steps` is how many a call takes."""

    def __init__(self, name, fields, images, labels, members=1, strategy="unroll"):
        config = configs.default()
        config.batch_size = len(labels)
        config.model = dict(name=name, **fields)
        config.members, self.steps = strategy, loop.steps_per_call(config)
        config.sweep.update(alpha=(SMOOTHING,), seed=tuple(range(members)), learning_rate=(LEARNING_RATE,),
                            weight_decay=(DECAY,))
        config.optimizer.update(momentum=MOMENTUM, momentum_form="nesterov", decay_norm=True)
        split = data.Split(images, labels)
        dataset = data.Dataset("random", tuple(map(str, range(CLASSES))), {"train": split, "test": split})
        run = loop.setup(config, dataset)
        self.layout, self.hypers, self.counted = run.layout, run.hypers(), 0.0
        self.program, _ = loop.training_programs(run)
        self.states = over_mesh(run.step.init, run.layout, (mesh.MEMBER,), mesh.MEMBER)(self.hypers)
        self.ids = loop.place_ids(run.layout, np.tile(np.arange(len(labels), dtype=np.int32), (members, self.steps, 1)))
        self.arrays = memory.place(split, run.layout.mesh)

    def member(self):
        """Parameters and statistics of the first member, on the host."""
        state = jax.device_get(sweep.take(self.layout.join(self.states), 0))
        return state.params, state.stats

    def __call__(self):
        """Take the steps of one call; the mean loss."""
        self.states = self.program(self.states, self.hypers, self.ids, self.arrays)
        jax.block_until_ready(self.states)
        total, self.counted = self.counted, float(jax.device_get(self.states[0].sums.loss)[0])
        return (self.counted - total) / self.ids[0][0].size


def plain_step(name, fields, shape, weights, images, labels):
    """A closure that takes one jitted, donated step of JAX and optax from the same weights, and returns the loss."""
    config = configs.default()
    config.model = dict(name=name, **fields)
    graphdef, _ = steps_module.build_network(config, CLASSES, shape, None)
    optimizer = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(LEARNING_RATE, MOMENTUM, nesterov=True))
    targets = optax.smooth_labels(jax.nn.one_hot(labels, CLASSES), SMOOTHING)
    inputs = jax.numpy.asarray(images / np.float32(255))

    def objective(params, stats):
        model = nnx.merge(graphdef, params, stats)
        loss = optax.softmax_cross_entropy(model(inputs, train=True).logits, targets).mean()
        return loss, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    def update(params, stats, state):
        (loss, stats), gradients = jax.value_and_grad(objective, has_aux=True)(params, stats)
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), stats, state), loss

    program, weights = jax.jit(update, donate_argnums=(0, 1, 2)), jax.device_put(weights)
    state = [(*weights, optimizer.init(weights[0]))]

    def take():
        state[0], loss = program(*state[0])
        return loss

    return take


def torch_step(name, fields, shape, weights, images, labels):
    """A closure that takes one eager PyTorch step from the ported weights and returns the loss."""
    twin = torch_models.port(torch_models.MODELS[name](CLASSES, shape, **fields), *weights)
    device = "cpu" if ON_CPU else "cuda"
    twin = twin.to(device, memory_format=torch.channels_last).train()
    trained = [each for each in twin.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)
    images = torch.tensor(images / np.float32(255)).permute(0, 3, 1, 2)
    images = images.to(device, memory_format=torch.channels_last)
    labels = torch.tensor(labels).long().to(device)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(twin(images)[0], labels, label_smoothing=SMOOTHING)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def repeated(step, steps):
    """A closure that takes so many steps before it waits for them, and returns their mean loss."""
    def take():
        return statistics.fmean(float(loss) for loss in [step() for _ in range(steps)])

    return take


def interleaved(steps: dict, repetitions: int) -> dict[str, list[float]]:
    """Seconds of each repetition of each step, taken in turns, to and fro, after two warm-up calls whose losses must
    agree.

    A turn is a pause, since PyTorch's idle OpenMP threads spin on for 0.2 seconds, an untimed step, and timed ones,
    five or more, until TURN is over.
    """
    losses = {name: [step(), step()][1] for name, step in steps.items()}
    if max(losses.values()) - min(losses.values()) > TOLERANCE:
        raise SystemExit(f"the losses after two steps disagree: {losses}")
    seconds = {name: [] for name in steps}
    for repetition in range(repetitions):
        for name, step in list(steps.items())[::1 if repetition % 2 else -1]:
            time.sleep(PAUSE)
            step()
            start, taken = time.perf_counter(), 0
            while taken < 5 or time.perf_counter() - start < TURN:
                step()
                taken += 1
            seconds[name].append((time.perf_counter() - start) / taken)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mlp,alexnet,resnet", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--members", type=int, default=0, help="also time a sweep of this many members")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    flags = parser.parse_args()
    if "," in flags.models and ON_CPU:  # a process each, since XLA's flags are the process's
        for network in flags.models.split(","):
            subprocess.run([sys.executable, *sys.argv, f"--models={network}"], check=True)
        return
    version = f"torch {torch.__version__}" if torch else "no torch"
    print(f"jax {jax.__version__}, {version}, {jax.devices()[0].device_kind}, batch {flags.batch}, milliseconds: "
          "median (minimum)")
    rng = np.random.default_rng(0)
    for network in flags.models.split(","):
        name, fields, shape = NETWORKS[network]
        images = rng.integers(0, 256, (flags.batch, *shape), np.uint8)
        labels = rng.integers(0, CLASSES, flags.batch).astype(np.int32)
        steps = {"ls_jax": Ours(name, fields, images, labels)}
        start = name, fields, shape, steps["ls_jax"].member(), images, labels
        per_call = steps["ls_jax"].steps
        steps["plain JAX"] = repeated(plain_step(*start), per_call)
        if torch:
            torch.set_num_threads(flags.threads)
            torch.set_float32_matmul_precision("highest" if ON_CPU else "high")
            steps["PyTorch"] = repeated(torch_step(*start), per_call)
        seconds = {key: [each / per_call for each in values]
                   for key, values in interleaved(steps, flags.repetitions).items()}
        middle = {key: statistics.median(values) for key, values in seconds.items()}
        cells = [f"{key} {1e3 * middle[key]:8.2f} ({1e3 * min(values):7.2f})" for key, values in seconds.items()]
        ratios = [f"{other}/ls_jax {middle[other] / middle['ls_jax']:.2f}" for other in middle if other != "ls_jax"]
        print(f"{network:11s} {'   '.join(cells + ratios)}", flush=True)
        if flags.members:
            sweeps = {strategy: Ours(name, fields, images, labels, flags.members, strategy)
                      for strategy in (("unroll", "vmap") if ON_CPU and name == "mlp" else
                                       ("unroll",) if ON_CPU else ("unroll", "vmap", "map"))}
            seconds = interleaved({"solo": Ours(name, fields, images, labels), **sweeps},
                                  max(3, flags.repetitions // 3))
            solo = statistics.median(seconds.pop("solo"))
            cost = {key: statistics.median(values) / flags.members / solo for key, values in seconds.items()}
            print(f"  a sweep of {flags.members}, per member, solo = 1: "
                  + ", ".join(f"{k} {v:.2f}" for k, v in cost.items()), flush=True)


if __name__ == "__main__":
    main()
