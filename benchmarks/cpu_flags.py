"""Milliseconds per training step of each kind of network under each value of XLA:CPU's fusion flag, and whether the
value computes right.

    PYTHONPATH=. python benchmarks/cpu_flags.py --networks mlp,alexnet,resnet,inception_v4,transformer --repetitions 3

Flags are a process's own, so each measurement is a process; the values take turns. Times are the median over
repetitions of wall-clock milliseconds and of processor milliseconds per step. This is where each model's CPU_FUSION and
the order in ls_jax/devices/cpu.py come from.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from ls_jax.devices import cpu
from ls_jax.devices.layout import over_mesh

NETWORKS = {
    "mlp": (dict(name="mlp", hidden=(1200, 1200), init_std=0.03), (28, 28, 1), 128),
    "alexnet": (dict(name="alexnet"), (24, 24, 3), 128),
    "resnet": (dict(name="resnet", style="he", widths=(16, 32, 64), blocks=3), (32, 32, 3), 128),
    "inception_v4": (dict(name="inception_v4"), (299, 299, 3), 4),
    "transformer": (dict(name="transformer", layers=3, width=256, feed_forward=1024, heads=4, dropout=0.1), None, 1024),
}


def experiment(network: str, batches: int = 1):
    """A config with one member, and random data of a few batches for it."""
    import numpy as np

    from ls_jax import config as configs
    from ls_jax import data
    model, shape, batch = NETWORKS[network]
    config = configs.default()
    config.model, config.batch_size = model, batch
    config.sweep.update(alpha=(0.1,), seed=(0,))
    if shape is None:
        config.optimizer.momentum_form, config.sweep.learning_rate = "adam", (1e-3,)
        return config, _captions(batches)
    rng, count = np.random.default_rng(0), batches * batch
    split = data.Split(rng.integers(0, 256, (count, *shape), np.uint8), rng.integers(0, 10, count).astype(np.int32))
    return config, data.Dataset("random", tuple(map(str, range(10))), {"train": split, "test": split})


def time_steps(network: str, seconds: float) -> dict[str, float]:
    """Milliseconds per step in this process, whose flags are set."""
    import jax
    import numpy as np

    from ls_jax.data import memory
    from ls_jax.devices import mesh
    from ls_jax.training import loop
    config, dataset = experiment(network)
    run = loop.setup(config, dataset)
    step, _ = loop.training_programs(run)
    hypers = run.hypers()
    states = over_mesh(run.step.init, run.layout, (mesh.MEMBER,), mesh.MEMBER)(hypers)
    arrays = memory.place(dataset.splits["train"], run.layout.mesh)
    given = loop.place_ids(run.layout, np.arange(run.batch, dtype=np.int32)[None, None])
    for _ in range(3):
        states = jax.block_until_ready(step(states, hypers, given, arrays))
    start, processor, taken = time.perf_counter(), time.process_time(), 0
    while taken < 3 or time.perf_counter() - start < seconds:
        states = jax.block_until_ready(step(states, hypers, given, arrays))
        taken += 1
    return {"wall": 1e3 * (time.perf_counter() - start) / taken, "cpu": 1e3 * (time.process_time() - processor) / taken,
            "loss": float(states[0].sums.loss[0] / states[0].sums.count[0])}


def _captions(batches):
    """A data set of random sentences of Multi30k's lengths."""
    import numpy as np

    from benchmarks.random_text import sentences
    from ls_jax import data
    from ls_jax.data.text import packing
    rng = np.random.default_rng(0)
    split = packing.pack(sentences(rng, 100 * batches, 8000), sentences(rng, 100 * batches, 8000), 64)
    return data.Dataset("random", tuple(map(str, range(8000))), {"train": split, "test": split})


def measure(network: str, value: str | None, seconds: float) -> dict[str, float]:
    """`time_steps` in a process with a value of the flag."""
    environment = {**os.environ, "XLA_FLAGS": "" if value is None else f"--{cpu.FLAG}={value}"}
    done = subprocess.run([sys.executable, __file__, "--networks", network, "--child", str(seconds)],
                          capture_output=True, text=True,
                          env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS), help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child is not None:
        print(json.dumps(time_steps(flags.networks, flags.child)))
        return
    for network in flags.networks.split(","):
        found = {value: [] for value in cpu.VALUES}
        for _ in range(flags.repetitions):
            for value in cpu.VALUES:
                found[value].append(measure(network, value, flags.seconds))
        for value, each in found.items():
            wall, processor = (statistics.median(one[name] for one in each) for name in ("wall", "cpu"))
            print(f"{network:13s} {wall:8.1f} ms {processor:8.1f} processor ms   loss {each[0]['loss']:.6f}   "
                  f"{'not given' if value is None else repr(value)}", flush=True)


if __name__ == "__main__":
    main()
