"""Inception-v4, pictures a second, training and inference: ls_jax beside timm under PyTorch, same weights, same batch,
in turns.

    PYTHONPATH=. python benchmarks/inception.py [--batch 16] [--size 299] [--repetitions 5] [--cores 1] \\
        [--tfds DIR] [--peak TFLOPS]

A training step is forward, smoothed cross-entropy, backward, SGD with Nesterov momentum and weight decay; ours is the
one that it trains with. On a CPU both compute in float32, PyTorch eagerly in channels_last; on a GPU both in bfloat16,
PyTorch compiled. --cores keeps both to so many; processor time matters less than wall time where other work runs
beside. --tfds also trains on the imagenet2012 that is prepared there, read as a run reads it, and prints the share of
the steps' time that is spent waiting for pictures. --peak, of the device, gives the share of it that is used. A ratio
above 1 means that ls_jax is faster; without timm only ls_jax is timed.

On one core of an AMD EPYC with jax 0.10.2, XLA's convolutions and products take 95 % of a prediction and 86 % of a
training step (traced under XLA_FLAGS=--xla_cpu_enable_xprof_traceme=true); of the rest, transpositions for the kernels'
gradients are 6 % of the step. Tried without gain: 1x1 convolutions as products (training 0.85 to 0.99 × as fast, though
alone their kernels' gradients are 1.4 ×), a block's 1x1 convolutions as one (0.93 ×), and activations kept from being
computed anew in each transposition (0.95 ×).
"""
import argparse
import os
import statistics
import time

import ls_jax

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--size", type=int, default=299)
parser.add_argument("--repetitions", type=int, default=5)
parser.add_argument("--cores", type=int)
parser.add_argument("--tfds")
parser.add_argument("--peak", type=float, help="TFLOP/s")
flags = parser.parse_args()
if flags.cores:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-flags.cores:])
ls_jax.setup("inception_v4")

import jax  # noqa: E402  (the flags above must be set first)
import numpy as np  # noqa: E402

from ls_jax import config as configs  # noqa: E402
from ls_jax import data  # noqa: E402
from ls_jax.data import memory  # noqa: E402
from ls_jax.devices import mesh  # noqa: E402
from ls_jax.devices.layout import over_mesh  # noqa: E402
from ls_jax.modes import import_timm  # noqa: E402
from ls_jax.training import loop, sweep  # noqa: E402
from ls_jax.workdir.checkpoint_format import flatten  # noqa: E402

CLASSES, LEARNING_RATE, MOMENTUM, DECAY, SMOOTHING = 1000, 0.01, 0.9, 8e-5, 0.1
ON_CPU = jax.default_backend() == "cpu"


def experiment(batch, size):
    """The paper's network for one smoothing, on one device, without augmentation."""
    config = configs.load("configs/imagenet_inception.py")
    config.sweep.update(alpha=(SMOOTHING,), learning_rate=(LEARNING_RATE,), weight_decay=(DECAY,))
    config.optimizer.update(schedule="constant", warmup=0.0, ema=0.0, decay_norm=True)
    config.model.update(auxiliary=False, dropout=0.0)
    config.batch_size = config.evaluate.batch_size = batch
    config.data.update(image_size=size, augment="none")
    config.dtype = "float32" if ON_CPU else "bfloat16"
    config.mesh.update(member=1, data=1)
    return config


class Ours:
    """The run's own programs."""

    def __init__(self, config, dataset):
        self.run = run = loop.setup(config, dataset)
        self.program, _ = loop.training_programs(run)
        self.hypers, self.arrays = run.hypers(), memory.place(run.dataset.splits["train"], run.layout.mesh)
        self.states = over_mesh(run.step.init, run.layout, (mesh.MEMBER,), mesh.MEMBER)(self.hypers)
        self.ids = np.arange(config.batch_size, dtype=np.int32)
        self.counted = 0.0

    def step(self, given=None):
        """Take a step; the loss."""
        given = given or loop.place_ids(self.run.layout, self.ids[None, None])
        self.states = self.program(self.states, self.hypers, given, self.arrays)
        before, self.counted = self.counted, float(self.states[0].sums.loss[0])
        return (self.counted - before) / len(self.ids)

    def predict(self):
        """The mean of the logits."""
        given = mesh.put(self.run.layout.mesh, mesh.ROWS, self.ids)
        return float(self.run.evaluator.prediction.one_slot(self.states[0], given, self.arrays)[0].logits.mean())

    def operations(self):
        """Floating-point operations of a picture's forward pass."""
        given = mesh.put(self.run.layout.mesh, mesh.ROWS, self.ids)
        program = self.run.evaluator.prediction.lower(self.states[0], given, self.arrays)
        return program.cost_analysis()["flops"] / len(self.ids)

    def waiting(self):
        """The share of the time that the steps of a run wait for their batches; its first batch is not counted."""
        batches = iter(loop.batches(self.run, self.arrays, 0))
        self.step(next(batches)[1])
        waited, start = 0.0, time.perf_counter()
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            waited += time.perf_counter() - asked
            if batch is None:
                return waited / (time.perf_counter() - start)
            self.step(batch[1])


class Theirs:
    """timm's network with our weights."""

    def __init__(self, state, images, labels):
        import torch

        from tests import timm_stand_in
        try:
            import torchvision  # noqa: F401
        except (ImportError, RuntimeError):  # a wheel for another build of torch
            timm_stand_in.install_stand_ins()
        import timm
        self.torch, self.device = torch, "cpu" if ON_CPU else "cuda"
        torch.set_num_threads(flags.cores or len(os.sched_getaffinity(0)))
        network = timm.create_model("inception_v4", pretrained=False, num_classes=CLASSES)
        theirs = lambda x: torch.tensor(np.asarray(x).transpose(3, 2, 0, 1) if x.ndim == 4 else x.T)
        tensors = {import_timm.timm_name(path.split("/")): theirs(x)
                   for tree in (state.params, state.stats) for path, x in flatten(tree).items()}
        missing, unused = network.load_state_dict(tensors, strict=False)
        assert not unused and all(name.endswith("num_batches_tracked") for name in missing), (missing, unused)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.forward = self.network if ON_CPU else torch.compile(self.network)
        self.images = torch.tensor(images / np.float32(127.5) - 1).permute(0, 3, 1, 2)
        self.images = self.images.to(self.device, memory_format=torch.channels_last)
        self.labels = torch.tensor(labels).long().to(self.device)
        self.optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True,
                                         weight_decay=DECAY)

    def logits(self):
        with self.torch.autocast(self.device, self.torch.bfloat16, enabled=not ON_CPU):
            return self.forward(self.images).float()

    def step(self):
        """Take a step; the loss."""
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.torch.nn.functional.cross_entropy(self.logits(), self.labels, label_smoothing=SMOOTHING)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def predict(self):
        """The mean of the logits."""
        self.network.eval()
        with self.torch.inference_mode():
            return self.logits().mean().item()


def timed(work):
    """(seconds by the clock, processor seconds of all cores)."""
    time.sleep(0.3)  # PyTorch's idle threads spin on for 0.2 s
    start, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - used


def main():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (flags.batch, flags.size, flags.size, 3), np.uint8)
    labels = rng.integers(0, CLASSES, flags.batch).astype(np.int32)
    split = data.Split(images, labels)
    config = experiment(flags.batch, flags.size)
    ours = Ours(config, data.Dataset("random", tuple(map(str, range(CLASSES))), {"train": split, "validation": split}))
    networks = {"ls_jax": ours}
    try:
        networks["timm"] = Theirs(jax.device_get(sweep.take(ours.run.layout.join(ours.states), 0)), images, labels)
    except ModuleNotFoundError as error:
        print(f"timm is left out: {error}")
    works = {"inference": "predict", "training": "step"}
    said = {name: {work: getattr(network, method)() for work, method in works.items()}
            for name, network in networks.items()}
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {len(os.sched_getaffinity(0))} cores, batch "
          f"{flags.batch}, {flags.size} x {flags.size}; mean logit and first loss: {said}", flush=True)
    # Batch norm makes much of the little that tells pictures of noise apart, and of rounding too.
    assert all(np.ptp([of[work] for of in said.values()]) < 0.02 for work in works), "the networks differ"
    times = {(work, name): [] for work in works for name in networks}
    for _ in range(flags.repetitions):
        for (work, name), found in times.items():
            found.append(timed(getattr(networks[name], works[work])))
    print(f"load {os.getloadavg()[0]:.1f}, median of {flags.repetitions} in turns\n"
          "|work|network|pictures a second|a second of a core|TFLOP/s|\n|---|---|---|---|---|")
    flops = ours.operations() / 1e12
    for (work, name), found in times.items():
        wall, used = (flags.batch / statistics.median(column) for column in zip(*found))
        done = wall * flops * (3 if work == "training" else 1)
        share = f", {100 * done / flags.peak:.0f} % of the peak" if flags.peak else ""
        print(f"|{work}|{name}|{wall:.2f}|{used:.2f}|{done:.3f}{share}|")
    for work in works if "timm" in networks else ():
        ratios = [statistics.median(column) for column in zip(*(np.divide(theirs, own) for own, theirs in zip(
            times[work, "ls_jax"], times[work, "timm"])))]
        print(f"{work}: ls_jax / timm {ratios[0]:.2f} by the clock, {ratios[1]:.2f} by processor time")
    if flags.tfds:
        config = experiment(flags.batch, flags.size)
        config.data.update(dir=flags.tfds, augment="inception")
        config.steps = flags.repetitions + 1
        share = Ours(config, data.load(config.data)).waiting()
        print(f"of {flags.repetitions} steps' time {100 * share:.2f} % was spent waiting for pictures")


if __name__ == "__main__":
    main()
