"""What training and evaluation steps need on TPU pods, by the TPU compiler, as the table in results/topologies.md.

    PYTHONPATH=. python benchmarks/topologies.py [--config=configs/imagenet_inception.py]
    [--topologies=v5e:16x16,v4:4x4x4]
        [--step=train|evaluate] [--out=FILE.md]

Needs libtpu (pip install -e '.[tpu]') and no TPU. A row takes many minutes of processor time, with
JAX_EXEC_TIME_OPTIMIZATION_EFFORT=-1 in the environment a few, and is added to the file when it is done.
"""
import argparse
import importlib.metadata
import os
import pathlib

os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402

from ls_jax import config as configs  # noqa: E402
from ls_jax.modes import compile as compiler  # noqa: E402
from ls_jax.training import loop  # noqa: E402

ALL = "v5e:16x16,v4:4x4x4,v3:8x8,v6e:16x16,v5p:8x8x8"
HEADER = """# What the steps need on TPU pods

No TPU was used: `benchmarks/topologies.py` lets the TPU compiler compile the programs that a run uses, for a machine
that is not there, and reads off them what they need. libtpu {libtpu}, jax {jax}.

All numbers but images/s are of one device, which is a chip, of v3 half of one. *Memory* is the program's at its
largest, with the state, beside the device's. *TFLOP* and *traffic* are the compiled program's. *Communication* is all
that there is, with the size of what is summed: gradients, statistics of batch norm, the metrics' sums. *Estimate* is
the compiler's time for all operations but those, mostly all-reduces, that it says it cannot estimate (it counts each as
-1 s). *Roofline* is the longer of arithmetic at the data sheet's bfloat16 peak and memory traffic at its bandwidth.
Images/s, of all members of the sweep together, and the share of the peak follow from the longer of the two. Time to
communicate is in none of them, nor is anything here measured. *Effort* 0 is what a run's programs get; at -1 the
compiler is done in a fraction of the time, and its program has the same FLOPs and communication, but other memory and
traffic.

|step|topology|effort|devices, member x data|batch, a device's|memory, GiB|TFLOP|traffic, GiB|communication, MiB|\
estimate, ms|roofline, ms|images/s|of peak|
|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def row(name, config, topology, step):
    devices, chip = compiler.devices_of(topology)
    this = loop.setup(config, compiler.stand_in(config), devices)
    shape = this.layout.mesh.shape
    if step == "train":
        program, examples = compiler.compile_train(this), config.batch_size * this.layout.width
    else:
        program, examples = compiler.compile_predict(this), compiler.evaluated(this)
    effort, batch = jax.config.jax_exec_time_optimization_effort, examples // this.layout.width
    start = (f"|{name}, {step}|{topology}|{effort:g}|{len(devices)}, {shape['member']} x {shape['data']}|"
             f"{batch:,}, {examples // this.layout.mesh.size:,}|")
    if program.memory is None:
        return f"{start}does not fit: {program.refusal}|" + "|" * 7 + "\n"
    seconds = max(program.estimate or 0, program.roofline(chip))
    fits = "" if program.memory <= chip.memory else ", does not fit"
    moved = ", ".join(f"{count} {kind}s: {size / 2**20:.1f}"
                      for kind, (count, size) in sorted(program.collectives.items())) or "none"
    without = f", without {program.unknown}" if program.unknown else ""
    estimate = f"{1e3 * program.estimate:.1f}{without}" if program.estimate else "none"
    of = " tokens" if compiler.unit(this) == "tokens" else ""
    amounts = (f"{program.memory / 2**30:.2f} of {chip.memory / 2**30:.0f}{fits}|{program.flops / 1e12:.3f}|"
               f"{program.bytes / 2**30:.1f}")
    speed = f"{examples / seconds:,.0f}{of}|{program.flops / seconds / chip.flops:.0%}"
    return f"{start}{amounts}|{moved}|{estimate}|{1e3 * program.roofline(chip):.1f}|{speed}|\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/imagenet_inception.py")
    parser.add_argument("--topologies", default=ALL)
    parser.add_argument("--step", default="train", choices=("train", "evaluate"))
    parser.add_argument("--out", default="results/topologies.md", type=pathlib.Path)
    arguments = parser.parse_args()
    path, _, variant = arguments.config.partition(":")
    if not arguments.out.exists():
        arguments.out.write_text(
            HEADER.format(**{name: importlib.metadata.version(name) for name in ("libtpu", "jax")}))
    for topology in arguments.topologies.split(","):
        line = row(pathlib.Path(arguments.config).stem + (variant and f":{variant}"), configs.load(path, variant),
                   topology, arguments.step)
        with open(arguments.out, "a") as out:
            out.write(line)


if __name__ == "__main__":
    main()
