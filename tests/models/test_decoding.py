"""Beam search: against all hypotheses there are, against its rules written plainly, and what must not change a
result."""
import itertools

import jax
import numpy as np
import pytest
from flax import nnx

from ls_jax import models
from ls_jax.data.text.tokens import END, PADDING, Tokens
from ls_jax.models import decoding

VOCABULARY, STEPS = 5, 4
SOURCES = ([2, 3, 1], [4, 1], [3, 2, 4, 2, 1], [2, 2, 4, 1])
NEW = lambda key: models.build("transformer", num_classes=VOCABULARY, rngs=nnx.Rngs(key), layers=1, width=16,
                               feed_forward=24, heads=4)
GRAPHDEF = nnx.graphdef(nnx.eval_shape(lambda: NEW(jax.random.key(0))))


@pytest.fixture(scope="module", autouse=True)
def small():
    """The cache grows from two steps to four and the batch shrinks down to one row, so that the tests see both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "FIRST_STEPS", 2)
        patch.setattr(decoding, "FEWEST", 1)
        yield


@pytest.fixture(scope="module")
def params():
    """A random network with strong opinions."""
    weights = jax.jit(lambda: nnx.to_pure_dict(nnx.split(NEW(jax.random.key(3)), nnx.Param)[1]))()
    return weights | {"embedding": 3 * weights["embedding"]}


@jax.jit
def forced(params, tokens):
    return jax.nn.log_softmax(nnx.merge(GRAPHDEF, params)(tokens, train=False).logits)


def search(params, sources, limit=STEPS, beams=4, penalty=0.6, temperature=1.0, steps=STEPS, width=6):
    padded = np.array([[*source, *[PADDING] * (width - len(source))] for source in sources], np.int32)
    limits = np.full(len(sources), limit, np.int32) if isinstance(limit, int) else np.array(limit, np.int32)
    return decoding.beam_search(nnx.merge(GRAPHDEF, params), padded, limits, steps=steps, beams=beams,
                                length_penalty=penalty,
                                temperature=temperature)


def exhaustive(params, source, penalty, temperature=1.0):
    """(ids, log-probability, score) of every hypothesis of at most STEPS tokens, best first, by teacher forcing."""
    others = [token for token in range(VOCABULARY) if token != END]
    sequences = [[*prefix, END] for length in range(STEPS) for prefix in itertools.product(others, repeat=length)]
    targets = np.zeros((len(sequences), STEPS), np.int32)
    for row, ids in enumerate(sequences):
        targets[row, 1:len(ids)] = ids[:-1]
    ones, places = np.ones_like(targets), np.broadcast_to(np.arange(STEPS), targets.shape)
    repeat = lambda x: np.broadcast_to(np.asarray(x, np.int32), (len(sequences), len(source)))
    log_probs = forced(params,
                       Tokens(repeat(source), repeat([1] * len(source)), repeat(range(len(source))), targets,
                              ones, places))
    log_probs = np.asarray(jax.nn.log_softmax(log_probs / temperature))
    total = [float(log_probs[row, np.arange(len(ids)), ids].sum()) for row, ids in enumerate(sequences)]
    scored = [(ids, value, value / ((5 + len(ids)) / 6) ** penalty) for ids, value in zip(sequences, total)]
    return sorted(scored, key=lambda each: -each[2])


@pytest.mark.parametrize("penalty, temperature", [(0.0, 1.0), (0.6, 1.0), (2.0, 0.7), (0.6, 2.0)])
def test_wide_beams_find_the_best_of_all_hypotheses(params, penalty, temperature):
    """As many beams as there are unfinished prefixes: nothing is pruned."""
    found = search(params, SOURCES, beams=(VOCABULARY - 1) ** (STEPS - 1), penalty=penalty, temperature=temperature)
    for row, source in enumerate(SOURCES):
        ids, log_prob, score = exhaustive(params, source, penalty, temperature)[0]
        assert [int(token) for token in found.ids[row]][:len(ids)] == ids and not found.ids[row, len(ids):].any()
        np.testing.assert_allclose((found.log_probs[row], found.scores[row]), (log_prob, score), atol=1e-5)
    assert found.finished.all()


def plain_search(params, source, beams, penalty):
    """tensor2tensor's rules for one sentence, without cache or batch: (ids, log-probability)."""
    def next_log_probs(prefix):
        target, ones = np.zeros((1, STEPS), np.int32), np.ones((1, STEPS), np.int32)
        target[0, 1:len(prefix) + 1] = prefix
        row = np.array([source], np.int32)
        tokens = Tokens(row, np.ones_like(row), np.arange(row.size, dtype=np.int32)[None], target, ones,
                        np.arange(STEPS)[None])
        return np.asarray(forced(params, tokens))[0, len(prefix)]

    divide = lambda value, length: value / ((5 + length) / 6) ** penalty
    alive, finished = [([], 0.0)], []
    for length in range(1, STEPS + 1):
        grown = [([*ids, token], total + value) for ids, total in alive
                 for token, value in enumerate(next_log_probs(ids))]
        grown = sorted(grown, key=lambda each: -each[1])[:2 * beams]
        finished += [(divide(total, length), total, ids) for ids, total in grown if ids[-1] == END]
        alive = [each for each in grown if each[0][-1] != END][:beams]
        if finished and max(finished)[0] > divide(alive[0][1], STEPS):
            break
    return (max(finished)[2], max(finished)[1]) if finished else alive[0]


@pytest.mark.parametrize("beams", [1, 2, 3])
def test_pruned_search_follows_the_rules(params, beams):
    for penalty in (0.0, 1.0):
        found = search(params, SOURCES, beams=beams, penalty=penalty)
        for row, source in enumerate(SOURCES):
            ids, log_prob = plain_search(params, source, beams, penalty)
            assert found.ids[row].tolist()[:len(ids)] == ids and not found.ids[row, len(ids):].any()
            np.testing.assert_allclose(found.log_probs[row], log_prob, atol=1e-5)


def test_neighbours_and_padding_change_nothing(params):
    """Alone or in a batch, in another order, with longer padding, more steps, or rows without a sentence."""
    together = search(params, SOURCES)
    alone = [search(params, [source]) for source in SOURCES]
    backwards = search(params, SOURCES[::-1])
    padded = search(params, [*SOURCES, [PADDING]], limit=[STEPS] * 4 + [0], width=9, steps=STEPS + 3)
    assert not padded.ids[4].any()
    for row in range(4):
        for other in (jax.tree.map(lambda x: x[0], alone[row]), jax.tree.map(lambda x, row=row: x[3 - row], backwards),
                      jax.tree.map(lambda x, row=row: x[row], padded)):
            np.testing.assert_array_equal(other.ids[:STEPS], together.ids[row])
            np.testing.assert_allclose(other.scores, together.scores[row], atol=1e-5)


def test_rows_that_are_done_leave_the_batch(params, monkeypatch):
    """And what they found stays, in its place."""
    sizes, step = [], decoding._advance

    def advance(*arguments):
        sizes.append(len(arguments[3].limits))
        return step(*arguments)

    monkeypatch.setattr(decoding, "_advance", advance)
    limits = [1, 4, 0, 2, 1, 1, 3, 1]
    found = search(params, [*SOURCES, *SOURCES], limit=limits)
    assert sizes[0] == 8 and sizes[-1] <= 4
    for row, limit in enumerate(limits):
        alone = search(params, [SOURCES[row % 4]], limit=limit)
        np.testing.assert_array_equal(alone.ids[0], found.ids[row])
        np.testing.assert_allclose(alone.scores[0], found.scores[row], atol=1e-5)


def test_limits_are_each_sentences_own(params):
    """A hypothesis cut off is as long as its limit, and says that it did not finish."""
    norm = params["decoder_norm"]
    never = params | {"embedding": params["embedding"].at[END].set(0).at[END, 0].set(-10),
                      "decoder_norm": norm | {"bias": norm["bias"].at[0].add(10)}}  # END's logit is some -100
    found = search(never, SOURCES, limit=[1, 2, 3, 4], beams=1)
    assert not found.finished.any()
    for row in range(4):
        assert (found.ids[row] != END).all() and not found.ids[row, row + 1:].any()
        np.testing.assert_allclose(found.scores[row], found.log_probs[row] / ((5 + row + 1) / 6) ** 0.6, rtol=1e-5)


def test_temperatures_share_a_program(params, monkeypatch):
    """So a sweep over T compiles once. A cold search is sure of its greedy choice, a hot one finds all tokens equally
    likely."""
    search(params, SOURCES)
    monkeypatch.setattr(decoding, "largest", None)  # it is wanted only where a step is compiled
    cold, hot = (search(params, SOURCES, temperature=temperature) for temperature in (0.01, 1e6))
    assert (cold.log_probs > -0.05).all()
    lengths = np.where(hot.finished, (hot.ids == END).argmax(axis=1) + 1, STEPS)
    np.testing.assert_allclose(hot.log_probs, -lengths * np.log(VOCABULARY), rtol=1e-3)


@pytest.mark.parametrize("entries", [5, 100, 1_000, 1_024])
def test_the_largest_are_found_by_blocks(entries):
    """As lax.top_k finds them, of equal ones the first first."""
    rng = np.random.default_rng(0)
    x, offsets = rng.integers(0, 40, (50, 3, entries)).astype(np.float32), rng.integers(-3, 3,
                                                                                        (50, 3)).astype(np.float32)
    x[:10] = -np.inf
    x[:10, 1, :3] = 1.0
    sums = (x + offsets[..., None]).reshape(50, -1)
    for found, wanted in zip(decoding.largest(jax.numpy.asarray(x), jax.numpy.asarray(offsets), 8),
                             jax.lax.top_k(sums, 8)):
        np.testing.assert_array_equal(found, wanted)
