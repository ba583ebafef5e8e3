"""A training that is killed at random, again and again, compared to the last bit with one that is left alone.

    python scripts/soak.py runs/soak --steps=200000 --save=20000 --wait=60          # for hours, one process
    python scripts/soak.py runs/preempted --steps=4000 --save=200 --processes=1,2,4 --kills=20

Each start takes one of the numbers of processes and a mesh of as many devices or more; they share the sweep's members.
At a random time of the training one process gets SIGKILL or SIGTERM. The others must end by themselves, and the next
start goes on from the last checkpoint. After so many kills, or any number without --kills, the training runs to its
end. Ends with status 0 if both trainings left equal states, else 1.
"""
import argparse
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEVICES = (1, 2, 4)  # that divide the sweep's four members
EXPERIMENT = ("--mode=train", "--config=configs/digits_mlp.py", "--config.batch_size=8", "--config.log.every=50",
              "--config.sweep.alpha=(0.0, 0.1)", "--config.sweep.seed=(0, 1)", "--config.model.hidden=(32,)",
              "--config.log.writers=()")
ALLOWED = {0, 75, -signal.SIGKILL, 128 + signal.SIGTERM}  # finished, another was lost, killed, stopped after saving
PATIENCE = 300  # seconds in which the others must end when one has


def start(workdir: pathlib.Path, flags: argparse.Namespace, processes: int, devices: int) -> list[subprocess.Popen]:
    """The processes of one start, each with its share of the devices."""
    command = [sys.executable, "-m", "ls_jax", *EXPERIMENT, f"--config.steps={flags.steps}",
               f"--config.checkpoint.every={flags.save}", f"--config.evaluate.every={flags.save}",
               f"--config.mesh.member={devices}", f"--workdir={workdir.resolve()}"]
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            command += [f"--coordinator=localhost:{probe.getsockname()[1]}", f"--processes={processes}"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices // processes),
                   "PYTHONPATH": str(ROOT)}
    with (workdir.parent / f"{workdir.name}.log").open("w") as log:
        return [subprocess.Popen(command + ([f"--process={index}"] if processes > 1 else []), cwd=ROOT,
                                 env=environment, stdout=log, stderr=log) for index in range(processes)]


def training(workdir: pathlib.Path) -> bool:
    """Whether the latest start has taken a step. Before that the others would wait for a lost process for minutes."""
    return "step " in (workdir.parent / f"{workdir.name}.log").read_text()


def wait(running: list[subprocess.Popen], until: Callable[[], bool]) -> None:
    """Until this holds, or a process has ended."""
    while all(each.poll() is None for each in running) and not until():
        time.sleep(0.05)


def end(running: list[subprocess.Popen]) -> list[int]:
    """The exit statuses. Once a process has ended, the others have `PATIENCE` to do so."""
    wait(running, lambda: False)
    deadline = time.monotonic() + PATIENCE
    try:
        return [each.wait(max(1.0, deadline - time.monotonic())) for each in running]
    except subprocess.TimeoutExpired:
        sys.exit(f"a process did not end within {PATIENCE} seconds of the loss of another")
    finally:
        for each in running:
            each.kill()


def trained(workdir: pathlib.Path) -> int:
    """The step of the last checkpoint."""
    from ls_jax.workdir.checkpoint import Checkpoints
    return max(Checkpoints(workdir).steps(), default=0)


def same(a: pathlib.Path, b: pathlib.Path) -> bool:
    """Whether the last checkpoints are of the same step and equal to the last bit."""
    import jax
    import numpy as np

    from ls_jax.workdir.checkpoint import Checkpoints
    (step, state, _), (other, others, _) = (Checkpoints(workdir).load() for workdir in (a, b))
    return step == other and all(jax.tree.leaves(jax.tree.map(
        lambda x, y: np.asarray(x).tobytes() == np.asarray(y).tobytes(), state, others)))


def attempt(workdir: pathlib.Path, flags: argparse.Namespace, chance: random.Random, may_kill: bool) -> str:
    """One start, which is killed at a random time if it may be; what happened, or "" if nobody had to be killed."""
    processes = chance.choice(flags.processes)
    devices = chance.choice([count for count in DEVICES if count % processes == 0])
    how, seconds = chance.choice((signal.SIGKILL, signal.SIGTERM)), chance.uniform(0, flags.wait)
    running = start(workdir, flags, processes, devices)
    wait(running, lambda: training(workdir))
    deadline = time.monotonic() + seconds
    wait(running, lambda: time.monotonic() > deadline)
    killed = may_kill and all(each.poll() is None for each in running)
    if killed:
        chance.choice(running).send_signal(how)
    statuses = end(running)
    if not {*statuses} <= ALLOWED:
        sys.exit(f"a process ended with one of {sorted({*statuses} - ALLOWED)}: see {workdir}.log")
    return f"{processes} processes, {devices} devices, {how.name}: {statuses}" if killed else ""


def arguments() -> argparse.Namespace:
    """The command's arguments, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="a new one; gets alone/, killed/ and their logs")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--save", type=int, required=True, help="steps between two checkpoints")
    parser.add_argument("--wait", type=float, default=20.0, help="most seconds from a start's first step to a kill")
    parser.add_argument("--kills", type=int, help="as many as this, then none; without it, until the end")
    parser.add_argument("--processes", type=lambda text: [int(part) for part in text.split(",")], default=[1],
                        help=f"numbers of {', '.join(map(str, DEVICES))}, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    if not {*flags.processes} <= {*DEVICES}:
        parser.error(f"--processes may hold {', '.join(map(str, DEVICES))}")
    if flags.folder.exists():
        parser.error(f"{flags.folder} exists: name a new folder, or remove it")
    return flags


def main() -> None:
    """Run the command."""
    flags = arguments()
    flags.folder.mkdir(parents=True)
    alone, killed = flags.folder / "alone", flags.folder / "killed"
    chance, kills, began = random.Random(flags.seed), 0, time.monotonic()
    if any(end(start(alone, flags, 1, 1))):
        sys.exit(f"the training that is left alone failed: see {alone}.log")
    print(f"left alone: {time.monotonic() - began:.0f} s", flush=True)
    while trained(killed) < flags.steps:
        happened = attempt(killed, flags, chance, flags.kills is None or kills < flags.kills)
        kills += bool(happened)
        print(f"{time.monotonic() - began:5.0f} s  {happened or 'to its end'}, step {trained(killed)} of {flags.steps}",
              flush=True)
    if not same(alone, killed):
        sys.exit(f"after {kills} kills the states differ: {alone}, {killed}")
    print(f"after {kills} kills in {(time.monotonic() - began) / 60:.0f} minutes the states are equal to the last bit")


if __name__ == "__main__":
    main()
