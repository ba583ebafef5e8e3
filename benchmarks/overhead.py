"""What data order, augmentation and logging add to a training step.

    PYTHONPATH=. python benchmarks/overhead.py --config=configs/cifar10_resnet56.py --repetitions 12

"bare" is the sweep's step on fixed example ids, already on the device, without augmentation. "whole" is the loop's body
as it
runs: order the examples, send their ids, step with augmentation and normalisation, tell the progress, and, every
`log.every` steps, fetch and write the metrics (its time is spread over those steps). Taken in turns on random pictures.
"""
import argparse
import statistics
import tempfile
import time

import ls_jax

ls_jax.setup("resnet")

import jax  # noqa: E402
import numpy as np  # noqa: E402

from ls_jax import config as configs  # noqa: E402
from ls_jax import data  # noqa: E402
from ls_jax.data import memory, order  # noqa: E402
from ls_jax.devices import mesh  # noqa: E402
from ls_jax.devices.layout import over_mesh  # noqa: E402
from ls_jax.training import loop  # noqa: E402
from ls_jax.workdir import log  # noqa: E402


class Loop:
    """One member's loop body."""

    def __init__(self, config, split):
        dataset = data.Dataset("random", tuple(map(str, range(10))),
                               {"train": split, "test": split, "validation": split})
        self.config, self.run = config, loop.setup(config, dataset)
        self.step, self.reset = loop.training_programs(self.run)
        self.states = over_mesh(self.run.step.init, self.run.layout, (mesh.MEMBER,), mesh.MEMBER)(self.run.hypers())
        self.hypers, self.arrays = self.run.hypers(), memory.place(split, self.run.layout.mesh)
        self.ids, self.taken = self.order(), 0

    def order(self, step=0):
        return loop.place_ids(self.run.layout,
                               order.block(self.run.examples, self.config.batch_size, self.run.hyper["seed"], step, 1))

    def bare(self):
        self.states = self.step(self.states, self.hypers, self.ids, self.arrays)
        jax.block_until_ready(self.states)

    def whole(self, logs):
        self.states = self.step(self.states, self.hypers, self.order(self.taken), self.arrays)
        self.taken += 1
        logs.progress(self.taken)
        jax.block_until_ready(self.states)

    def write(self, logs):
        logs.write(loop.train_rows(self.run, self.states, self.taken))
        self.states = self.reset(self.states)
        jax.block_until_ready(self.states)


def seconds(f, *arguments):
    start = time.perf_counter()
    f(*arguments)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/cifar10_resnet56.py")
    parser.add_argument("--repetitions", type=int, default=12)
    arguments = parser.parse_args()
    config = configs.load(arguments.config)
    config.sweep.alpha, config.sweep.seed = (0.1,), (0,)
    plain = configs.load(arguments.config)
    plain.sweep.update(config.sweep)
    plain.data.augment, plain.data.normalize = "none", "unit"
    rng = np.random.default_rng(0)
    split = data.Split(rng.integers(0, 256, (40_000, 32, 32, 3), np.uint8),
                       rng.integers(0, 10, 40_000).astype(np.int32))
    bare, whole = Loop(plain, split), Loop(config, split)
    times = {"bare": [], "whole": [], "write": []}
    with tempfile.TemporaryDirectory() as workdir, log.Logs(workdir, whole.run) as logs:
        bare.bare(), whole.whole(logs), whole.write(logs)
        for _ in range(arguments.repetitions):
            times["bare"].append(seconds(bare.bare))
            times["whole"].append(seconds(whole.whole, logs))
            times["write"].append(seconds(whole.write, logs))
    median = {name: statistics.median(values) for name, values in times.items()}
    total = median["whole"] + median["write"] / config.log.every
    print(f"{arguments.config}, batch {config.batch_size}, {jax.devices()[0].device_kind}, jax {jax.__version__}: "
          f"milliseconds, median of {arguments.repetitions} in turns (minimum)")
    for name, values in times.items():
        print(f"{name:6} {1e3 * median[name]:9.2f} ({1e3 * min(values):9.2f})")
    print(f"overhead of order, augmentation and logging: {100 * (total / median['bare'] - 1):+.1f} % of the bare step "
          f"({100 * (min(times['whole']) / min(times['bare']) - 1):+.1f} % by the minima)")


if __name__ == "__main__":
    main()
