"""The training loop, in order: restore, step, log, evaluate, save. It orchestrates; the mathematics is in `step`."""
import contextlib
import dataclasses
import functools
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import lax
from jax.experimental import multihost_utils

from ls_jax import signals
from ls_jax.data import Dataset, feed, memory
from ls_jax.devices import mesh as meshes
from ls_jax.devices import processes
from ls_jax.devices.layout import Layout, SweepProgram, over_mesh
from ls_jax.errors import UserError
from ls_jax.training import metrics, optim, students, sweep
from ls_jax.training import step as steps
from ls_jax.training.evaluate import Evaluator
from ls_jax.training.state import Hyper, State
from ls_jax.training.teachers import Teaching
from ls_jax.workdir import log
from ls_jax.workdir.checkpoint import Checkpoints


@dataclasses.dataclass(frozen=True)
class Run:
    """What is fixed for the length of a run: the sweep, where it lies, and its compiled programs."""
    config: ml_collections.ConfigDict
    dataset: Dataset
    layout: Layout
    hyper: Hyper
    step: steps.Step
    evaluator: Evaluator
    teaching: Teaching = Teaching()

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The hyper-parameters of each member, as plain numbers; of a distillation's students also how they are taught."""
        return sweep.members(self.config)

    @functools.cached_property
    def partners(self) -> list[int | None]:
        """Of each member the one that it is compared with; see `sweep.baselines`."""
        return sweep.baselines(self.config)

    @property
    def examples(self) -> int:
        """Examples in the training split."""
        return len(self.dataset.splits["train"])

    @property
    def batch(self) -> int:
        """Examples in a step; of text rows."""
        return self.dataset.splits["train"].rows(self.config.batch_size)

    @property
    def seen(self) -> tuple[float, str]:
        """What a member sees in a step: (how many, of what); of text the target's tokens without padding."""
        text, size = self.dataset.text, self.config.batch_size
        return (size * text.facts["train"]["no padding"]["target"], "tokens") if text else (size, "images")

    def hypers(self) -> list[Hyper]:
        """The hyper-parameters on the devices, as slots."""
        return self.layout.split(meshes.put(self.layout.mesh, meshes.MEMBER, self.hyper))

    def abstract_state(self) -> State:
        """Shapes, dtypes and shardings of the sweep's state [M, ...], for restoring a checkpoint."""
        member = jax.eval_shape(self.step.init, sweep.take(self.hyper, 0))
        sharding = jax.sharding.NamedSharding(self.layout.mesh, meshes.MEMBER)
        whole = lambda x: jax.ShapeDtypeStruct((self.layout.members, *x.shape), x.dtype, sharding=sharding)
        return jax.tree.map(whole, member)


def setup(config: ml_collections.ConfigDict, dataset: Dataset, devices: list[Any] | None = None) -> Run:
    """Lay the config's sweep out over the devices there are, or over these.

    Raises:
        UserError: where the mesh fits neither the devices, nor the sweep, nor the batch.
    """
    if config.evaluate.split not in dataset.splits:
        raise UserError(f"config.evaluate.split={config.evaluate.split!r}: {dataset.name} has the splits {', '.join(dataset.splits)}; "
                        "config.data.holdout=N makes a validation split")
    hyper, split = sweep.grid(config), dataset.splits["train"]
    rows = split.rows(config.batch_size)
    if rows % config.micro_batches:
        raise UserError(f"config.micro_batches={config.micro_batches} does not divide the {rows} examples of a step")
    mesh = meshes.make(config.mesh.member, config.mesh.data, len(hyper["seed"]), rows // config.micro_batches, devices)
    layout = Layout(mesh, len(hyper["seed"]), strategy(config, mesh.devices.flat[0].platform))
    try:
        step = steps.build(config, len(dataset.class_names), split.image_shape, meshes.reduction_axis(mesh))
    except (TypeError, ValueError) as error:  # a field that the model does not have, an input that it cannot take
        raise UserError(f"config.model cannot be built on {dataset.name}: {error}") from error
    return Run(config, dataset, layout, hyper, step, Evaluator(step, layout, split.rows(config.evaluate.batch_size)))


def strategy(config: ml_collections.ConfigDict, platform: str) -> str:
    """How members share a device: as asked, else what was fastest on the platform (benchmarks/train_step.py --members).

    Students whose teachers are asked at every step run slot by slot ("unroll"), so that slots can share a teacher's answer.
    """
    if config.get("distill") and students.online(config):
        if config.members not in ("auto", "unroll"):
            raise UserError(f"config.members={config.members!r}: students on augmented images need 'unroll' (or 'auto')")
        return "unroll"
    if config.members != "auto":
        return config.members
    return "vmap" if platform != "cpu" and config.model.name == "mlp" else "unroll"


def steps_per_call(config: ml_collections.ConfigDict) -> int:
    """Steps per dispatch: as asked, else 1 on a CPU, where XLA runs loops over steps slowly, and 10 elsewhere."""
    return config.steps_per_call or (1 if jax.default_backend() == "cpu" else 10)


def train(run: Run, workdir: str) -> list[State]:
    """Train, or resume what the workdir holds; returns the final state as slots.

    Raises:
        Interrupted: a signal came, and the state is saved. In a notebook, SIGINT is a plain KeyboardInterrupt.
        UserError: a checkpoint cannot be written.
    """
    config, layout = run.config, run.layout
    checkpoints = Checkpoints(workdir, config.checkpoint.keep, config.checkpoint.keep_every)
    step, states = restore_or_init(run, checkpoints)
    hypers, arrays = run.hypers(), memory.place(run.dataset.splits["train"], layout.mesh)
    train_steps, reset = training_programs(run)
    held_out, stop = HeldOut(run), False
    with signals.Hold(processes.preemption(), "saving after this step; once more ends at once", lambda: saved(checkpoints)) as hold:
        with checkpoints, log.Logs(workdir, run, first_step=step) as logs:  # its end waits for the last save
            for count, given in batches(run, arrays, step):
                states = train_steps(states, hypers, given, arrays, run.teaching.answers(hypers, given, arrays, step))
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
        if stop or hold.signal:  # also after the last step: what follows would not hear of it
            raise hold.interruption(f"stopped at step {step} of {config.steps}; the same command goes on from there")
    return states


def saved(checkpoints: Checkpoints) -> str:
    """What is on the disk, where training ends without a save."""
    steps = checkpoints.steps()
    return f"the same command goes on from step {steps[-1]}, the last one saved" if steps else "nothing of the training is saved"


def stopped(hold: signals.Hold, step: int) -> bool:
    """Whether to stop after `step`; with several processes JAX's preemption service lets them agree on a step."""
    return multihost_utils.reached_preemption_sync_point(step) if jax.process_count() > 1 else bool(hold.signal)


def batches(run: Run, arrays: Any, first: int) -> Iterator[tuple[int, list[Any]]]:
    """(steps, what they are given, as slots) from the step `first` to the last."""
    return feed.training(run.layout, arrays, run.hyper["seed"], run.examples, run.batch, first, run.config.steps,
                         lambda step: steps_to_take(run.config, step))


def steps_to_take(config: ml_collections.ConfigDict, step: int) -> int:
    """A full call's steps, or one where something is due before it would end, so that two programs serve a run."""
    intervals = [config.log.every, config.evaluate.every, config.checkpoint.every, config.steps]
    room = min(every - step % every for every in intervals if every)
    per_call = steps_per_call(config)
    return per_call if per_call <= room else 1


def due(step: int, every: int, last: int) -> bool:
    """Whether something that happens `every` so many steps, and at the end, happens now."""
    return step == last or (every > 0 and step % every == 0)


@dataclasses.dataclass(frozen=True)
class TrainSteps:
    """Several training steps in one call, over the mesh; the states are consumed."""
    program: SweepProgram
    kept: Any  # the teachers' logits of the whole training split, or None

    def __call__(self, states: list[State], hypers: list[Hyper], given: list[Any], arrays: Any,
                 asked: list[Any] | None = None) -> list[State]:
        """The states after the steps of `given`; `asked` are the logits of teachers that are asked at every step."""
        return self.program(states, hypers, given, arrays, self.kept, asked)

    def lower(self, state: State, hyper: Hyper, given: Any, arrays: Any, asked: Any = None) -> Any:
        """The lowered program of one slot."""
        return self.program.lower(state, hyper, given, arrays, self.kept, asked)


def training_programs(run: Run) -> tuple[TrainSteps, SweepProgram]:
    """(several steps in one call, reset of the running metrics), over the mesh, donating the state."""
    def several(state, hyper, given, arrays, kept, asked):
        def one(state, at):
            batch = memory.gather(arrays, at[0])
            return run.step.train(state, hyper, steps.StepInput(batch, at[1] if kept is None else kept[hyper["teacher"], batch.ids])), None

        single = jax.tree.leaves(given)[0].shape[0] == 1
        return one(state, jax.tree.map(lambda x: x[0], (given, asked)))[0] if single else lax.scan(one, state, (given, asked))[0]

    reset = lambda state: dataclasses.replace(state, sums=jax.tree.map(jnp.zeros_like, state.sums))
    specs = (meshes.MEMBER, meshes.MEMBER, meshes.STEPS, meshes.SHARED, meshes.SHARED, meshes.STEPS)
    program = over_mesh(several, run.layout, specs, meshes.MEMBER, donate=(0,))
    return TrainSteps(program, run.teaching.kept), over_mesh(reset, run.layout, (meshes.MEMBER,), meshes.MEMBER, donate=(0,))


def restore_or_init(run: Run, checkpoints: Checkpoints) -> tuple[int, list[State]]:
    """(first step to take, state as slots): from the last good checkpoint, else from the seeds."""
    restored = checkpoints.restore_latest(run.abstract_state()) if checkpoints.steps() else None
    if restored is not None:
        step, state, _ = restored
        return step, run.layout.split(state)
    init = over_mesh(run.step.init, run.layout, (meshes.MEMBER,), meshes.MEMBER)
    return 0, init(run.hypers())


def place_ids(layout: Layout, ids: np.ndarray) -> list[Any]:
    """Example ids [members, steps, batch] on the devices, as slots."""
    return [meshes.put(layout.mesh, meshes.STEPS, ids[members]) for members in layout.member_ids()]


def train_rows(run: Run, states: list[State], step: int) -> list[dict[str, Any]]:
    """A row per member on the steps since the last such row."""
    sums, diverged = meshes.fetch(run.layout.join([(state.sums, state.diverged) for state in states]))
    factor = float(optim.schedule(jnp.int32(step - 1), run.config))
    return [{"step": step, "member": member, **row, "split": "train", **measured, "rate": row["learning_rate"] * factor,
             "diverged": int(diverged[member])} for member, (row, measured) in enumerate(zip(run.rows, means(sums)))]


def tell_divergence(rows: list[dict[str, Any]], since: int) -> None:
    """A line on stderr for each member whose loss stopped being finite at step `since` or later."""
    for row in rows:
        if row["diverged"] >= since and meshes.is_primary():
            with contextlib.suppress(OSError):  # nobody reads
                print(f"member {row['member']} (α={row['alpha']:g}, seed {row['seed']}, learning rate {row['learning_rate']:g}) diverged "
                      f"at step {row['diverged']} and is frozen; the others go on. A lower learning rate or clipping may help.",
                      file=sys.stderr, flush=True)


def means(sums: metrics.Sums) -> list[dict[str, float]]:
    """{"loss", "nll", "accuracy"} of each member."""
    with np.errstate(invalid="ignore"):
        columns = sums.means()
    return [{name: float(values[member]) for name, values in columns.items()} for member in range(len(sums.count))]


class HeldOut:
    """The held-out split on the devices, measured while training goes on."""

    def __init__(self, run: Run):
        split = run.dataset.splits[run.config.evaluate.split]
        self.run, self.hypers = run, run.hypers()
        self.arrays = memory.place(split, run.layout.mesh)
        self.index = np.arange(len(split), dtype=np.int32)

    def rows(self, states: list[State], step: int) -> list[dict[str, Any]]:
        """A row per member; `loss` is against smoothed targets, `nll` against hard ones."""
        sums = self.run.evaluator.measure(states, self.hypers, self.arrays, self.index)
        return [{"step": step, "member": member, **row, "split": self.run.config.evaluate.split, **measured}
                for member, (row, measured) in enumerate(zip(self.run.rows, means(sums)))]
