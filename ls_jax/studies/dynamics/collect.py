"""Training dynamics: reads the checkpoints of `config.checkpoint.keep_every` one after another and measures them."""
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Int, Integer

from ls_jax import models
from ls_jax.data import Pictures, Split, memory, order
from ls_jax.devices import mesh as meshes
from ls_jax.devices.layout import over_mesh
from ls_jax.studies import representation
from ls_jax.studies.common.records import Record
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.information import records as information_records
from ls_jax.studies.representation import records as representation_records
from ls_jax.training import evaluate, rng, sweep
from ls_jax.training.loop import Run
from ls_jax.training.state import State
from ls_jax.workdir import files
from ls_jax.workdir.checkpoint import Checkpoints


def collect(studied: Studied) -> list[Record]:
    """Records of information and representation at each checkpoint; none for students or without checkpoints.

    Information is measured only with augmentation, since it is about augmented views. The draws are saved in
    course/STEP.npz.
    """
    this, kept = studied.run, studied.kept
    config, split = this.config, this.dataset.splits["train"]
    if config.distill or not config.checkpoint.keep_every:
        return []
    pair = information_records.pair(config, this.dataset)
    ids, labels = candidates(pair, split, config.information.examples // 2)
    chosen = examples_of(pair, labels, config.information.examples)
    chosen, labels = ids[chosen], labels[chosen]
    arrays = memory.place(split, this.layout.mesh)
    views = Views(this, pair) if config.data.augment != "none" and len(chosen) > 2 else None
    rows, names = [studied.rows[member] for member in kept], [this.dataset.class_names[k] for k in pair]
    measured: dict[int, dict[int, dict[str, float]]] = {}
    records = []
    for step, states in checkpoints(this, studied.workdir):
        measured[step] = _representation(this, states, arrays, kept)
        if views is not None:
            draws = views(states, chosen, arrays, config.information.views + 1)[kept]
            if studied.primary:
                _save(studied.outputs, step, draws, chosen, labels)
                records += information_records.run(draws, labels, rows, step, config.information.draws)
    return [record.having(classes=names)
            for record in records] + representation_records.of_checkpoints(measured, studied.rows)


def checkpoints(this: Run, workdir: pathlib.Path) -> Iterator[tuple[int, list[State]]]:
    """(step, states as slots) of the initial networks, made anew from the seeds, and of each readable checkpoint."""
    yield 0, over_mesh(this.step.init, this.layout, (meshes.MEMBER,), meshes.MEMBER)(this.hypers())
    held = Checkpoints(workdir)
    for step in held.steps():
        if step % this.config.checkpoint.keep_every == 0 or step == this.config.steps:
            state = held.restore(step, this.abstract_state())
            if state is not None:
                yield step, this.layout.split(state)


def candidates(pair: tuple[int, int], split: Split | Pictures,
               count: int) -> tuple[Int[np.ndarray, " candidates"], Int[np.ndarray, " candidates"]]:
    """Ids and labels of the training examples; of streamed pictures, of `count` examples of each class."""
    if isinstance(split, Pictures):
        ids = split.find(pair, count)
        return ids, split.labels_of(ids)
    return np.arange(len(split), dtype=np.int32), split.labels


def examples_of(pair: tuple[int, int], labels: Integer[np.ndarray, " examples"],
                count: int) -> Int[np.ndarray, " chosen"]:
    """Ids of `count` examples, half of each class and evenly spaced; fewer if a class has too few examples."""
    of_class = [np.flatnonzero(labels == k) for k in pair]
    each = min(count // 2, *map(len, of_class))
    return np.sort(np.concatenate([ids[evaluate.evenly_spaced(len(ids), each)] for ids in of_class])).astype(np.int32)


class Views:
    """The compiled program for the difference of two classes' logits over augmented views of examples.

    A view's random key is a function of (seed, "information", view, example id), so members with the same seed see the
    same views at all checkpoints.
    """

    def __init__(self, this: Run, pair: tuple[int, int]):
        self.layout, self.batch_size = this.layout, this.evaluator.batch_size

        def one(state, hyper, view, ids, arrays):
            batch = memory.gather(arrays, ids)
            keys = rng.per_example(rng.key(hyper["seed"], "information", view), batch.ids)
            logits = this.step.view(state, batch, keys).logits
            return logits[:, pair[0]] - logits[:, pair[1]]

        def several(state, hyper, views, ids, arrays):  # a loop, so that one batch is in memory at a time
            def each(item):
                return one(state, hyper, *item, arrays)

            first = jax.tree.map(lambda x: x[0], (views, ids))
            return each(first)[None] if len(views) == 1 else lax.map(each, (views, ids))

        self._program = over_mesh(several, this.layout,
                                  (meshes.MEMBER, meshes.MEMBER, meshes.SHARED, meshes.BLOCKS, meshes.SHARED),
                                  meshes.STEPS)
        self._hypers = this.hypers()

    def __call__(self, states: list[Any], index: Int[np.ndarray, " examples"], arrays: Any,
                 views: int) -> Float[np.ndarray, "members examples views"]:
        """The logit difference of the examples `index` in views 0 to `views` - 1.

        There is one call per slot; on a CPU one per batch, since XLA:CPU runs convolutions in loops slowly.
        """
        shards = self.layout.mesh.shape["data"]
        batches = list(order.padded(len(index), min(self.batch_size, -(-len(index) // shards) * shards)))
        items = [(view, index[rows]) for view in range(views) for rows, _ in batches]
        per_call = 1 if jax.default_backend() == "cpu" else len(items)
        parts = [self._draw(states, items[start:start + per_call], arrays) for start in range(0, len(items), per_call)]
        drawn = np.concatenate(parts, axis=1)  # [members, views x batches, batch]
        drawn = drawn.reshape(len(drawn), views, -1)[:, :, np.concatenate([mask for _, mask in batches])]
        return np.moveaxis(drawn, 1, 2)

    def _draw(self, states, items, arrays):
        views, ids = (np.stack(column) for column in zip(*items))
        placed = (meshes.put(self.layout.mesh, meshes.SHARED, jnp.int32(views)),
                  meshes.put(self.layout.mesh, meshes.BLOCKS, memory.given(arrays, ids)))
        return meshes.fetch(self.layout.join(self._program(states, self._hypers, *placed, arrays)))


def _representation(this, states, arrays, members):
    """{member: measures} on the training examples that are also predicted after training."""
    index = evaluate.chosen(this.config, "train", this.dataset.splits["train"])
    heads = meshes.fetch(
        this.layout.join([models.head(state.ema if this.config.optimizer.ema else state.params) for state in states]))
    found = {}
    for member, predicted in this.evaluator.predict(states, arrays, index):
        if member in members and meshes.is_primary():
            found[member] = representation.measure_all({**predicted._asdict(), **sweep.take(heads, member)})
    return found


def _save(workdir, step, draws, index, labels):
    path = workdir / "course" / f"{step}.npz"
    path.parent.mkdir(exist_ok=True)
    with files.replacing(path) as unfinished:
        np.savez(unfinished, draws=draws, index=index, labels=labels)
