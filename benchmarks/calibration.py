"""Calibration measures on 50,000 × 1,000 float32 logits beside torchmetrics (from logits) and netcal (from
probabilities).

    PYTHONPATH=. python -m benchmarks.calibration [--repetitions 7] [--examples 50000] [--classes 1000]

Every repetition runs each function once, in turns, so a machine's other load falls on all of them. The memory column
is the peak beyond the input while it runs, as the kernel counts it.
"""
import argparse
import statistics
import threading
import time

import numpy as np

from ls_jax.studies import calibration
from ls_jax.studies.calibration import scores

try:
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error
except ImportError:
    torch = None
try:
    from netcal.metrics import ECE
except ImportError:
    ECE = None


def data(examples, classes):
    """Over-confident logits by a factor of 1.7, and labels drawn from what they were before."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((examples, classes), np.float32) * 3
    labels = np.empty(examples, np.int64)
    for start in range(0, examples, 1000):
        block = logits[start:start + 1000]
        labels[start:start + 1000] = np.argmax(block + rng.gumbel(size=block.shape), axis=-1)  # a draw from the softmax
    logits *= np.float32(1.7)
    return logits, labels


def ours(logits, labels):
    error = lambda **options: calibration.expected_calibration_error(logits, labels, **options)
    return {
        "ECE, equal width": error,
        "ECE, equal mass": lambda: error(scheme="equal_mass"),
        "ECE, classwise": lambda: error(scheme="classwise"),
        "ECE, debiased, 1,000-draw interval": lambda: error(debiased=True, interval=0.95),
        "temperature": lambda: calibration.fit_temperature(logits, labels),
        "smooth ECE": lambda: calibration.smooth_calibration_error(logits, labels),
        "Brier split": lambda: scores.brier_split(logits, labels),
        "reading the array once": lambda: float(logits.max()),
    }


def peers(logits, labels):
    found = {}
    if torch is not None:
        inputs = torch.from_numpy(logits), torch.from_numpy(labels)
        found["torchmetrics, from logits"] = lambda: multiclass_calibration_error(*inputs, logits.shape[1], n_bins=15)
    if ECE is not None:
        probabilities = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
        found["netcal, from probabilities"] = lambda: ECE(15).measure(probabilities, labels)
    return found


def resident():
    """Bytes that this process has in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def peak(function):
    """MiB beyond what was in memory before, sampled every millisecond."""
    before, highest, done = resident(), 0, threading.Event()

    def watch():
        nonlocal highest
        while not done.wait(0.001):
            highest = max(highest, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    function()
    done.set()
    watcher.join()
    return max(0, highest - before) / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    flags = parser.parse_args()
    if torch is not None:
        torch.set_num_threads(flags.threads)
    logits, labels = data(flags.examples, flags.classes)
    functions = {**ours(logits, labels), **peers(logits, labels)}
    memory = {name: peak(function) for name, function in functions.items()}
    seconds = {name: [] for name in functions}
    for _ in range(flags.repetitions):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    base = middle["ECE, equal width"]
    print(f"{flags.examples:,} × {flags.classes:,} float32, {flags.repetitions} interleaved repetitions\n"
          f"{'':36s}{'median s':>10s}{'minimum s':>11s}{'/ ECE':>8s}{'peak MiB':>10s}")
    for name, value in middle.items():
        print(f"{name:36s}{value:10.3f}{min(seconds[name]):11.3f}{value / base:8.1f}{memory[name]:10.0f}")
    together = sum(value for name, value in list(middle.items())[:5])
    print(f"{'the first five together':36s}{together:10.3f}")


if __name__ == "__main__":
    main()
