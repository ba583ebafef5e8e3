"""`--mode=compile --topology=v5e:16x16`: what a config's training and evaluation steps need on a machine that is not here.

The programs are those that a run uses, compiled by the accelerator's own compiler: for TPUs libtpu, which pip installs anywhere
(`pip install -e '.[tpu]'`), for `cpu:N` this machine's. Numbers per chip are of published data sheets; time is the compiler's estimate,
where it makes one, beside a roofline: the longer of arithmetic at the chip's peak and of memory traffic at its bandwidth. Neither knows
what communication costs.

The TPU compiler takes many minutes of processor time for a large network, nearly all of it to schedule each operation's instructions: it
grows with the operations that differ, hardly with the batch or the devices. JAX_EXEC_TIME_OPTIMIZATION_EFFORT=-1 in the environment lets
it take a sixth of that, for a program that a run would not use: of the same FLOPs and collectives, more memory and less traffic.
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
from ls_jax.training import loop as train


@dataclasses.dataclass(frozen=True)
class Chip:
    """A data sheet: one device of JAX's, which is a core of v2 and v3 and a whole chip of the others."""
    memory: float     # bytes of HBM
    flops: float      # bfloat16 operations a second
    bandwidth: float  # bytes of HBM a second


CHIPS = {  # cloud.google.com/tpu/docs/system-architecture-tpu-vm
    "v2": Chip(8 * 2**30, 23e12, 350e9), "v3": Chip(16 * 2**30, 61.5e12, 450e9), "v4": Chip(32 * 2**30, 275e12, 1228e9),
    "v5e": Chip(16 * 2**30, 197e12, 819e9), "v5p": Chip(95 * 2**30, 459e12, 2765e9), "v6e": Chip(32 * 2**30, 918e12, 1640e9),
}
# Data sets whose pictures' shape, classes and training examples are known without having them.
KNOWN = {"mnist": ((28, 28, 1), 10, 60_000), "fashion_mnist": ((28, 28, 1), 10, 60_000), "cifar10": ((32, 32, 3), 10, 50_000),
         "cifar100": ((32, 32, 3), 100, 50_000), "imagenet2012": (None, 1_000, 1_281_167)}
# Of translations the training pairs; in a row lie about as many as have PIECES tokens each.
KNOWN_TEXT = {"wmt14_translate/de-en": 4_508_785}
PIECES = 30
HELD_OUT = 10_000  # examples of a held-out split that is only stood in for
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Program:
    """One compiled program, for one slot of members; amounts are per device."""
    memory: int | None                        # bytes at its largest; None: it does not fit, and `refusal` says by how much
    refusal: str = ""
    flops: float = 0.0
    bytes: float = 0.0
    estimate: float | None = None             # seconds, the compiler's, of all operations but the `unknown`
    unknown: int = 0
    collectives: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # by kind: how many, bytes

    def roofline(self, chip: Chip) -> float:
        """Seconds."""
        return max(self.flops / chip.flops, self.bytes / chip.bandwidth)


def run(config: ml_collections.ConfigDict, topology: str) -> None:
    """Compile the steps and print what they need; where the training step does not fit, also the nearest batch whose does.

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
    this = train.setup(config, dataset, devices)
    shape = dict(this.layout.mesh.shape)
    yield (f"{topology}: {len(devices)} devices as {shape['member']} x {shape['data']} (member x data), batch {config.batch_size:,}, "
           f"{config.dtype}, a sweep of {this.layout.members} in {this.layout.slots} slots")
    trained = compile_train(this)
    yield "training step: " + sentence(trained, chip, config.batch_size * this.layout.width, unit(this))
    if trained.memory is None:
        yield nearest(config, dataset, devices)
    yield "evaluation step: " + sentence(compile_predict(this), chip, evaluated(this), unit(this))


def unit(this: train.Run) -> str:
    """What a step's examples are counted in; of text tokens of the target, padding included."""
    return "tokens" if isinstance(this.dataset.splits["train"], TextSplit) else "images"


def evaluated(this: train.Run) -> int:
    """How many of the `unit` one evaluation step of a slot handles."""
    of_row = this.dataset.splits["train"].labels.shape[1] if unit(this) == "tokens" else 1
    return this.evaluator.batch_size * this.layout.width * of_row


def devices_of(topology: str) -> tuple[list[Any], Chip | None]:
    """The devices that a topology's name stands for, and their data sheet; none for a CPU.

    Raises:
        UserError: libtpu is not installed, or does not know it.
    """
    kind, _, size = topology.partition(":")
    if kind == "cpu":
        if not size.isdecimal() or int(size) > jax.device_count():
            raise UserError(f"--topology={topology}: there are {jax.device_count()} CPU devices; JAX_NUM_CPU_DEVICES sets them")
        return jax.devices()[:int(size)], None
    if kind not in CHIPS:
        raise UserError(f"--topology={topology!r} is unknown: name {', '.join(CHIPS)} or cpu, then its size, as in v5e:16x16 or cpu:8")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no TPU here to be asked,
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # or to be kept from other processes
    from jax.experimental import topologies
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices), CHIPS[kind]
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--topology={topology} cannot be compiled for ({reason}): pip install -e '.[tpu]', and name one that libtpu "
                        "knows, such as v5e:16x16, v4:4x4x4 or v5p:8x8x8") from error


def stand_in(config: ml_collections.ConfigDict) -> Dataset:
    """The data set's shapes without its contents, where they are known; else the data set."""
    zeros = lambda kind, *shape: np.broadcast_to(kind(0), shape)  # that take no memory
    if config.data.name in KNOWN_TEXT:
        rows = lambda count: zeros(np.int32, count * PIECES // config.data.row_length, config.data.row_length)
        nothing = lambda count: TextSplit(Tokens(*[rows(count)] * len(Tokens._fields)), rows(count))
        return Dataset(config.data.name, tuple(map(str, range(config.data.vocabulary))),
                       {"train": nothing(KNOWN_TEXT[config.data.name]), config.evaluate.split: nothing(HELD_OUT)})
    if config.data.name not in KNOWN:
        return data.load(config.data)
    shape, classes, examples = KNOWN[config.data.name]
    count, size = config.data.train_examples or examples - config.data.holdout, config.data.image_size
    if shape is None and size is None:
        raise UserError(f"{config.data.name} has pictures of many sizes: set data.image_size")
    nothing = lambda count: (Pictures(None, size, config.data.crop, zeros(np.int32, count)) if size else
                             Split(zeros(np.uint8, count, *shape), zeros(np.int32, count)))
    splits = {"train": nothing(count), config.evaluate.split: nothing(HELD_OUT)}
    return Dataset(config.data.name, tuple(map(str, range(classes))), splits)


def compile_train(this: train.Run) -> Program:
    """One training step of one slot."""
    program, _ = train.training_programs(this)
    ids = np.zeros((this.layout.width, 1, this.batch), np.int32)
    return _compiled(lambda: program.lower(slot(this, this.abstract_state()), slot(this, this.hyper), *_given(this, meshes.STEPS, ids)))


def compile_predict(this: train.Run) -> Program:
    """The evaluation of one batch for one slot."""
    ids = np.zeros(this.evaluator.batch_size, np.int32)
    return _compiled(lambda: this.evaluator.prediction.lower(slot(this, this.abstract_state()), *_given(this, meshes.ROWS, ids)))


def slot(this: train.Run, tree: Any) -> Any:
    """Shapes of one slot [W, ...] of a tree [M, ...]."""
    sharding = jax.sharding.NamedSharding(this.layout.mesh, meshes.MEMBER)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((this.layout.width, *x.shape[1:]), x.dtype, sharding=sharding), tree)


def _given(this, spec, ids):
    """Shapes of what a program is given of a batch, and of the arrays that it gathers from."""
    split = this.dataset.splits["train"]
    abstract = lambda spec, shape, dtype: jax.ShapeDtypeStruct(shape, dtype, sharding=jax.sharding.NamedSharding(this.layout.mesh, spec))
    if isinstance(split, Pictures):
        return Batch(abstract(spec, (*ids.shape, *split.image_shape), jnp.uint8), *[abstract(spec, ids.shape, jnp.int32)] * 2), (split,)
    held = jax.tree.map(lambda x: abstract(meshes.SHARED, x.shape, x.dtype), (split.inputs, split.labels))
    return abstract(spec, ids.shape, jnp.int32), held


def _compiled(lower):
    try:
        compiled = lower().compile()
    except jax.errors.JaxRuntimeError as error:
        text = " ".join(str(error).split())
        if "RESOURCE_EXHAUSTED" not in text:
            raise
        used = re.search(r"Used ([\d.]+\w) of ([\d.]+\w)", text)
        return Program(None, f"{used[1]} of {used[2]}" if used else text[:200])
    used, cost = compiled.memory_analysis(), compiled.cost_analysis()
    seconds = cost.get("optimal_seconds")
    unknown = max(0, math.ceil(-seconds)) if seconds is not None else 0  # each of them counts as -1 s
    return Program(
        used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes + used.temp_size_in_bytes
        + used.generated_code_size_in_bytes, "", cost.get("flops", 0.0), cost.get("bytes accessed", 0.0),
        seconds and seconds + unknown, unknown, collectives(compiled.as_text()))


def collectives(program: str) -> dict[str, tuple[int, int]]:
    """By kind, how many collectives a compiled program has, and the bytes of their results per device."""
    found: dict[str, tuple[int, int]] = {}
    for result, kind in re.findall(rf"= (.*?) ({'|'.join(COLLECTIVES)})(?:-start)?\(", program):
        count, size = found.get(kind, (0, 0))
        found[kind] = count + 1, size + sum(_bytes(*array) for array in re.findall(r"\b([a-z]+\d+|pred)\[([\d,]*)\]", result))
    return found


def _bytes(dtype, shape):
    bits = int(re.sub(r"\D", "", dtype) or 8)
    return int(np.prod([int(size) for size in shape.split(",") if size], dtype=np.int64)) * bits // 8


def sentence(program: Program, chip: Chip | None, examples: int, of: str = "images") -> str:
    """All that is known of a program that handles so many examples."""
    if program.memory is None:
        return f"does not fit: {program.refusal} of memory"
    words = [f"{program.memory / 2**30:.2f} GiB of memory"]
    if chip is not None:
        fits = program.memory <= chip.memory
        words[0] += f" of {chip.memory / 2**30:.0f} GiB a device ({'fits' if fits else 'does not fit'})"
    words.append(f"{program.flops / 1e12:.3f} TFLOP and {program.bytes / 2**30:.2f} GiB of traffic a device")
    words.append(", ".join(f"{count} {kind}s of {size / 2**20:.2f} MiB" for kind, (count, size) in sorted(program.collectives.items()))
                 or "no collectives")
    if chip is not None:
        without = f" (without {program.unknown} operations that it cannot estimate)" if program.unknown else ""
        for name, seconds in (("compiler's estimate" + without, program.estimate), ("roofline", program.roofline(chip))):
            words.append(f"{name}: none" if not seconds else
                         f"{name}: {1e3 * seconds:.2f} ms, {examples / seconds:,.0f} {of}/s, "
                         f"{program.flops / seconds / chip.flops:.0%} of peak")
    return "; ".join(words)


def nearest(config: ml_collections.ConfigDict, dataset: Dataset, devices: list[Any]) -> str:
    """The largest half, quarter, ... of the batch that fits."""
    smaller = config.copy_and_resolve_references()
    while smaller.batch_size % 2 == 0:
        smaller.batch_size //= 2
        try:
            program = compile_train(train.setup(smaller, dataset, devices))
        except UserError:  # fewer examples than devices
            break
        if program.memory is not None:
            parts = config.batch_size // smaller.batch_size
            return (f"a batch of {smaller.batch_size:,} fits, in {program.memory / 2**30:.2f} GiB; so may {config.batch_size:,} in parts: "
                    f"--config.micro_batches={parts}")
    return "no half, quarter, ... of the batch fits either"
