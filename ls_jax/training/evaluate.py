"""A whole split through the trained members: every example once, whatever the batch size and the mesh."""
import math
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
import numpy as np
from jaxtyping import Int

from ls_jax.data import Pictures, Split, TextSplit, feed, memory
from ls_jax.devices import mesh as meshes
from ls_jax.devices.layout import Layout, over_mesh
from ls_jax.training import metrics
from ls_jax.training.step import Step
from ls_jax.workdir.predictions import Predictions

LARGE = 2 ** 28  # bytes of outputs from which on they are gathered in a file


class Evaluator:
    """The compiled evaluation programs of a run, and the loops around them.

    `index` arguments name the examples of `arrays` (see `data.memory.place`) to evaluate.
    """

    def __init__(self, step: Step, layout: Layout, batch_size: int):
        shards = layout.mesh.shape["data"]
        self.layout, self.batch_size = layout, -(-batch_size // shards) * shards

        def predict(state, ids, arrays):
            batch = memory.gather(arrays, ids)
            return step.predict(state, batch), batch.labels

        measure = lambda state, hyper, sums, ids, mask, arrays: sums + step.measure(
            state, hyper, memory.gather(arrays, ids), mask)
        self.prediction = over_mesh(predict, layout, (meshes.MEMBER, meshes.ROWS, meshes.SHARED), meshes.OUTPUTS)
        self._measure = over_mesh(measure, layout, (meshes.MEMBER, meshes.MEMBER, meshes.MEMBER, meshes.ROWS,
                                                    meshes.ROWS, meshes.SHARED), meshes.MEMBER, donate=(2,))

    def measure(self, states: list[Any], hypers: list[Any], arrays: Any, index: Int[np.ndarray, " examples"]) -> metrics.Sums:
        """Sums [M] over the examples, of text over their tokens; raises AssertionError unless each was counted once."""
        zeros = jax.tree.map(lambda x: np.zeros(self.layout.members, np.float32), metrics.zeros())
        sums = self.layout.split(meshes.put(self.layout.mesh, meshes.MEMBER, zeros))
        for given, _, mask in feed.evaluation(self.layout, arrays, index, self.batch_size):
            sums = self._measure(states, hypers, sums, given, meshes.put(self.layout.mesh, meshes.ROWS, mask), arrays)
        result = meshes.fetch(self.layout.join(sums))
        expected = memory.counted(arrays, index).sum()
        assert np.all(result.count == expected), f"counted {result.count}, expected {expected}"
        return result

    def predict(self, states: list[Any], arrays: Any, index: Int[np.ndarray, " examples"],
                features: bool = True) -> Iterator[tuple[int, Predictions]]:
        """(member, its predictions) for every member, slot by slot so that one slot is there at a time, and in memory if it is small.

        Of text, `index` names rows, and the predictions are those of all their tokens. `features`: whether they are kept.
        """
        counted = memory.counted(arrays, index)
        for members, state in zip(self.layout.member_ids(), states):
            done, whole, labels, ids = 0, {}, [], []
            for given, rows, mask in feed.evaluation(self.layout, arrays, index, self.batch_size):
                output, of_batch = meshes.fetch(self.prediction.one_slot(state, given, arrays))
                keep = counted[rows]
                keep[~mask] = False
                numbers = index[rows].reshape(-1, *[1] * (keep.ndim - 1)) * keep[0].size + np.arange(keep[0].size).reshape(keep.shape[1:])
                labels.append(of_batch[0][keep])
                ids.append(numbers[keep])
                for name in ("logits", "features") if features else ("logits",):
                    part = getattr(output, name)[:, keep]
                    if name not in whole:
                        whole[name] = _room((len(part), counted.sum(), part.shape[-1]), part.dtype)
                    whole[name][:, done:done + part.shape[1]] = part
                done += len(ids[-1])
            assert done == counted.sum(), f"predicted {done}, expected {counted.sum()}"
            labels, ids = np.concatenate(labels), np.concatenate(ids)
            for row, member in enumerate(members):
                yield int(member), Predictions(whole["logits"][row], whole["features"][row] if features else None, labels, ids)


def _room(shape, dtype):
    """An array to be filled; a large one lies in a file without a name."""
    if math.prod(shape) * np.dtype(dtype).itemsize < LARGE:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def chosen(config: ml_collections.ConfigDict, name: str, split: Split | TextSplit | Pictures) -> Int[np.ndarray, " examples"]:
    """The examples of a split whose predictions are kept: all that are held out, of the training split as many as the config says.

    Of text, on every split, rows that hold at most `config.evaluate.tokens` tokens.
    """
    if isinstance(split, TextSplit):
        return evenly_spaced(len(split), split.rows(config.evaluate.tokens))
    return evenly_spaced(len(split), config.evaluate.train_examples if name == "train" else len(split))


def evenly_spaced(size: int, count: int) -> Int[np.ndarray, " examples"]:
    """`count` ids spread evenly over a split, or all of them when there are fewer."""
    return np.unique(np.linspace(0, size - 1, min(size, count)).astype(np.int32))
