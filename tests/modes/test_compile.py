"""Compiling for machines that are not here: what is read off a program, and what is refused."""
import importlib.util
import os
import subprocess
import sys
import types

import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax.devices import mesh as meshes
from ls_jax.errors import UserError
from ls_jax.modes import compile as compiler
from ls_jax.training import loop

CHIP = compiler.CHIPS["v5e"]
DATA_SHEETS = {  # of a chip: GiB of HBM, bfloat16 TFLOP/s, GB/s of HBM, and how many devices of JAX's it is
    "v2": (16, 46, 700, 2), "v3": (32, 123, 900, 2), "v4": (32, 275, 1228, 1), "v5e": (16, 197, 819, 1),
               "v5p": (95, 459, 2765, 1),
    "v6e": (32, 918, 1640, 1)}


def test_chips_are_those_of_the_data_sheets():
    assert {name: (chip.memory / 2**30, chip.flops / 1e12, chip.bandwidth / 1e9)
            for name, chip in compiler.CHIPS.items()} == {
        name: tuple(number / devices for number in numbers) for name, (*numbers, devices) in DATA_SHEETS.items()}


def test_data_sets_that_need_not_be_here_are_as_published():
    assert {name: (side and f"{side[0]}x{side[1]}x{side[2]}", f"{classes:,}", f"{examples:,}")
            for name, (side, classes, examples) in compiler.KNOWN.items()} == {
        "mnist": ("28x28x1", "10", "60,000"), "fashion_mnist": ("28x28x1", "10", "60,000"),
        "cifar10": ("32x32x3", "10", "50,000"),
        "cifar100": ("32x32x3", "100", "50,000"), "imagenet2012": (None, "1,000", "1,281,167")}
    assert compiler.KNOWN_TEXT == {"wmt14_translate/de-en": 4_508_785}


def test_collectives_are_counted_with_their_bytes():
    program = """
      %all-reduce.1 = f32[10,4]{1,0} all-reduce(f32[10,4]{1,0} %a), replica_groups={}
      ROOT %r = (bf16[8]{0}, s32[]) all-reduce-start(%b, %c), to_apply=%sum
      %done = (bf16[8]{0}, s32[]) all-reduce-done(%r)
      %g = u8[3,5]{1,0} all-gather(u8[1,5]{1,0} %d), dimensions={0}
      %m = f32[2]{0} multiply(%x, %all-reduce.1)
    """
    assert compiler.collectives(program) == {"all-reduce": (2, 160 + 16 + 4), "all-gather": (1, 15)}


def test_the_roofline_is_the_longer_of_arithmetic_and_traffic():
    assert compiler.Program(0, flops=CHIP.flops, bytes=CHIP.bandwidth / 2).roofline(CHIP) == 1
    assert compiler.Program(0, flops=CHIP.flops, bytes=CHIP.bandwidth * 3).roofline(CHIP) == 3


def test_the_sentence_says_whether_it_fits_and_how_fast_it_is():
    program = compiler.Program(2**30, flops=CHIP.flops / 4, bytes=CHIP.bandwidth, estimate=0.5,
                               collectives={"all-reduce": (3, 2**20)})
    text = compiler.sentence(program, CHIP, examples=100)
    assert "1.00 GiB of memory of 16 GiB a device (fits)" in text and "3 all-reduces of 1.00 MiB" in text
    assert "compiler's estimate: 500.00 ms, 200 images/s, 50% of peak" in text
    assert "roofline: 1000.00 ms, 100 images/s, 25% of peak" in text
    large = compiler.Program(17 * 2**30, flops=1.0)
    assert "(does not fit)" in compiler.sentence(large, CHIP, 1)
    assert compiler.sentence(compiler.Program(None, "20.1G of 15.75G"), CHIP,
                             1) == "does not fit: 20.1G of 15.75G of memory"


def test_steps_over_eight_devices_communicate_by_all_reduces_alone(tiny, capsys):
    """And their memory grows with the batch."""
    tiny.sweep.alpha = (0.1,)
    tiny.model = dict(name="resnet", blocks=1, widths=(4,), stem=4)
    compiler.run(tiny, "cpu:8")
    out = capsys.readouterr().out
    assert "cpu:8: 8 devices as 1 x 8 (member x data), batch 16, float32, a sweep of 1 in 1 slots" in out
    trained, evaluation = (line for line in out.splitlines() if "step:" in line)
    assert "all-reduces" in trained and "gather" not in out and "permute" not in out
    assert "no collectives" in evaluation


def test_a_batch_that_does_not_fit_is_halved_until_it_does(tiny, monkeypatch):
    tiny.batch_size = 64
    monkeypatch.setattr(compiler, "compile_train", lambda run: compiler.Program(
        2**30 if run.config.batch_size <= 16 else None, "2G of 1G"))
    text = compiler.nearest(tiny, compiler.stand_in(tiny), compiler.devices_of("cpu:2")[0])
    assert text == "a batch of 16 fits, in 1.00 GiB; so may 64 in parts: --config.micro_batches=4"


def test_known_data_need_not_be_there():
    config = configs.load("configs/imagenet_inception.py")
    dataset = compiler.stand_in(config)
    assert len(dataset.splits["train"]) == 1_281_167 and dataset.splits["train"].image_shape == (299, 299, 3)
    config = configs.load("configs/cifar10_resnet56.py")
    assert compiler.stand_in(config).splits["train"].images.shape == (40_000, 32, 32, 3)


def test_translations_need_not_be_there():
    config = configs.load("configs/wmt_transformer.py", "smoke")
    this = loop.setup(config, compiler.stand_in(config), compiler.devices_of("cpu:2")[0])
    assert compiler.unit(this) == "tokens"
    assert compiler.evaluated(this) == 64 * this.evaluator.batch_size * this.layout.width
    given, (tokens, labels) = compiler._given(this, meshes.STEPS, np.zeros((2, 1, this.batch), np.int32))
    assert given.shape == (2, 1, 4) and tokens.source.shape == labels.shape == (2_113_492, 64)


def test_an_estimate_leaves_out_what_the_compiler_cannot_estimate():
    """It counts each such operation as -1 s."""
    memory = dict.fromkeys(("argument", "output", "alias", "temp", "generated_code"), 10)
    compiled = types.SimpleNamespace(
        memory_analysis=lambda: types.SimpleNamespace(**{f"{name}_size_in_bytes": size
                                                         for name, size in memory.items()}),
        cost_analysis=lambda: {"flops": 1.0, "optimal_seconds": -2.75}, as_text=str)
    lowered = types.SimpleNamespace(compile=lambda: compiled)
    program = compiler._compiled(types.SimpleNamespace(lower=lambda: lowered))
    assert (program.estimate, program.unknown, program.memory) == (0.25, 3, 30)
    assert "estimate (without 3 operations that it cannot estimate): 250.00 ms" in compiler.sentence(program, CHIP, 1)


def test_a_cpu_of_any_number_of_devices():
    """In a process of its own, since the number is fixed when JAX starts."""
    command = [sys.executable, "-m", "ls_jax.main", "--mode=compile", "--config=configs/digits_mlp.py:smoke",
               "--topology=cpu:3", "--config.batch_size=6"]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert out.startswith("cpu:3: 3 devices as 1 x 3 (member x data), batch 6") and "MFLOP" in out and "KiB" in out


@pytest.mark.parametrize("amount, in_bytes, in_flops", [
    (0, "0 B", "0 FLOP"), (999, "999 B", "999 FLOP"), (1023.7, "1.00 KiB", "1.02 kFLOP"),
    (1536, "1.50 KiB", "1.54 kFLOP"), (102_400, "100 KiB", "102 kFLOP"), (5.5 * 2**30, "5.50 GiB", "5.91 GFLOP")])
def test_amounts_are_told_in_units_that_fit(amount, in_bytes, in_flops):
    assert (compiler.in_bytes(amount), compiler.in_flops(amount)) == (in_bytes, in_flops)


@pytest.mark.parametrize("topology,message", [
    ("v9:2x2", "unknown: name v2, v3"), ("cpu:99", "name a number of devices.*there are 8"),
    ("cpu:x", "name a number of devices"),
    ("cpu:0", "name a number of devices")])
def test_unknown_topologies_are_refused(topology, message):
    with pytest.raises(UserError, match=message):
        compiler.devices_of(topology)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="compiles for TPUs: pip install -e '.[tpu]'")
def test_a_tpu_program_communicates_by_all_reduces_alone(tiny, capsys):
    tiny.sweep.alpha = (0.0, 0.1)
    tiny.model = dict(name="resnet", blocks=1, widths=(8,), stem=8)
    tiny.dtype = "bfloat16"
    compiler.run(tiny, "v5e:4x4")
    out = capsys.readouterr().out
    assert "v5e:4x4: 16 devices as 2 x 8" in out and "(fits)" in out and "all-reduces" in out
    assert not any(kind in out for kind in compiler.COLLECTIVES if kind != "all-reduce")
