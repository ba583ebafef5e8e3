"""A whole split through the trained members: every example once, whatever the batch size and the mesh."""
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from ls_jax import mesh as meshes
from ls_jax import metrics, sweep
from ls_jax.data import memory, order
from ls_jax.step import Steps


class Predictions(NamedTuple):
    """One member's outputs on one split, ordered by `index`, the examples' ids in the split."""
    logits: Float[np.ndarray, "examples classes"]
    features: Float[np.ndarray, "examples features"]
    labels: Int[np.ndarray, " examples"]
    index: Int[np.ndarray, " examples"]


class Evaluator:
    """The compiled evaluation programs of a run, and the loops around them.

    `index` arguments name the examples of `arrays` (see `data.memory.place`) to evaluate.
    """

    def __init__(self, steps: Steps, layout: sweep.Layout, batch_size: int):
        shards = layout.mesh.shape["data"]
        self.layout, self.batch_size = layout, -(-batch_size // shards) * shards
        predict = lambda state, ids, arrays: steps.predict(state, memory.gather(arrays, ids))
        measure = lambda state, hyper, sums, ids, mask, arrays: sums + steps.measure(
            state, hyper, memory.gather(arrays, ids), mask)
        self._predict = sweep.over_mesh(predict, layout, (meshes.MEMBER, meshes.ROWS, meshes.SHARED), meshes.OUTPUTS)
        self._measure = sweep.over_mesh(measure, layout, (meshes.MEMBER, meshes.MEMBER, meshes.MEMBER, meshes.ROWS,
                                                          meshes.ROWS, meshes.SHARED), meshes.MEMBER, donate=(2,))

    def measure(self, states: list[Any], hypers: list[Any], arrays: Any, index: Int[np.ndarray, " examples"]) -> metrics.Sums:
        """Sums [M] over the examples; raises AssertionError unless each was counted once."""
        zeros = jax.tree.map(lambda x: np.zeros(self.layout.members, np.float32), metrics.zeros())
        sums = self.layout.split(meshes.put(self.layout.mesh, meshes.MEMBER, zeros))
        for rows, mask in order.padded(len(index), self.batch_size):
            rows, mask = meshes.put(self.layout.mesh, meshes.ROWS, (index[rows], mask))
            sums = self._measure(states, hypers, sums, rows, mask, arrays)
        result = meshes.fetch(self.layout.join(sums))
        assert np.all(result.count == len(index)), f"counted {result.count}, expected {len(index)}"
        return result

    def predict(self, states: list[Any], arrays: Any, index: Int[np.ndarray, " examples"]) -> Iterator[tuple[int, Predictions]]:
        """(member, its predictions) for every member, slot by slot so that one slot is in memory at a time."""
        for members, state in zip(self.layout.member_ids(), states):
            parts = []
            for rows, mask in order.padded(len(index), self.batch_size):
                ids = meshes.put(self.layout.mesh, meshes.ROWS, index[rows])
                output = meshes.fetch(self._predict.program(state, ids, arrays))
                parts.append(jax.tree.map(lambda x, keep=mask: x[:, keep], output))
            output = jax.tree.map(lambda *xs: np.concatenate(xs, axis=1), *parts)
            labels = np.asarray(meshes.fetch(arrays[1]))[index]
            assert output.logits.shape[1] == len(index), f"predicted {output.logits.shape[1]}, expected {len(index)}"
            for row, member in enumerate(members):
                yield int(member), Predictions(output.logits[row], output.features[row], labels, index)


def evenly_spaced(size: int, count: int) -> Int[np.ndarray, " examples"]:
    """`count` ids spread evenly over a split, or all of them when there are fewer."""
    return np.unique(np.linspace(0, size - 1, min(size, count)).astype(np.int32))
