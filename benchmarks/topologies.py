"""What the training step of the ImageNet config needs on TPU pods, by the TPU compiler, as a table for the README.

    JAX_PLATFORMS=cpu PYTHONPATH=. python benchmarks/topologies.py [--topologies v5e:16x16,v4:4x4x4] [--out FILE.md]

Needs libtpu (pip install -e '.[tpu]') and no TPU. A row is written when it is done: each takes minutes. "Estimate" is the compiler's;
the roofline is the longer of arithmetic at the data sheet's peak and memory traffic at its bandwidth, without communication. Both members
of the sweep (α = 0 and 0.1) are trained at once, each on half of the devices.
"""
import argparse
import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"

from ls_jax import compile as compiler  # noqa: E402
from ls_jax import config as configs  # noqa: E402
from ls_jax import train  # noqa: E402

ALL = "v3:8x8,v4:4x4x4,v5e:16x16,v6e:16x16,v5p:8x8x8"
HEADER = ("|topology|devices|memory a device, GiB|TFLOP|traffic, GiB|collectives, MiB|estimate, ms|roofline, ms|images/s|of peak|\n"
          "|---|---|---|---|---|---|---|---|---|---|\n")


def row(config, topology):
    devices, chip = compiler.devices_of(topology)
    this = train.setup(config, compiler.stand_in(config), devices)
    program = compiler.compile_train(this)
    if program.memory is None:
        return f"|{topology}|{len(devices)}|does not fit: {program.refusal}|||||||\n"
    seconds = program.estimate or program.roofline(chip)
    moved = ", ".join(f"{count} {kind}s of {size / 2**20:.1f}" for kind, (count, size) in sorted(program.collectives.items()))
    estimate = "none" if program.estimate is None else f"{1e3 * program.estimate:.1f}"
    fits = "" if program.memory <= chip.memory else ", does not fit"
    return (f"|{topology}|{len(devices)}|{program.memory / 2**30:.2f} of {chip.memory / 2**30:.0f}{fits}|{program.flops / 1e12:.2f}|"
            f"{program.bytes / 2**30:.1f}|{moved}|{estimate}|{1e3 * program.roofline(chip):.1f}|"
            f"{config.batch_size * this.layout.width / seconds:,.0f}|{program.flops / seconds / chip.flops:.0%}|\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topologies", default=ALL)
    parser.add_argument("--config", default="configs/imagenet_inception.py")
    parser.add_argument("--out", default=None)
    arguments = parser.parse_args()
    path, _, variant = arguments.config.partition(":")
    with open(arguments.out, "a") if arguments.out else sys.stdout as out:
        out.write(HEADER)
        for topology in arguments.topologies.split(","):
            out.write(row(configs.load(path, variant), topology))
            out.flush()


if __name__ == "__main__":
    main()
