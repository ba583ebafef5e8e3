"""The step, the data on the devices and the evaluation for packed text: what counts is every token that is no
padding."""
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ls_jax import data, losses, models
from ls_jax.data import memory, order
from ls_jax.data.text.tokens import Tokens
from ls_jax.devices import mesh
from ls_jax.devices.layout import over_mesh
from ls_jax.models import Output
from ls_jax.studies import accuracy
from ls_jax.training import evaluate, loop, step, sweep

HYPER = {"alpha": jnp.float32(0.1), "seed": jnp.int32(3), "learning_rate": jnp.float32(0.1),
         "weight_decay": jnp.float32(0.0)}
VOCABULARY, LENGTH = 7, 6


class Bigram(nnx.Module):
    """A network of tokens: the next one from the last, the embedding being the output layer."""

    FIELDS = {}

    def __init__(self, *, num_classes, rngs, image_shape=None, width=4, dtype=jnp.float32):
        self.embedding = nnx.Param(jax.random.normal(rngs.params(), (num_classes, width)))
        self.mix = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, tokens, *, train, dropout_keys=None):
        features = jnp.tanh(self.mix(self.embedding[...][tokens.target]))
        if train:
            features = models.layers.dropout(features, 0.1, dropout_keys)
        return Output(features @ self.embedding[...].T, features)


def split_of(rows, seed=0):
    """Rows that hold from one to LENGTH tokens each."""
    rng = np.random.default_rng(seed)
    filled = (np.arange(LENGTH) < (np.arange(rows) % LENGTH + 1)[:, None]).astype(np.int32)
    ids = lambda: rng.integers(1, VOCABULARY, (rows, LENGTH)).astype(np.int32) * filled
    positions = np.tile(np.arange(LENGTH, dtype=np.int32), (rows, 1))
    return data.TextSplit(Tokens(ids(), filled, positions, ids(), filled, positions), ids())


@pytest.fixture
def tiny(tiny, monkeypatch):
    monkeypatch.setitem(models.MODELS, "bigram", Bigram)
    tiny.model = dict(name="bigram")
    tiny.optimizer.momentum = 0.0
    tiny.batch_size = 8 * LENGTH
    tiny.evaluate.batch_size = 4 * LENGTH
    return tiny


@pytest.fixture
def dataset():
    return data.Dataset("text", tuple(map(str, range(VOCABULARY))),
                        {"train": split_of(32), "test": split_of(19, seed=1)})


def batch_of(split, ids):
    return memory.gather(jax.tree.map(jnp.asarray, (split.inputs, split.labels)), jnp.asarray(ids, jnp.int32))


def test_one_step_descends_the_mean_over_tokens_that_are_no_padding(tiny, dataset):
    steps = step.build_step(tiny, VOCABULARY, None, axis_name=None)
    state, batch = steps.init(HYPER), batch_of(dataset.splits["train"], range(8))
    mask = np.asarray(batch.inputs.target_segments) > 0

    def loss(params):  # row by row, token by token
        model = nnx.merge(nnx.graphdef(Bigram(num_classes=VOCABULARY, rngs=nnx.Rngs(0))), params)
        keys = step.rng.per_example(step.rng.key(HYPER["seed"], "dropout", 0), batch.ids)
        logits = model(batch.inputs, train=True, dropout_keys=keys).logits
        return losses.smoothed_cross_entropy(logits[mask], batch.labels[mask], 0.1).mean()

    new = steps.train(state, HYPER, step.StepInput(batch))
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, jax.grad(loss)(state.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), new.params, expected)
    assert float(new.sums.count) == mask.sum() < mask.size
    np.testing.assert_allclose(new.sums.loss, mask.sum() * float(loss(state.params)), rtol=1e-5)


def test_what_stands_at_padding_changes_nothing(tiny, dataset):
    steps = step.build_step(tiny, VOCABULARY, None, axis_name=None)
    state, batch = steps.init(HYPER), batch_of(dataset.splits["train"], range(8))
    padding = batch.inputs.target_segments == 0
    other = batch._replace(labels=jnp.where(padding, 5, batch.labels),
                           inputs=batch.inputs._replace(target=jnp.where(padding, 3, batch.inputs.target)))
    train = lambda batch: steps.train(state, HYPER, step.StepInput(batch))
    jax.tree.map(np.testing.assert_array_equal, train(batch), train(other))


def trained(config, dataset, steps=3):
    run = loop.setup(config, dataset)
    states = over_mesh(run.step.init, run.layout, (mesh.MEMBER,), mesh.MEMBER)(run.hypers())
    arrays = memory.place(dataset.splits["train"], run.layout.mesh)
    program, _ = loop.training_programs(run)
    ids = order.block(run.examples, run.batch, run.hyper["seed"], 0, steps)
    for at in range(steps):
        states = program(states, run.hypers(), loop.place_ids(run.layout, ids[:, at:at + 1]), arrays)
    return run, states


def test_the_mesh_does_not_change_the_result(tiny, dataset):
    """Shards hold unequally many tokens: a mean of their means would differ."""
    results = []
    for member, shards in ((1, 1), (2, 4)):
        tiny.mesh.update(member=member, data=shards)
        run, states = trained(tiny, dataset)
        results.append(jax.device_get(run.layout.join(states)))
    assert run.batch == 8
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    jax.tree.map(compare, *(dataclasses.replace(result, opt={}) for result in results))


@pytest.mark.parametrize("shards,batch_size", [(1, 1000), (1, LENGTH), (4, 5 * LENGTH)])
def test_every_token_is_counted_once_whatever_the_batch(tiny, dataset, shards, batch_size):
    tiny.mesh.update(member=1, data=shards)
    tiny.evaluate.batch_size = batch_size
    run, states = trained(tiny, dataset, steps=1)
    split = dataset.splits["test"]
    arrays, index, mask = memory.place(split, run.layout.mesh), np.arange(2, 19), split.inputs.target_segments[2:] > 0
    sums = run.evaluator.measure(states, run.hypers(), arrays, index)
    assert sums.count.tolist() == [mask.sum()] * 2
    for member, predicted in run.evaluator.predict(states, arrays, index):
        np.testing.assert_array_equal(predicted.labels, split.labels[2:][mask])
        np.testing.assert_array_equal(split.labels.reshape(-1)[predicted.index], predicted.labels)
        nll = accuracy.negative_log_likelihood(predicted.logits, predicted.labels)
        np.testing.assert_allclose(nll, sums.means()["nll"][member], rtol=1e-5)
        head = sweep.take(models.head(run.layout.join(states).params), member)
        np.testing.assert_allclose(predicted.features @ head["kernel"] + head["bias"], predicted.logits, atol=1e-5)


def test_kept_predictions_are_of_rows_with_at_most_so_many_tokens(tiny, dataset):
    split = dataset.splits["test"]
    tiny.evaluate.tokens = 3 * LENGTH + 1
    assert evaluate.chosen(tiny, "test", split).tolist() == [0, 9, 18]
    tiny.evaluate.tokens = 1000
    assert len(evaluate.chosen(tiny, "train", split)) == 19
