"""tensor2tensor's beam search, batched over sentences: alive beams, the best finished hypothesis, a length penalty."""
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ls_jax.data.text.tokens import END, PADDING

# Entries per block of `largest`.
BLOCK = 64
# Steps for which the cache has room at first. The room doubles when it is full, so attention reads few empty entries.
FIRST_STEPS = 16
# A batch of fewer rows is not halved again.
FEWEST = 8


class Hypotheses(NamedTuple):
    """The best translation found for each sentence.

    Attributes:
        ids: its tokens, with END if it is finished, then PADDING.
        log_probs: the sum of its tokens' log-probabilities, at the temperature of the search.
        scores: log_probs over the length penalty.
        finished: whether it has END; otherwise it was cut off at its limit.
    """
    ids: Int[Array, "rows steps"]
    log_probs: Float[Array, " rows"]
    scores: Float[Array, " rows"]
    finished: Bool[Array, " rows"]


class _Search(NamedTuple):
    """The loop's state; the first axis of all but `position` is the sentence."""
    position: Int[Array, ""]
    limits: Int[Array, " rows"]
    cache: Any
    alive: Int[Array, "rows beams steps"]
    log_probs: Float[Array, "rows beams"]         # of the alive beams, best first
    ancestors: Int[Array, "rows beams steps"]     # the beam whose cache entry of each step is in this one's past; or -1
    best: Int[Array, "rows steps"]                # the best finished hypothesis
    best_log_prob: Float[Array, " rows"]
    best_score: Float[Array, " rows"]


def beam_search(network: nnx.Module, source: Int[Array | np.ndarray, "rows source"],
                limits: Int[Array | np.ndarray, " rows"], *, steps: int, beams: int = 4, length_penalty: float = 0.6,
                temperature: float = 1.0) -> Hypotheses:
    """Each sentence's hypothesis of the highest log-probability / ((5 + length) / 6) ** length_penalty.

    Each step looks at the 2 * beams best continuations. Those that end compete for the best finished hypothesis; the
    best `beams` of the others stay alive. A sentence is done at its limit, or when no alive hypothesis can become
    better than its best finished one. So its result depends neither on the other sentences nor on `steps`. If none has
    ended, the result is the best alive one. One beam is greedy search.

    The search is several jitted loops of fixed shapes. Between them, sentences that are done leave the batch and the
    cache grows. So it cannot itself be jitted. New weights, limits, penalties and temperatures do not compile it again.

    Args:
        network: has `start` and `step`, as `models.Transformer`.
        source: one sentence per row, with END, then padding.
        limits: largest number of tokens of each hypothesis, END included, at most `steps`; 0 for a row without a
            sentence.
        steps: largest number of tokens of any hypothesis.
        beams: number of alive hypotheses.
        length_penalty: tensor2tensor's α, not negative.
        temperature: T > 0, by which logits are divided.

    Returns:
        NumPy arrays.
    """
    graphdef, params = nnx.split(network)
    penalty, temperature = np.float32(length_penalty), np.float32(temperature)
    rows, room, going = np.arange(len(limits)), 0, np.ones(len(limits), bool)
    found = Hypotheses(np.zeros((len(rows), steps), np.int32), *np.zeros((2, len(rows)), np.float32),
                       np.zeros(len(rows), bool))

    def store_results():
        for array, part in zip(found, jax.device_get(_result(search, penalty))):
            array[rows] = part

    search = _start(graphdef, beams, steps, params, source, limits)
    while going.any():
        if search.position == room:
            room = min(max(2 * room, FIRST_STEPS), steps)
            search = _extend(room, search)
        size = len(rows)
        while going.sum() <= _half(size):
            size = _half(size)
        if size < len(rows):
            store_results()
            chosen = np.argsort(~going, kind="stable")[:size]
            rows, search = rows[chosen], _take(search, chosen)
        search, going = _advance(graphdef, room, params, search, np.int32(_half(size)), penalty, temperature)
        going = np.asarray(going)
    store_results()
    return found


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _start(graphdef, beams, steps, params, source, limits):
    rows = len(limits)
    nothing = jnp.full(rows, -jnp.inf)
    empty = jnp.full((rows, beams, steps), PADDING, jnp.int32)
    # All beams are equal at first, so only one of them may count.
    first = jnp.broadcast_to(jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf), (rows, beams))
    return _Search(
        position=jnp.int32(0), limits=jnp.minimum(limits, steps), cache=nnx.merge(graphdef, params).start(source),
        alive=empty, log_probs=first, ancestors=empty - 1,
        best=empty[:, 0], best_log_prob=nothing, best_score=nothing)


@functools.partial(jax.jit, static_argnums=0)
def _extend(room, search):
    return search._replace(cache=search.cache.extend(room * search.alive.shape[1]))


@jax.jit
def _take(search, rows):
    return jax.tree.map(lambda x: x[rows] if x.ndim else x, search)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _advance(graphdef, room, params, search, few, length_penalty, temperature):
    """The search when the cache is full or at most `few` sentences are not done; and whether each is not done."""
    network = nnx.merge(graphdef, params)

    def proceed(search):
        return (jnp.sum(_going(search, length_penalty)) > few) & (search.position < room)

    def further(search):
        return _step(network, room, search, length_penalty, temperature)

    end = lax.while_loop(proceed, further, search)
    return end, _going(end, length_penalty)


@jax.jit
def _result(search, length_penalty):
    finished = search.best_score > -jnp.inf
    cut_off = search.log_probs[:, 0] / _penalty(search.limits, length_penalty)
    return Hypotheses(jnp.where(finished[:, None], search.best, search.alive[:, 0]),
                      jnp.where(finished, search.best_log_prob, search.log_probs[:, 0]),
                      jnp.where(finished, search.best_score, cut_off), finished)


def _half(rows):
    return rows // 2 if rows // 2 >= FEWEST else 0  # 0: wait until all are done


def _penalty(length, exponent):
    return ((5.0 + length.astype(jnp.float32)) / 6.0) ** exponent


def _going(search, length_penalty):
    """Whether each sentence's best hypothesis can still change."""
    bound = search.log_probs[:, 0] / _penalty(search.limits, length_penalty)
    return (search.position < search.limits) & ~(search.best_score > bound)


def _step(network, room, search, length_penalty, temperature):
    """The search after one more token; sentences that are done do not change."""
    at, going, (rows, beams, _) = search.position, _going(search, length_penalty), search.alive.shape
    slots = jnp.arange(beams)
    ancestors = search.ancestors.at[:, :, at].set(slots)
    seen = (ancestors[:, :, :room, None] == slots).reshape(rows, beams, -1)
    last = lax.dynamic_index_in_dim(search.alive, jnp.maximum(at - 1, 0), axis=2, keepdims=False)
    logits, cache = network.step(search.cache, jnp.where(at > 0, last, PADDING), at, seen)
    logits = logits / temperature
    candidates, where = largest(logits, search.log_probs - jax.nn.logsumexp(logits, axis=-1), 2 * beams)
    parents, ids = where // logits.shape[-1], where % logits.shape[-1]
    ended = ids == END

    def own(x, index):
        return jnp.take_along_axis(x, index.reshape(rows, -1, *(1,) * (x.ndim - 2)), axis=1)

    def keep(new, old):
        return jnp.where(going.reshape(rows, *(1,) * (new.ndim - 1)), new, old)

    finished = jnp.argmax(jnp.where(ended, candidates, -jnp.inf), axis=1)
    log_prob = own(jnp.where(ended, candidates, -jnp.inf), finished)[:, 0]
    score = log_prob / _penalty(at + 1, length_penalty)
    better = going & (score > search.best_score)
    sequence = own(search.alive, own(parents, finished))[:, 0].at[:, at].set(END)

    living, chosen = lax.top_k(jnp.where(ended, -jnp.inf, candidates), beams)
    parents, ids = own(parents, chosen), own(ids, chosen)
    return search._replace(
        position=at + 1, cache=cache, alive=keep(own(search.alive, parents).at[:, :, at].set(ids), search.alive),
        log_probs=keep(living, search.log_probs), ancestors=own(ancestors, parents),
        best=jnp.where(better[:, None], sequence, search.best),
        best_log_prob=jnp.where(better, log_prob, search.best_log_prob),
        best_score=jnp.where(better, score, search.best_score))


def largest(x: Float[Array, "rows parts entries"], offsets: Float[Array, "rows parts"], count: int
            ) -> tuple[Float[Array, "rows count"], Int[Array, "rows count"]]:
    """The `count` largest of x + offsets[..., None] in each row, and their indices in the flattened row, as lax.top_k.

    It is faster for many entries. They lie in the `count` blocks with the largest maxima, so only these are searched.
    """
    rows, parts, entries = x.shape
    size = BLOCK if entries > BLOCK else 1
    blocks = -(-entries // size)
    blocked = jnp.pad(x, ((0, 0), (0, 0), (0, blocks * size - entries)),
                      constant_values=-jnp.inf).reshape(rows, parts, blocks, size)
    maxima = (blocked.max(-1) + offsets[..., None]).reshape(rows, -1)
    # Sorted, so that the first of equal entries comes first.
    chosen = jnp.sort(lax.top_k(maxima, min(count, parts * blocks))[1], axis=-1)
    entries_of_chosen = jnp.take_along_axis(blocked.reshape(rows, parts * blocks, -1), chosen[..., None], axis=1)
    sums = entries_of_chosen + jnp.take_along_axis(offsets, chosen // blocks, axis=1)[..., None]
    values, where = lax.top_k(sums.reshape(rows, -1), count)
    block = jnp.take_along_axis(chosen, where // size, axis=1)
    return values, block // blocks * entries + block % blocks * size + where % size
