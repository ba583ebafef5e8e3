"""The training loop: restore, step, log, evaluate, save. The mathematics of a step is in `ls_jax.training.step`."""
import contextlib
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Int

from ls_jax import models, signals
from ls_jax.data import Dataset, feed, memory
from ls_jax.data.pictures import augment
from ls_jax.devices import mesh, processes
from ls_jax.devices.layout import Layout, SweepProgram, over_mesh
from ls_jax.errors import UserError
from ls_jax.training import metrics, optim, students, sweep
from ls_jax.training.evaluate import Evaluator, evenly_spaced
from ls_jax.training.state import Hyper, State
from ls_jax.training.step import Step, StepInput, build_step
from ls_jax.training.teachers import Teaching
from ls_jax.workdir import log
from ls_jax.workdir.checkpoint import Checkpoints

MEASURED = 5_000  # training pictures


@dataclasses.dataclass(frozen=True)
class Run:
    """What stays the same during a run: the sweep, its layout over the devices, and its programs."""
    config: ml_collections.ConfigDict
    dataset: Dataset
    layout: Layout
    hyper: Hyper
    step: Step
    evaluator: Evaluator
    teaching: Teaching = Teaching()

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The settings of each member as plain values, as `sweep.members` gives them."""
        return sweep.members(self.config)

    @functools.cached_property
    def partners(self) -> list[int | None]:
        """For each member the index of its baseline, or None; see `sweep.baselines`."""
        return sweep.baselines(self.config)

    @property
    def examples(self) -> int:
        """Examples in the training split."""
        return len(self.dataset.splits["train"])

    @property
    def batch(self) -> int:
        """Examples in a training step; for text, rows of tokens."""
        return self.dataset.splits["train"].rows(self.config.batch_size)

    @property
    def seen(self) -> tuple[float, str]:
        """(count, unit) of what a member sees in a step: images, or for text target tokens without padding."""
        text, size = self.dataset.text, self.config.batch_size
        return (size * text.facts["train"]["no padding"]["target"], "tokens") if text else (size, "images")

    def hypers(self) -> list[Hyper]:
        """The hyper-parameters on the devices, as slots."""
        return self.layout.split(mesh.put(self.layout.mesh, mesh.MEMBER, self.hyper))

    def abstract_state(self) -> State:
        """Shapes, dtypes and shardings of the sweep's state [M, ...], for restoring a checkpoint."""
        member = jax.eval_shape(self.step.init, sweep.take(self.hyper, 0))
        sharding = jax.sharding.NamedSharding(self.layout.mesh, mesh.MEMBER)

        def of_all_members(x):
            return jax.ShapeDtypeStruct((self.layout.num_members, *x.shape), x.dtype, sharding=sharding)

        return jax.tree.map(of_all_members, member)


def setup(config: ml_collections.ConfigDict, dataset: Dataset, devices: list[jax.Device] | None = None) -> Run:
    """The run of a config, with its sweep laid out over `devices` (None: all devices).

    Raises:
        UserError: the mesh does not fit the devices, the sweep or the batch, or the model cannot take the data.
    """
    if config.evaluate.split not in dataset.splits:
        raise UserError(f"config.evaluate.split={config.evaluate.split!r}: {dataset.name} has the splits "
                        f"{', '.join(dataset.splits)}; config.data.holdout=N makes a validation split")
    hyper, split = sweep.grid(config), dataset.splits["train"]
    batch, num_members = split.rows(config.batch_size), len(hyper["seed"])
    if batch % config.micro_batches:
        raise UserError(f"config.micro_batches={config.micro_batches} does not divide the {batch} examples of a step")
    device_mesh = mesh.make(config.mesh.member, config.mesh.data, num_members, batch // config.micro_batches, devices)
    layout = Layout(device_mesh, num_members, strategy(config, device_mesh.devices.flat[0].platform))
    try:
        step = build_step(config, len(dataset.class_names), split.image_shape, mesh.reduction_axis(device_mesh))
    except (TypeError, ValueError) as error:  # the model has no such field, or cannot take such inputs
        raise UserError(f"config.model cannot be built on {dataset.name}: {error}") from error
    if optim.named_layers(config.optimizer):
        layers = jax.eval_shape(step.init, sweep.take(hyper, 0)).params
        optim.check_layers(config.optimizer, list(layers), config.model.name)
    held_out = [len(split) for name, split in dataset.splits.items() if name != "train"]
    largest = max([min(config.evaluate.train_examples, len(split)), *held_out])  # a larger batch would be padding
    return Run(config, dataset, layout, hyper, step,
               Evaluator(step, layout, min(split.rows(config.evaluate.batch_size), largest)))


def strategy(config: ml_collections.ConfigDict, platform: str) -> str:
    """How members share a device: `config.members`, or for "auto" what the model declares as fastest on the platform.

    Students with online teachers run slot by slot ("unroll"), so that slots can share a teacher's forward pass.

    Raises:
        UserError: `config.members` is not "unroll" although teachers are online.
    """
    if config.get("distill") and students.online(config):
        if config.members not in ("auto", "unroll"):
            raise UserError(f"config.members={config.members!r}: students on augmented images need 'unroll' "
                            "(or 'auto')")
        return "unroll"
    if config.members != "auto":
        return config.members
    return "vmap" if platform != "cpu" and models.vmap_members(config.model.name) else "unroll"


def steps_per_call(config: ml_collections.ConfigDict) -> int:
    """Steps per dispatch: `config.steps_per_call`, or else 1 on a CPU, where XLA's loops are slow, and 10 elsewhere."""
    return config.steps_per_call or (1 if jax.default_backend() == "cpu" else 10)


def train(run: Run, workdir: str | pathlib.Path) -> list[State]:
    """The final state as slots, after training from the workdir's last checkpoint or from the start.

    Raises:
        Interrupted: a signal arrived, and the state is saved. In a notebook, SIGINT raises a plain KeyboardInterrupt.
        UserError: a checkpoint cannot be written.
    """
    config, layout = run.config, run.layout
    checkpoints = Checkpoints(workdir, config.checkpoint.keep, config.checkpoint.keep_every)
    step, states = restore_or_init(run, checkpoints)
    hypers, arrays = run.hypers(), memory.place(run.dataset.splits["train"], layout.mesh)
    train_steps, reset = training_programs(run)
    held_out, stop = HeldOut(run), False
    warning = "saving after this step; once more ends at once"
    with signals.Hold(processes.preemption(), warning, functools.partial(saved, checkpoints)) as hold:
        with checkpoints, log.Logs(workdir, run, first_step=step) as logs:  # leaving the block waits for the last save
            for count, given in batches(run, arrays, step):
                teacher_logits = run.teaching.online_logits(hypers, given, arrays, step)
                states = train_steps(states, hypers, given, arrays, teacher_logits)
                step += count
                logs.progress(step)
                if due(step, config.log.every, config.steps):
                    rows = train_rows(run, states, step)
                    logs.write(rows)
                    tell_divergence(rows, since=(step - 1) // config.log.every * config.log.every)
                    states = reset(states)
                if due(step, config.evaluate.every, config.steps):
                    logs.write(held_out.rows(states, step))
                stop = stopped(hold, step)
                if stop or due(step, config.checkpoint.every, config.steps):
                    checkpoints.save(step, layout.join(states))
                if stop:
                    break
        if stop or hold.signal:  # also after the last step: the code that follows would miss the signal
            raise hold.interruption(f"stopped at step {step} of {config.steps}; the same command goes on from there")
    return states


def saved(checkpoints: Checkpoints) -> str:
    """A message that says which checkpoint is on the disk when training ends without a save."""
    steps = checkpoints.steps()
    if not steps:
        return "nothing of the training is saved"
    return f"the same command goes on from step {steps[-1]}, the last one saved"


def stopped(hold: signals.Hold, step: int) -> bool:
    """Whether to stop after `step`; with several processes JAX's preemption service lets them agree on a step."""
    return multihost_utils.reached_preemption_sync_point(step) if jax.process_count() > 1 else bool(hold.signal)


def batches(run: Run, arrays: Any, first: int) -> Iterator[tuple[int, list[Any]]]:
    """(number of steps, their inputs as slots) for each call, from step `first` to the last."""
    return feed.training(run.layout, arrays, run.hyper["seed"], run.examples, run.batch, first, run.config.steps,
                         functools.partial(steps_to_take, run.config))


def steps_to_take(config: ml_collections.ConfigDict, step: int) -> int:
    """Steps of the next call: all, or 1 if something is due before they end, so that a run compiles two programs."""
    intervals = [config.log.every, config.evaluate.every, config.checkpoint.every, config.steps]
    room = min(every - step % every for every in intervals if every)
    per_call = steps_per_call(config)
    return per_call if per_call <= room else 1


def due(step: int, every: int, last: int) -> bool:
    """Whether `step` is a multiple of `every` (0: never) or the last step."""
    return step == last or (every > 0 and step % every == 0)


@dataclasses.dataclass(frozen=True)
class TrainSteps:
    """Several training steps in one call, over the mesh; the states are donated.

    Attributes:
        program: takes states, hyper-parameters, inputs, arrays, precomputed and online logits.
        precomputed: the teachers' logits of the whole training split, or None.
    """
    program: SweepProgram
    precomputed: Float[Array, "teachers examples classes"] | None

    def __call__(self, states: list[State], hypers: list[Hyper], given: list[Any], arrays: Any,
                 online: list[Array] | None = None) -> list[State]:
        """The states after the steps of `given`; `online` are the logits of online teachers for these steps."""
        return self.program(states, hypers, given, arrays, self.precomputed, online)

    def lower(self, state: State, hyper: dict[str, Any], given: Any, arrays: Any,
              online: Array | None = None) -> jax.stages.Lowered:
        """The lowered program of one slot."""
        return self.program.lower(state, hyper, given, arrays, self.precomputed, online)


def training_programs(run: Run) -> tuple[TrainSteps, SweepProgram]:
    """(several steps in one call, reset of the training metrics), over the mesh; both donate the state."""
    def several_steps(state, hyper, given, arrays, precomputed, online):
        def one_step(state, inputs):
            of_step, teacher_logits = inputs
            batch = memory.gather(arrays, of_step)
            if precomputed is not None:
                teacher_logits = precomputed[hyper["teacher"], batch.ids]
            return run.step.train(state, hyper, StepInput(batch, teacher_logits)), None

        if jax.tree.leaves(given)[0].shape[0] == 1:  # a scan over one step is slow on a CPU
            return one_step(state, jax.tree.map(_first, (given, online)))[0]
        return lax.scan(one_step, state, (given, online))[0]

    def reset(state):
        return dataclasses.replace(state, sums=jax.tree.map(jnp.zeros_like, state.sums))

    specs = (mesh.MEMBER, mesh.MEMBER, mesh.STEPS, mesh.SHARED, mesh.SHARED, mesh.STEPS)
    program = over_mesh(several_steps, run.layout, specs, mesh.MEMBER, donate=(0,))
    reset_program = over_mesh(reset, run.layout, (mesh.MEMBER,), mesh.MEMBER, donate=(0,))
    return TrainSteps(program, run.teaching.precomputed), reset_program


def _first(x):
    return x[0]


def restore_or_init(run: Run, checkpoints: Checkpoints) -> tuple[int, list[State]]:
    """(first step to take, state as slots), from the last readable checkpoint or else from the seeds."""
    restored = checkpoints.restore_latest(run.abstract_state()) if checkpoints.steps() else None
    if restored is not None:
        step, state, _ = restored
        return step, run.layout.split(state)
    init = over_mesh(run.step.init, run.layout, (mesh.MEMBER, mesh.SHARED), mesh.MEMBER)
    measured = mesh.put(run.layout.mesh, mesh.SHARED, statistics(run.config, run.dataset))
    return 0, init(run.hypers(), measured)


def statistics(config: ml_collections.ConfigDict, dataset: Dataset) -> dict[str, Any]:
    """The initial statistics that the network measures on training pictures (see `models.statistics`); {} for most.

    They are computed on the host from MEASURED evenly spaced images, so they depend on neither mesh nor member.
    """
    measure = models.statistics(config.model.name)
    if measure is None:
        return {}
    split = dataset.splits["train"]
    images = jnp.asarray(split.take(evenly_spaced(len(split), MEASURED)).images)
    return measure(np.asarray(augment.evaluate(images, config.data.augment, config.data.normalize)))


def place_ids(layout: Layout, ids: Int[np.ndarray, "members steps batch"]) -> list[Int[Array, "width steps batch"]]:
    """Example ids on the devices, as slots."""
    return [mesh.put(layout.mesh, mesh.STEPS, ids[members]) for members in layout.member_ids()]


def train_rows(run: Run, states: list[State], step: int) -> list[dict[str, Any]]:
    """One row of metrics.jsonl per member, over the training steps since its last row."""
    sums, diverged = mesh.fetch(run.layout.join([(state.sums, state.diverged) for state in states]))
    factor = float(optim.schedule(jnp.int32(step - 1), run.config))
    measured = means(sums)
    for member, teacher in enumerate(run.hyper.get("teacher", ())):
        if teacher < 0:  # a student without a teacher beside others that have one
            measured[member].pop("agreement", None)
    return [{"step": step, "member": member, **row, "split": "train", **measured[member],
             "rate": row["learning_rate"] * factor, "diverged": int(diverged[member])}
            for member, row in enumerate(run.rows)]


def tell_divergence(rows: list[dict[str, Any]], since: int) -> None:
    """Print a line on stderr for each member whose loss stopped being finite at step `since` or later."""
    for row in rows:
        if row["diverged"] >= since and mesh.is_primary():
            with contextlib.suppress(OSError):  # stderr may be closed
                print(f"member {row['member']} (α={row['alpha']:g}, seed {row['seed']}, learning rate "
                      f"{row['learning_rate']:g}) diverged at step {row['diverged']} and is frozen; the others go on. "
                      "A lower learning rate or clipping may help.", file=sys.stderr, flush=True)


def means(sums: metrics.Sums) -> list[dict[str, float]]:
    """`metrics.Sums.means` of each member, on the host."""
    with np.errstate(invalid="ignore"):
        columns = sums.means()
    return [{name: float(values[member]) for name, values in columns.items()} for member in range(len(sums.count))]


class HeldOut:
    """The held-out split on the devices, evaluated during training."""

    def __init__(self, run: Run):
        split = run.dataset.splits[run.config.evaluate.split]
        self.run, self.hypers = run, run.hypers()
        self.arrays = memory.place(split, run.layout.mesh)
        self.index = np.arange(len(split), dtype=np.int32)

    def rows(self, states: list[State], step: int) -> list[dict[str, Any]]:
        """One row of metrics.jsonl per member; `loss` is against smoothed targets, `nll` against the labels."""
        sums = self.run.evaluator.measure(states, self.hypers, self.arrays, self.index)
        return [{"step": step, "member": member, **row, "split": self.run.config.evaluate.split, **measured}
                for member, (row, measured) in enumerate(zip(self.run.rows, means(sums)))]
