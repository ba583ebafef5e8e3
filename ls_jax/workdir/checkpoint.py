"""The checkpoints of a run: written asynchronously, complete or absent, and restored on any mesh or none.

Orbax (`CheckpointManager`, its v0 interface) writes the directories `checkpoints/STEP`. Each gets this name when it is
complete; `checkpoint_format` describes its content. This file decides when a checkpoint is written, which ones are
kept, and that a damaged one is replaced by the one before.
"""
import itertools
import os
import pathlib
import sys
from typing import Any

import jax
from jax.experimental import multihost_utils

from ls_jax.errors import UserError
from ls_jax.workdir import checkpoint_format as disk


class Checkpoints:
    """The checkpoints of one run. Every process makes the same calls. A `with` block waits for its last save.

    Args:
        workdir: the run's directory. The first save makes its folder `checkpoints/`.
        keep: the number of latest checkpoints to keep.
        keep_every: also keep those whose step is a multiple of this; None: no others.
    """

    def __init__(self, workdir: str | pathlib.Path, keep: int = 3, keep_every: int | None = None):
        self.directory = pathlib.Path(workdir).absolute() / "checkpoints"
        self._keep, self._keep_every = keep, keep_every
        self._manager: Any = None
        self._pending: int | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            self.close()
        except UserError:
            if kind is None:  # else the error that ends the block is the more important one
                raise

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in ascending order."""
        if not self.directory.is_dir():
            return []
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdecimal())

    def save(self, step: int, state: Any, metadata: dict[str, Any] | None = None) -> None:
        """Wait for the previous save, and start writing a checkpoint. A step that has a checkpoint keeps it.

        On return the checksums and the copies to the host are done, so the state may be donated. (On a CPU the copies
        are views, and JAX does not reuse a donated buffer while a view of it exists.)

        Args:
            step: steps taken.
            state: pytree of arrays [M, ...] of any sharding.
            metadata: JSON values, which a restore returns.

        Raises:
            UserError: this save, or the previous one, failed. Its threads may still run, so the run should end.
        """
        self.wait()
        leaves = disk.flatten(state)
        content = disk.seal(step, leaves, metadata or {})
        full = disk.nest({name: leaf for name, leaf in leaves.items() if leaf.size})  # Orbax refuses empty arrays
        args = disk.orbax().args
        self._pending = step
        try:
            manager = self._open()
            if step in manager.all_steps():
                self._pending = None
            else:
                manager.save(step, force=True, args=args.Composite(
                    state=args.PyTreeSave(full), metadata=args.JsonSave(content)))
        except Exception as error:
            raise self._failure(error) from error

    def wait(self) -> None:
        """Wait until the last save is on the disk.

        Raises:
            UserError: it failed.
        """
        if self._pending is not None:
            try:
                self._manager.wait_until_finished()
            except Exception as error:
                raise self._failure(error) from error
            self._pending = None

    def close(self) -> None:
        """Wait for the last save, and end the writer's threads.

        Raises:
            UserError: the last save failed.
        """
        self.wait()
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def restore_latest(self, abstract: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Restore the newest good checkpoint onto the mesh of `abstract`, whichever mesh wrote it.

        Newer checkpoints that are damaged are reported on stderr, a line each, and renamed to `STEP.damaged`, or
        `STEP.damaged-2`, ... if that name is taken.

        Args:
            abstract: pytree like the state, of `jax.ShapeDtypeStruct(shape, dtype, sharding=...)`.

        Returns:
            (step, state, metadata), or None if there is no checkpoint.

        Raises:
            UserError: the checkpoint is of another model or sweep, or all are damaged.
        """
        self.close()
        damaged: list[int] = []
        for step in reversed(self.steps()):
            try:
                state, metadata = disk.restore(self.directory / str(step), abstract)
            except disk.Damaged as reason:
                self._report(step, reason)
                damaged.append(step)
                continue
            self._set_aside(damaged)
            return step, state, metadata
        if damaged:
            raise self._none_good()
        return None

    def restore(self, step: int, abstract: Any) -> Any | None:
        """Restore the state of one step as `restore_latest` does; None, and a line on stderr, if it is damaged.

        Raises:
            UserError: it is of another model or sweep.
        """
        self.wait()
        try:
            return disk.restore(self.directory / str(step), abstract)[0]
        except disk.Damaged as reason:
            self._report(step, reason)
            return None

    def load(self, step: int | None = None) -> tuple[int, dict[Any, Any], dict[str, Any]]:
        """Read a checkpoint without a mesh: the newest good one, or the one of a step.

        Returns:
            (step, nested dict of NumPy arrays [M, ...], metadata). Keys that are numbers become ints.

        Raises:
            UserError: there is no such checkpoint, or it is damaged.
        """
        self.wait()
        steps = self.steps()
        if not steps or step not in (None, *steps):
            wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            raise UserError(f"{wanted} in {self.directory} (steps there: {steps}): train first, or name one of these")
        for candidate in reversed(steps) if step is None else [step]:
            try:
                state, metadata = disk.load(self.directory / str(candidate))
                return candidate, state, metadata
            except disk.Damaged as reason:
                self._report(candidate, reason)
        raise self._none_good()

    def _open(self) -> Any:
        """Orbax's manager. It finds the checkpoints in the directory, and removes half-written ones of a killed run."""
        if self._manager is None:
            ocp = disk.orbax()
            kept = [ocp.checkpoint_managers.LatestN(self._keep)]
            if self._keep_every:
                kept.append(ocp.checkpoint_managers.EveryNSteps(self._keep_every))
            options = ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(kept), cleanup_tmp_directories=True)
            self._manager = ocp.CheckpointManager(self.directory, handler_registry=disk.writers(), options=options)
        return self._manager

    def _failure(self, error: Exception) -> UserError:
        step, self._pending, self._manager = self._pending, None, None
        good = [other for other in self.steps() if other != step]
        resume = f"to resume from step {good[-1]}" if good else "from the start"
        return UserError(f"cannot write checkpoint {step} in {self.directory}: {disk.line(error)}; "
                         f"make room or choose another --workdir, and run again, {resume}")

    def _report(self, step: int, reason: disk.Damaged) -> None:
        if jax.process_index() == 0:
            print(f"checkpoint {step} in {self.directory} is not used: {reason}", file=sys.stderr, flush=True)

    def _set_aside(self, damaged: list[int]) -> None:
        """Rename damaged checkpoints: else they count among the latest ones to keep, and their step cannot be saved."""
        if damaged and jax.process_index() == 0:
            for step in damaged:
                (self.directory / str(step)).rename(self._free_name(f"{step}.damaged"))
        if damaged and jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints set aside")

    def _free_name(self, name: str) -> pathlib.Path:
        """`name` in the directory, or `name-2`, ... if a checkpoint of the same step was damaged before."""
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        return next(path for path in map(self.directory.joinpath, names) if not os.path.lexists(path))

    def _none_good(self) -> UserError:
        return UserError(f"no good checkpoint in {self.directory}: remove it to start over, or use another --workdir")


def load_member(workdir: str | pathlib.Path, member: int, step: int | None = None) -> dict[Any, Any]:
    """The state of one member of a run's sweep: a nested dict of NumPy arrays, without the member axis.

    Raises:
        UserError: there is no such checkpoint or member, or it is damaged.
    """
    checkpoints = Checkpoints(workdir)
    _, state, _ = checkpoints.load(step)
    members = len(jax.tree.leaves(state)[0])
    if not 0 <= member < members:
        raise UserError(f"no member {member} in {checkpoints.directory}: choose one of 0 to {members - 1}")
    return jax.tree.map(lambda x: x[member], state)
