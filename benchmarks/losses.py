"""What the rivals of label smoothing cost: a training step with all of them against one with smoothing alone, and
memory for text.

    PYTHONPATH=. python benchmarks/losses.py --config=configs/digits_mlp.py --repetitions 30
    PYTHONPATH=. python benchmarks/losses.py --tokens 512 --classes 32000

The first prints milliseconds per step of one member on random pictures, in turns. The second prints, of the compiled
program that gives a loss and its gradient in the logits, the largest temporary memory in units of the logits; a backend
that fuses more needs less.
"""
import argparse
import statistics
import time

import ls_jax

ls_jax.setup("resnet")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from ls_jax import config as configs  # noqa: E402
from ls_jax import losses  # noqa: E402
from ls_jax.data.batch import Batch  # noqa: E402
from ls_jax.training import step, sweep  # noqa: E402

SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "fashion_mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
RIVALS = {name: 0.1 for name, term in losses.LOSSES.items() if not term.taught and name in term.scalars}


def trained(config, arms):
    """A call that takes one step of the first member, whose program has the terms of all arms."""
    config = config.copy_and_resolve_references()
    config.sweep.update(alpha=(0.1,), seed=(0,), arms=arms, baseline=None)
    functions = step.build_step(config, 10, SHAPES[config.data.name], axis_name=None)
    hyper = jax.tree.map(jnp.asarray, sweep.take(sweep.grid(config), 0))
    state = jax.jit(functions.init)(hyper)
    images = jax.random.randint(jax.random.key(0), (config.batch_size, *SHAPES[config.data.name]), 0,
                                256).astype(jnp.uint8)
    ids = jnp.arange(config.batch_size, dtype=jnp.int32)
    given, train = step.StepInput(Batch(images, ids % 10, ids)), jax.jit(functions.train)
    return functions.terms, lambda: jax.block_until_ready(train(state, hyper, given))


def steps(path, repetitions):
    """Prints milliseconds per step."""
    config = configs.load(*path.split(":"))
    all_arms = {"smoothing": {"alpha": 0.1}, **{name: {name: strength} for name, strength in RIVALS.items()}}
    taken = dict([trained(config, arms) for arms in ({"smoothing": {"alpha": 0.1}}, all_arms)])
    times = {terms: [] for terms in taken}
    for call in taken.values():
        call()
    for _ in range(repetitions):
        for terms, call in taken.items():
            start = time.perf_counter()
            call()
            times[terms].append(time.perf_counter() - start)
    print(f"{path}, batch {config.batch_size}, {jax.devices()[0].device_kind}, jax {jax.__version__}: milliseconds, "
          f"median of {repetitions} in turns (minimum)")
    for terms, values in times.items():
        print(f"{len(terms):2} terms {1e3 * statistics.median(values):9.3f} ({1e3 * min(values):9.3f})")
    alone, together = times.values()
    print(f"all terms cost {100 * (statistics.median(together) / statistics.median(alone) - 1):+.1f} % of the step "
          f"with smoothing alone ({100 * (min(together) / min(alone) - 1):+.1f} % by the minima)")


def memory(tokens, classes):
    """Prints the temporary memory of a loss and its gradient in the logits."""
    logits, labels = jax.ShapeDtypeStruct((tokens, classes), jnp.float32), jax.ShapeDtypeStruct((tokens,), jnp.int32)
    print(f"{tokens} tokens of {classes}, logits {tokens * classes * 4 / 2**20:.0f} MiB, "
          f"{jax.devices()[0].device_kind}, jax {jax.__version__}: temporary memory of the value and the gradient, in "
          "units of the logits")
    groups = {"smoothing": {"alpha": 0.1}, **{f"smoothing and {name}": {"alpha": 0.0, name: 0.1} for name in RIVALS},
              "all": {"alpha": 0.1, **RIVALS}}
    for name, strengths in groups.items():
        strengths = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in strengths}
        mean = lambda logits, labels, strengths: losses.loss(losses.Examples(logits, labels, masked=False),
                                                             strengths).mean()
        compiled = jax.jit(jax.value_and_grad(mean)).lower(logits, labels, strengths).compile()
        print(f"{name:34} {compiled.memory_analysis().temp_size_in_bytes / (tokens * classes * 4):6.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/digits_mlp.py", help="FILE.py or FILE.py:VARIANT")
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=0, help="memory for so many tokens, instead of a step's time")
    parser.add_argument("--classes", type=int, default=32_000)
    arguments = parser.parse_args()
    if arguments.tokens:
        memory(arguments.tokens, arguments.classes)
    else:
        steps(arguments.config, arguments.repetitions)


if __name__ == "__main__":
    main()
