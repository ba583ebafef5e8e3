"""Metrics and predictions of trained members on a whole split: every example once, for any batch size and mesh."""
import math
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
import numpy as np
from jaxtyping import Int

from ls_jax.data import Pictures, Split, TextSplit, feed, memory
from ls_jax.devices import mesh
from ls_jax.devices.layout import Layout, over_mesh
from ls_jax.training import metrics
from ls_jax.training.state import Hyper, State
from ls_jax.training.step import Step
from ls_jax.workdir.predictions import Predictions

LARGE = 2 ** 28  # bytes; outputs of this size or more are collected in a temporary file


class Evaluator:
    """The compiled evaluation programs of a run, and the loops around them.

    The arguments `index` are the ids of the examples of `arrays` (see `data.memory.place`) to evaluate.
    """

    def __init__(self, step: Step, layout: Layout, batch_size: int):
        shards = layout.mesh.shape["data"]
        self.layout, self.batch_size = layout, -(-batch_size // shards) * shards

        def predict(state, ids, arrays):
            batch = memory.gather(arrays, ids)
            return step.predict(state, batch), batch.labels

        def measure(state, hyper, sums, ids, mask, arrays):
            return sums + step.measure(state, hyper, memory.gather(arrays, ids), mask)

        self.prediction = over_mesh(predict, layout, (mesh.MEMBER, mesh.ROWS, mesh.SHARED), mesh.OUTPUTS)
        specs = (mesh.MEMBER, mesh.MEMBER, mesh.MEMBER, mesh.ROWS, mesh.ROWS, mesh.SHARED)
        self._measure = over_mesh(measure, layout, specs, mesh.MEMBER, donate=(2,))

    def measure(self, states: list[State], hypers: list[Hyper], arrays: Any,
                index: Int[np.ndarray, " examples"]) -> metrics.Sums:
        """Sums [members] over the examples, or for text over their tokens.

        Raises:
            AssertionError: an example was not counted exactly once.
        """
        zeros = jax.tree.map(lambda x: np.zeros(self.layout.num_members, np.float32), metrics.zeros())
        sums = self.layout.split(mesh.put(self.layout.mesh, mesh.MEMBER, zeros))
        for given, _, mask in feed.evaluation(self.layout, arrays, index, self.batch_size):
            sums = self._measure(states, hypers, sums, given, mesh.put(self.layout.mesh, mesh.ROWS, mask), arrays)
        result = mesh.fetch(self.layout.join(sums))
        expected = memory.counted(arrays, index).sum()
        assert np.all(result.count == expected), f"counted {result.count}, expected {expected}"
        return result

    def predict(self, states: list[State], arrays: Any, index: Int[np.ndarray, " examples"],
                features: bool = True) -> Iterator[tuple[int, Predictions]]:
        """(member, its predictions) for every member. One slot's predictions exist at a time; large ones lie in a file.

        Args:
            states: of all slots.
            arrays: the split, see `data.memory.place`.
            index: the examples; for text, rows of tokens, whose predictions are those of all their tokens.
            features: whether the predictions include the features.
        """
        counted = memory.counted(arrays, index)
        for members, state in zip(self.layout.member_ids(), states):
            done, whole, labels, ids = 0, {}, [], []
            for given, positions, mask in feed.evaluation(self.layout, arrays, index, self.batch_size):
                output, of_batch = mesh.fetch(self.prediction.one_slot(state, given, arrays))
                keep = counted[positions]
                keep[~mask] = False
                labels.append(of_batch[0][keep])
                ids.append(_numbers(index[positions], keep.shape)[keep])
                for name in ("logits", "features") if features else ("logits",):
                    part = getattr(output, name)[:, keep]
                    if name not in whole:
                        whole[name] = _room((len(part), counted.sum(), part.shape[-1]), part.dtype)
                    whole[name][:, done:done + part.shape[1]] = part
                done += len(ids[-1])
            assert done == counted.sum(), f"predicted {done}, expected {counted.sum()}"
            labels, ids = np.concatenate(labels), np.concatenate(ids)
            for place, member in enumerate(members):
                member_features = whole["features"][place] if features else None
                yield int(member), Predictions(whole["logits"][place], member_features, labels, ids)


def _numbers(examples, shape):
    """Ids of the predictions [batch, *tokens]: the example's own, or for text numbers that count its places too."""
    tokens = math.prod(shape[1:])
    return examples.reshape(-1, *[1] * (len(shape) - 1)) * tokens + np.arange(tokens).reshape(shape[1:])


def _room(shape, dtype):
    """An uninitialised array; a large one is mapped to an unnamed temporary file."""
    if math.prod(shape) * np.dtype(dtype).itemsize < LARGE:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def chosen(config: ml_collections.ConfigDict, name: str,
           split: Split | TextSplit | Pictures) -> Int[np.ndarray, " examples"]:
    """The ids of the examples of a split whose predictions are saved.

    They are all of a held-out split, and `config.evaluate.train_examples` of the training split. For text they are, on
    every split, as many rows as hold at most `config.evaluate.tokens` tokens.
    """
    if isinstance(split, TextSplit):
        return evenly_spaced(len(split), split.rows(config.evaluate.tokens))
    return evenly_spaced(len(split), config.evaluate.train_examples if name == "train" else len(split))


def evenly_spaced(size: int, count: int) -> Int[np.ndarray, " examples"]:
    """`count` ids spread evenly over a split of `size` examples, or all of them if there are fewer."""
    return np.unique(np.linspace(0, size - 1, min(size, count)).astype(np.int32))
