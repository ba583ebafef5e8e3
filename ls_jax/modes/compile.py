"""`--mode=compile --topology=v5e:16x16`: ahead-of-time compilation for a machine that you do not have.

It compiles a config's training and evaluation steps, as a run has them, with the accelerator's own compiler, and prints
their memory, operations and time. For TPUs the compiler is libtpu, which pip installs anywhere (`pip install -e
'.[tpu]'`); for `cpu:N` it is this machine's. The numbers of a chip are from published data sheets. Time is the
compiler's estimate, if it makes one, beside a roofline: the larger of the arithmetic at the chip's peak and the memory
traffic at its bandwidth. Neither includes communication.

The TPU compiler takes many minutes of processor time for a large network, mostly to schedule the instructions of each
operation. The time grows with the number of different operations, hardly with the batch or the devices.
JAX_EXEC_TIME_OPTIMIZATION_EFFORT=-1 in the environment reduces it to a sixth. The program is then not the one of a run:
it has the same FLOPs and collectives, more memory and less traffic.
"""
import dataclasses
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from ls_jax import config as configs
from ls_jax import data
from ls_jax.data import Dataset, Pictures, Split, TextSplit
from ls_jax.data.batch import Batch
from ls_jax.data.text.tokens import Tokens
from ls_jax.devices import mesh as meshes
from ls_jax.errors import UserError
from ls_jax.training import loop


@dataclasses.dataclass(frozen=True)
class Chip:
    """The data sheet of one JAX device: a core of v2 and v3, a whole chip of the others."""
    memory: float     # bytes of HBM
    flops: float      # bfloat16 operations a second
    bandwidth: float  # bytes of HBM a second


CHIPS = {  # cloud.google.com/tpu/docs/system-architecture-tpu-vm
    "v2": Chip(8 * 2**30, 23e12, 350e9),
    "v3": Chip(16 * 2**30, 61.5e12, 450e9),
    "v4": Chip(32 * 2**30, 275e12, 1228e9),
    "v5e": Chip(16 * 2**30, 197e12, 819e9),
    "v5p": Chip(95 * 2**30, 459e12, 2765e9),
    "v6e": Chip(32 * 2**30, 918e12, 1640e9),
}
# (image shape, classes, training examples) of data sets that need not be there. None: images of many sizes.
KNOWN = {
    "mnist": ((28, 28, 1), 10, 60_000),
    "fashion_mnist": ((28, 28, 1), 10, 60_000),
    "cifar10": ((32, 32, 3), 10, 50_000),
    "cifar100": ((32, 32, 3), 100, 50_000),
    "imagenet2012": (None, 1_000, 1_281_167),
}
KNOWN_TEXT = {"wmt14_translate/de-en": 4_508_785}  # training pairs
PIECES = 30        # tokens of an average sentence, for the number of rows
HELD_OUT = 10_000  # examples of the stand-in for a held-out split
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Program:
    """One compiled program, for one slot of members; amounts are per device."""
    memory: int | None                        # peak bytes; None: it does not fit, and `refusal` says by how much
    refusal: str = ""
    flops: float = 0.0
    bytes: float = 0.0
    estimate: float | None = None             # seconds, by the compiler, of all but the `unknown` operations
    unknown: int = 0                          # operations that the compiler does not estimate
    collectives: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # by kind: count, bytes

    def roofline(self, chip: Chip) -> float:
        """The roofline in seconds."""
        return max(self.flops / chip.flops, self.bytes / chip.bandwidth)


def run(config: ml_collections.ConfigDict, topology: str) -> None:
    """Compile the steps and print what they need. If the training step does not fit, also print the nearest batch that
    does.

    Raises:
        UserError: the topology or the config is wrong.
    """
    configs.validate(config)
    devices, chip = devices_of(topology)
    for line in report(config, topology, devices, chip):
        print(line, flush=True)


def report(config: ml_collections.ConfigDict, topology: str, devices: list[Any], chip: Chip | None) -> Iterator[str]:
    """The lines of `run`."""
    dataset = stand_in(config)
    run = loop.setup(config, dataset, devices)
    shape = dict(run.layout.mesh.shape)
    yield (f"{topology}: {len(devices)} devices as {shape['member']} x {shape['data']} (member x data), batch "
           f"{config.batch_size:,}, {config.dtype}, a sweep of {run.layout.num_members} in {run.layout.slots} slots")
    trained = compile_train(run)
    yield "training step: " + sentence(trained, chip, config.batch_size * run.layout.width, unit(run))
    if trained.memory is None:
        yield nearest(config, dataset, devices)
    yield "evaluation step: " + sentence(compile_predict(run), chip, evaluated(run), unit(run))


def unit(run: loop.Run) -> str:
    """What the examples are counted in: "images", or for text "tokens" of the target, padding included."""
    return "tokens" if isinstance(run.dataset.splits["train"], TextSplit) else "images"


def evaluated(run: loop.Run) -> int:
    """How many images or tokens one evaluation step of a slot processes."""
    per_example = run.dataset.splits["train"].labels.shape[1] if unit(run) == "tokens" else 1
    return run.evaluator.batch_size * run.layout.width * per_example


def lay_out(topology: str) -> None:
    """Give this process the devices of a topology such as cpu:8, before JAX starts; do nothing for others."""
    kind, _, size = topology.partition(":")
    if kind == "cpu" and size.isdecimal() and int(size) > 0:
        jax.config.update("jax_num_cpu_devices", int(size))


def devices_of(topology: str) -> tuple[list[Any], Chip | None]:
    """The devices of a topology such as "v5e:16x16" or "cpu:8", and their data sheet; None for a CPU.

    Raises:
        UserError: libtpu is not installed, or does not know the topology.
    """
    kind, _, size = topology.partition(":")
    if kind == "cpu":
        if not size.isdecimal() or not 0 < int(size) <= jax.device_count():
            raise UserError(f"--topology={topology}: name a number of devices, as in cpu:8 (there are "
                            f"{jax.device_count()})")
        return jax.devices()[:int(size)], None
    if kind not in CHIPS:
        raise UserError(f"--topology={topology!r} is unknown: name {', '.join(CHIPS)} or cpu, then its size, as in "
                        "v5e:16x16 or cpu:8")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no TPU here to query
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # nor to lock against other processes
    from jax.experimental import topologies
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices), CHIPS[kind]
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--topology={topology} cannot be compiled for ({reason}): pip install -e '.[tpu]', and name "
                        "one that libtpu knows, such as v5e:16x16, v4:4x4x4 or v5p:8x8x8") from error


def stand_in(config: ml_collections.ConfigDict) -> Dataset:
    """A data set with the right shapes and no content, if they are known; else the data set itself.

    Raises:
        UserError: the size of the images must be set; or as `data.load`.
    """
    name, split = config.data.name, config.evaluate.split
    if name in KNOWN_TEXT:
        splits = {"train": _empty_text(config, KNOWN_TEXT[name]), split: _empty_text(config, HELD_OUT)}
        return Dataset(name, tuple(map(str, range(config.data.vocabulary))), splits)
    if name not in KNOWN:
        return data.load(config.data)
    shape, classes, examples = KNOWN[name]
    if shape is None and config.data.image_size is None:
        raise UserError(f"{name} has images of many sizes: set data.image_size")
    count = config.data.train_examples or examples - config.data.holdout
    splits = {"train": _empty_images(config, shape, count), split: _empty_images(config, shape, HELD_OUT)}
    return Dataset(name, tuple(map(str, range(classes))), splits)


def _empty_text(config, pairs):
    length = config.data.row_length
    rows = _zeros(np.int32, pairs * PIECES // length, length)
    return TextSplit(Tokens(*[rows] * len(Tokens._fields)), rows)


def _empty_images(config, shape, count):
    if config.data.image_size:
        return Pictures(None, config.data.image_size, config.data.crop, _zeros(np.int32, count))
    return Split(_zeros(np.uint8, count, *shape), _zeros(np.int32, count))


def _zeros(dtype, *shape):
    """Zeros that take no memory."""
    return np.broadcast_to(dtype(0), shape)


def compile_train(run: loop.Run) -> Program:
    """One training step of one slot."""
    program, _ = loop.training_programs(run)
    ids = np.zeros((run.layout.width, 1, run.batch), np.int32)
    return _compiled(program, slot(run, run.abstract_state()), slot(run, run.hyper), *_given(run, meshes.STEPS, ids))


def compile_predict(run: loop.Run) -> Program:
    """The evaluation of one batch for one slot."""
    ids = np.zeros(run.evaluator.batch_size, np.int32)
    return _compiled(run.evaluator.prediction, slot(run, run.abstract_state()), *_given(run, meshes.ROWS, ids))


def slot(run: loop.Run, tree: Any) -> Any:
    """The shapes of one slot [W, ...] of a tree [M, ...]."""
    return jax.tree.map(lambda x: _abstract(run, meshes.MEMBER, (run.layout.width, *x.shape[1:]), x.dtype), tree)


def _abstract(run, spec, shape, dtype):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=jax.sharding.NamedSharding(run.layout.mesh, spec))


def _given(run, spec, ids):
    """The shapes of a program's input for a batch, and of the arrays that it gathers from."""
    split = run.dataset.splits["train"]
    each = _abstract(run, spec, ids.shape, jnp.int32)
    if isinstance(split, Pictures):
        return Batch(_abstract(run, spec, (*ids.shape, *split.image_shape), jnp.uint8), each, each), (split,)
    arrays = (split.inputs, split.labels)
    return each, jax.tree.map(lambda x: _abstract(run, meshes.SHARED, x.shape, x.dtype), arrays)


def _compiled(program, *arguments):
    try:
        compiled = program.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        text = " ".join(str(error).split())
        if "RESOURCE_EXHAUSTED" not in text:
            raise
        used = re.search(r"Used ([\d.]+\w) of ([\d.]+\w)", text)
        return Program(None, f"{used[1]} of {used[2]}" if used else text[:200])
    used, cost = compiled.memory_analysis(), compiled.cost_analysis()
    seconds = cost.get("optimal_seconds")
    unknown = max(0, math.ceil(-seconds)) if seconds is not None else 0  # each such operation counts as -1 s
    return Program(
        used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes + used.temp_size_in_bytes
        + used.generated_code_size_in_bytes, "", cost.get("flops", 0.0), cost.get("bytes accessed", 0.0),
        seconds and seconds + unknown, unknown, collectives(compiled.as_text()))


def collectives(program: str) -> dict[str, tuple[int, int]]:
    """{kind: (number of collectives in a compiled program, bytes of their results per device)}."""
    found: dict[str, tuple[int, int]] = {}
    for result, kind in re.findall(rf"= (.*?) ({'|'.join(COLLECTIVES)})(?:-start)?\(", program):
        count, size = found.get(kind, (0, 0))
        arrays = re.findall(r"\b([a-z]+\d+|pred)\[([\d,]*)\]", result)
        found[kind] = count + 1, size + sum(_bytes(*array) for array in arrays)
    return found


def _bytes(dtype, shape):
    bits = int(re.sub(r"\D", "", dtype) or 8)
    return int(np.prod([int(size) for size in shape.split(",") if size], dtype=np.int64)) * bits // 8


def in_bytes(size: float) -> str:
    """An amount of memory in the largest unit of which it has one: "3.20 MiB"."""
    return _in_unit(size, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def in_flops(count: float) -> str:
    """A number of operations in the largest unit of which it has one: "1.45 GFLOP"."""
    return _in_unit(count, 1000, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"))


def _in_unit(amount, base, units):
    """Three digits: also what would be rounded up to a thousand of a unit is told in the next."""
    for unit in units[:-1]:
        if amount < base - 0.5:
            return f"{amount:.0f} {unit}" if unit == units[0] else f"{_three(amount)} {unit}"
        amount /= base
    return f"{_three(amount)} {units[-1]}"


def _three(amount):
    return f"{amount:.{max(0, 2 - max(0, len(str(int(amount))) - 1))}f}"


def sentence(program: Program, chip: Chip | None, examples: int, of: str = "images") -> str:
    """What is known of a program that processes `examples` images or tokens, as one line."""
    if program.memory is None:
        return f"does not fit: {program.refusal} of memory"
    words = [f"{in_bytes(program.memory)} of memory"]
    if chip is not None:
        fits = program.memory <= chip.memory
        words[0] += f" of {chip.memory / 2**30:.0f} GiB a device ({'fits' if fits else 'does not fit'})"
    words.append(f"{in_flops(program.flops)} and {in_bytes(program.bytes)} of traffic a device")
    counted = [f"{count} {kind}{'s' if count > 1 else ''} of {in_bytes(size)}"
               for kind, (count, size) in sorted(program.collectives.items())]
    words.append(", ".join(counted) or "no collectives")
    if chip is not None:
        without = f" (without {program.unknown} operations that it cannot estimate)" if program.unknown else ""
        estimates = {f"compiler's estimate{without}": program.estimate, "roofline": program.roofline(chip)}
        for name, seconds in estimates.items():
            words.append(f"{name}: none" if not seconds else
                         f"{name}: {1e3 * seconds:.2f} ms, {examples / seconds:,.0f} {of}/s, "
                         f"{program.flops / seconds / chip.flops:.0%} of peak")
    return "; ".join(words)


def nearest(config: ml_collections.ConfigDict, dataset: Dataset, devices: list[Any]) -> str:
    """A line with the largest half, quarter, ... of the batch that fits."""
    smaller = config.copy_and_resolve_references()
    while smaller.batch_size % 2 == 0:
        smaller.batch_size //= 2
        try:
            program = compile_train(loop.setup(smaller, dataset, devices))
        except UserError:  # fewer examples than devices
            break
        if program.memory is not None:
            parts = config.batch_size // smaller.batch_size
            return (f"a batch of {smaller.batch_size:,} fits, in {in_bytes(program.memory)}; so may "
                    f"{config.batch_size:,} in parts: --config.micro_batches={parts}")
    return "no half, quarter, ... of the batch fits either"
