"""Seconds per training step on a CPU: ls_jax beside PyTorch, same network, same batch, taken in turns.

    PYTHONPATH=. python benchmarks/train_step.py --models mlp,alexnet,resnet --repetitions 15

One step is forward, smoothed cross-entropy, backward, SGD with Nesterov momentum and weight decay. PyTorch runs eagerly,
convolutions in channels_last. A ratio above 1 means that ls_jax is faster. The second table has the cost of training
several members of a sweep, per member and relative to a solo step.
"""

import argparse
import statistics
import time

from ls_jax import xla_flags

xla_flags.set_cpu_flags()
xla_flags.reuse_freed_memory()

import jax  # noqa: E402  (the flags above must be set first)
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from flax import nnx  # noqa: E402

try:
    import torch

    from benchmarks import torch_models
except ModuleNotFoundError:  # then only JAX is timed
    torch = None

from ls_jax import models  # noqa: E402

NETWORKS = {
    "mlp": ("mlp", {}, (28, 28, 1)),
    "alexnet": ("alexnet", {}, (24, 24, 3)),
    "resnet": ("resnet", dict(style="he", widths=(16, 32, 64), blocks=9), (32, 32, 3)),
    "resnet-t2t": ("resnet", dict(style="tensor2tensor", widths=(32, 64, 128), blocks=9), (32, 32, 3)),
}
LEARNING_RATE, MOMENTUM, DECAY, SMOOTHING, CLASSES = 0.01, 0.9, 1e-4, 0.1, 10


def jax_step(name: str, fields: dict, shape: tuple[int, int, int]):
    """(one training step as a pure function, initial state)."""
    model = models.build(name, num_classes=CLASSES, image_shape=shape, rngs=nnx.Rngs(0), **fields)
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    def loss(params, stats, images, labels):
        model = nnx.merge(graphdef, params, stats)
        log_p = jax.nn.log_softmax(model(images, train=True).logits)
        hard = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
        return -jnp.mean((1 - SMOOTHING) * hard + SMOOTHING * log_p.mean(1)), nnx.state(model, nnx.BatchStat)

    def step(state, images, labels):
        params, stats, momentum = state
        (value, stats), gradients = jax.value_and_grad(loss, has_aux=True)(params, stats, images, labels)
        gradients = jax.tree.map(lambda g, p: g + DECAY * p, gradients, params)
        momentum = jax.tree.map(lambda m, g: MOMENTUM * m + g, momentum, gradients)
        update = lambda p, g, m: p - LEARNING_RATE * (g + MOMENTUM * m)
        params = jax.tree.map(update, params, gradients, momentum)
        return (params, nnx.to_pure_dict(stats), momentum), value

    return step, (params, stats, jax.tree.map(jnp.zeros_like, params))


def torch_step(name, fields, shape, state, images, labels):
    """A closure that takes one eager PyTorch step from the ported state and returns the loss."""
    twin = torch_models.port(torch_models.MODELS[name](CLASSES, shape, **fields), *state[:2])
    twin = twin.to(memory_format=torch.channels_last).train()
    options = dict(momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)
    optimizer = torch.optim.SGD(twin.parameters(), lr=LEARNING_RATE, **options)
    images = torch.tensor(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    labels = torch.tensor(labels).long()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(twin(images)[0], labels, label_smoothing=SMOOTHING)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def carried(function, state, *batch):
    """A closure that feeds `function` its own returned state, and waits for the loss."""
    function = jax.jit(function, donate_argnums=0)
    box = [jax.tree.map(jnp.copy, state)]

    def step():
        box[0], loss = function(box[0], *batch)
        return np.asarray(loss)

    return step


def interleaved(steps: dict, repetitions: int) -> dict[str, list[float]]:
    """Seconds of each repetition of each step, taken in turns, after two warm-up calls whose losses must agree."""
    losses = {name: float(np.mean([step(), step()][1])) for name, step in steps.items()}
    if max(losses.values()) - min(losses.values()) > 1e-3:
        raise SystemExit(f"the losses after two steps disagree: {losses}")
    seconds = {name: [] for name in steps}
    for _ in range(repetitions):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def member_steps(step, state, members, *batch):
    """Three ways of training `members` networks: solo program in a Python loop, vmap, unrolled in one program."""
    solo = [carried(step, state, *batch) for _ in range(members)]

    def unrolled(states, *batch):
        states, losses = zip(*[step(state, *batch) for state in states], strict=True)
        return list(states), jnp.stack(losses)

    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * members), state)
    return {
        "solo": solo[0],
        "loop": lambda: [run() for run in solo],
        "vmap": carried(jax.vmap(step, in_axes=(0, None, None)), stacked, *batch),
        "unrolled": carried(unrolled, [state] * members, *batch),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mlp,alexnet,resnet", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--members", type=int, default=0, help="also time this many members of a sweep")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    rng = np.random.default_rng(0)
    print(f"jax {jax.__version__}, torch {torch.__version__}, batch {flags.batch}, milliseconds: median (minimum)")
    print(f"{'model':12s} {'JAX':>18s} {'PyTorch':>18s} {'PyTorch/JAX':>12s}")
    for network in flags.models.split(","):
        name, fields, shape = NETWORKS[network]
        images = rng.normal(size=(flags.batch, *shape)).astype(np.float32)
        labels = rng.integers(0, CLASSES, flags.batch).astype(np.int32)
        step, state = jax_step(name, fields, shape)
        peer = torch_step(name, fields, shape, state, images, labels)
        seconds = interleaved({"jax": carried(step, state, images, labels), "torch": peer}, flags.repetitions)
        middle = {key: statistics.median(values) for key, values in seconds.items()}
        cells = [f"{middle[key] * 1e3:8.1f} ({min(seconds[key]) * 1e3:7.1f})" for key in ("jax", "torch")]
        print(f"{network:12s} {cells[0]:>18s} {cells[1]:>18s} {middle['torch'] / middle['jax']:12.2f}", flush=True)
        if flags.members:
            seconds = interleaved(member_steps(step, state, flags.members, images, labels), flags.repetitions)
            solo = statistics.median(seconds.pop("solo"))
            cost = {key: statistics.median(values) / flags.members / solo for key, values in seconds.items()}
            print(f"  per member of {flags.members}, solo = 1: " + ", ".join(f"{k} {v:.2f}" for k, v in cost.items()))


if __name__ == "__main__":
    main()
