"""Evaluation counts every example once, whatever the batch size, the remainder and the mesh."""
import jax.numpy as jnp
import numpy as np
import pytest

from ls_jax import data
from ls_jax.data import memory
from ls_jax.devices import mesh
from ls_jax.devices.layout import over_mesh
from ls_jax.studies import accuracy
from ls_jax.training import evaluate, loop, sweep


@pytest.mark.parametrize("member,shards,batch_size", [(1, 1, 500), (1, 1, 7), (2, 4, 64), (1, 8, 501)])
def test_predictions_and_sums_do_not_depend_on_batching(tiny, member, shards, batch_size):
    tiny.mesh.update(member=member, data=shards)
    tiny.evaluate.batch_size = batch_size
    run = loop.setup(tiny, data.load(tiny.data))
    states = over_mesh(run.step.init, run.layout, (mesh.MEMBER,), mesh.MEMBER)(run.hypers())
    split = run.dataset.splits["test"]
    arrays = memory.place(split, run.layout.mesh)
    index = np.arange(len(split.labels), dtype=np.int32)[3:]
    sums = run.evaluator.measure(states, run.hypers(), arrays, index)
    predictions = dict(run.evaluator.predict(states, arrays, index))
    assert sorted(predictions) == [0, 1]
    for m, predicted in predictions.items():
        np.testing.assert_array_equal(predicted.labels, split.labels[3:])
        np.testing.assert_allclose(accuracy.accuracy(predicted.logits, predicted.labels),
                                   sums.means()["accuracy"][m], rtol=1e-6)
        np.testing.assert_allclose(accuracy.negative_log_likelihood(predicted.logits, predicted.labels),
                                   sums.means()["nll"][m], rtol=1e-5)
    reference = run.step.predict  # the same rows, alone, outside the mesh
    batch = memory.gather(arrays, jnp.asarray(index[:5]))
    np.testing.assert_allclose(reference(sweep.take(run.layout.join(states), 1), batch).logits,
                               predictions[1].logits[:5], atol=1e-4)


def test_evenly_spaced():
    assert evaluate.evenly_spaced(10, 4).tolist() == [0, 3, 6, 9]
    assert evaluate.evenly_spaced(3, 100).tolist() == [0, 1, 2]
    assert len(evaluate.evenly_spaced(60_000, 10_000)) == 10_000
