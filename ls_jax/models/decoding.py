"""Beam search as tensor2tensor's: the alive beams, the best finished hypothesis, and a length penalty, batched over sentences."""
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ls_jax.data.text.tokens import END, PADDING

BLOCK = 64        # entries of which the maximum is taken first
FIRST_STEPS = 16  # that the cache has room for; when they are taken its room doubles, so that attention is to little that is empty
FEWEST = 8        # rows of a batch that is not halved any more


class Hypotheses(NamedTuple):
    """The best translation found of each sentence.

    Attributes:
        ids: up to END, which it includes where the hypothesis ended, then PADDING.
        log_probs: of all its tokens, at the temperature of the search.
        scores: log_probs over the length penalty.
        finished: whether it ended by itself, or else was cut off at its limit.
    """
    ids: Int[Array, "rows steps"]
    log_probs: Float[Array, " rows"]
    scores: Float[Array, " rows"]
    finished: Bool[Array, " rows"]


class _Search(NamedTuple):
    """The loop's state; the first axis is rows, but for the position's."""
    position: Int[Array, ""]
    limits: Int[Array, " rows"]
    cache: Any
    alive: Int[Array, "rows beams steps"]
    log_probs: Float[Array, "rows beams"]         # of the alive beams, best first
    ancestors: Int[Array, "rows beams steps"]     # which beam wrote the cache for this one at each step; -1: not yet
    best: Int[Array, "rows steps"]                # of the finished ones
    best_log_prob: Float[Array, " rows"]
    best_score: Float[Array, " rows"]


def beam_search(network: nnx.Module, source: Int[Array | np.ndarray, "rows source"], limits: Int[Array | np.ndarray, " rows"], *,
                steps: int, beams: int = 4, length_penalty: float = 0.6, temperature: float = 1.0) -> Hypotheses:
    """Each sentence's hypothesis of the highest log-probability / ((5 + length) / 6) ** length_penalty; greedy search with one beam.

    At each step the 2 * beams best continuations are looked at; those that end compete for the best finished hypothesis, the
    best `beams` others live on. A sentence is done at its limit, or when its best finished hypothesis is better than the best
    alive one could become, so its result depends neither on its neighbours nor on `steps`. If nothing has ended by then the best
    alive one is its result.

    The search is some jitted loops of fixed shapes; from one to the next rows that are done leave the batch and the cache's room
    grows. So it cannot itself be jitted; weights, limits, penalty and temperature may change without compiling again.

    Args:
        network: with `start` and `step` as `models.Transformer` has them.
        source: a sentence a row, with END, padded at its end.
        limits: the most tokens a hypothesis may have, END included, at most `steps`; 0 for a row without a sentence.
        length_penalty: tensor2tensor's α, not negative.
        temperature: T > 0, by which logits are divided.

    Returns:
        NumPy arrays.
    """
    graphdef, params = nnx.split(network)
    penalty, temperature = np.float32(length_penalty), np.float32(temperature)
    rows, room, going = np.arange(len(limits)), 0, np.ones(len(limits), bool)
    found = Hypotheses(np.zeros((len(rows), steps), np.int32), *np.zeros((2, len(rows)), np.float32), np.zeros(len(rows), bool))

    def note():
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
            note()
            chosen = np.argsort(~going, kind="stable")[:size]
            rows, search = rows[chosen], _take(search, chosen)
        search, going = _advance(graphdef, room, params, search, np.int32(_half(size)), penalty, temperature)
        going = np.asarray(going)
    note()
    return found


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _start(graphdef, beams, steps, params, source, limits):
    rows = len(limits)
    nothing = jnp.full(rows, -jnp.inf)
    empty = jnp.full((rows, beams, steps), PADDING, jnp.int32)
    first = jnp.broadcast_to(jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf), (rows, beams))  # all beams are equal at first: one counts
    return _Search(jnp.int32(0), jnp.minimum(limits, steps), nnx.merge(graphdef, params).start(source), empty, first, empty - 1,
                   empty[:, 0], nothing, nothing)


@functools.partial(jax.jit, static_argnums=0)
def _extend(room, search):
    return search._replace(cache=search.cache.extend(room * search.alive.shape[1]))


@jax.jit
def _take(search, rows):
    return jax.tree.map(lambda x: x[rows] if x.ndim else x, search)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _advance(graphdef, room, params, search, few, length_penalty, temperature):
    """The search when the cache's room is taken or no more than `few` rows go on, and which do."""
    network = nnx.merge(graphdef, params)
    proceed = lambda search: (jnp.sum(_going(search, length_penalty)) > few) & (search.position < room)
    end = lax.while_loop(proceed, lambda search: _step(network, room, search, length_penalty, temperature), search)
    return end, _going(end, length_penalty)


@jax.jit
def _result(search, length_penalty):
    finished = search.best_score > -jnp.inf
    cut_off = search.log_probs[:, 0] / _penalty(search.limits, length_penalty)
    return Hypotheses(jnp.where(finished[:, None], search.best, search.alive[:, 0]),
                      jnp.where(finished, search.best_log_prob, search.log_probs[:, 0]),
                      jnp.where(finished, search.best_score, cut_off), finished)


def _half(rows):
    return rows // 2 if rows // 2 >= FEWEST else 0  # 0: when all are done


def _penalty(length, exponent):
    return ((5.0 + length.astype(jnp.float32)) / 6.0) ** exponent


def _going(search, length_penalty):
    """The rows whose best hypothesis can still change."""
    bound = search.log_probs[:, 0] / _penalty(search.limits, length_penalty)
    return (search.position < search.limits) & ~(search.best_score > bound)


def _step(network, room, search, length_penalty, temperature):
    """The search one token further; rows that are done stay as they are."""
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

    finished = jnp.argmax(jnp.where(ended, candidates, -jnp.inf), axis=1)
    own = lambda x, index: jnp.take_along_axis(x, index.reshape(rows, -1, *(1,) * (x.ndim - 2)), axis=1)
    log_prob = own(jnp.where(ended, candidates, -jnp.inf), finished)[:, 0]
    score = log_prob / _penalty(at + 1, length_penalty)
    better = going & (score > search.best_score)
    sequence = own(search.alive, own(parents, finished))[:, 0].at[:, at].set(END)

    living, chosen = lax.top_k(jnp.where(ended, -jnp.inf, candidates), beams)
    parents, ids = own(parents, chosen), own(ids, chosen)
    keep = lambda new, old: jnp.where(going.reshape(rows, *(1,) * (new.ndim - 1)), new, old)
    return search._replace(
        position=at + 1, cache=cache, alive=keep(own(search.alive, parents).at[:, :, at].set(ids), search.alive),
        log_probs=keep(living, search.log_probs), ancestors=own(ancestors, parents),
        best=jnp.where(better[:, None], sequence, search.best), best_log_prob=jnp.where(better, log_prob, search.best_log_prob),
        best_score=jnp.where(better, score, search.best_score))


def largest(x: Float[Array, "rows parts entries"], offsets: Float[Array, "rows parts"], count: int
            ) -> tuple[Float[Array, "rows count"], Int[Array, "rows count"]]:
    """lax.top_k of the entries of each row's parts, each part's plus its offset, as if they were one after another.

    It is faster where there are many: those sought lie in the `count` blocks of the largest maxima, and only these are looked at.
    """
    rows, parts, entries = x.shape
    size = BLOCK if entries > BLOCK else 1
    blocks = -(-entries // size)
    blocked = jnp.pad(x, ((0, 0), (0, 0), (0, blocks * size - entries)), constant_values=-jnp.inf).reshape(rows, parts, blocks, size)
    maxima = (blocked.max(-1) + offsets[..., None]).reshape(rows, -1)
    chosen = jnp.sort(lax.top_k(maxima, min(count, parts * blocks))[1], axis=-1)  # in order: of equal entries the first comes first
    of = lambda y: jnp.take_along_axis(y.reshape(rows, parts * blocks, -1), chosen[..., None], axis=1)
    sums = of(blocked) + jnp.take_along_axis(offsets, chosen // blocks, axis=1)[..., None]
    values, where = lax.top_k(sums.reshape(rows, -1), count)
    block = jnp.take_along_axis(chosen, where // size, axis=1)
    return values, block // blocks * entries + block % blocks * size + where % size
