"""Beam search as tensor2tensor's: the alive beams, the best finished hypothesis, and a length penalty, batched over sentences."""
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ls_jax.data.tokens import END, PADDING

BLOCK = 64        # entries of which the maximum is taken first
FIRST_STEPS = 16  # that the cache has room for; when they are taken its room doubles, so that attention is to little that is empty


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
    """The loop's state. A row's search is frozen when nothing can change its best hypothesis any more."""
    position: Int[Array, ""]
    cache: Any
    alive: Int[Array, "rows beams steps"]
    log_probs: Float[Array, "rows beams"]         # of the alive beams, best first
    ancestors: Int[Array, "rows beams steps"]     # which beam wrote the cache for this one at each step; -1: not yet
    best: Int[Array, "rows steps"]                # of the finished ones
    best_log_prob: Float[Array, " rows"]
    best_score: Float[Array, " rows"]


def beam_search(network: Any, source: Int[Array, "rows source"], limits: Int[Array, " rows"], *, steps: int, beams: int = 4,
                length_penalty: Float[Array, ""] | float = 0.6, temperature: Float[Array, ""] | float = 1.0) -> Hypotheses:
    """Each sentence's hypothesis of the highest log-probability / ((5 + length) / 6) ** length_penalty; greedy search with one beam.

    At each step the 2 * beams best continuations are looked at; those that end compete for the best finished hypothesis, the
    best `beams` others live on. A sentence is done at its limit, or when its best finished hypothesis is better than the best
    alive one could become, so its result depends neither on its neighbours nor on `steps`. If nothing has ended by then the best
    alive one is its result.

    Args:
        network: with `start`, `extend` and `step` as `models.Transformer` has them.
        source: a sentence a row, with END, padded at its end.
        limits: the most tokens a hypothesis may have, END included, at most `steps`; 0 for a row without a sentence.
        length_penalty: tensor2tensor's α, not negative; may be traced.
        temperature: T > 0, by which logits are divided; may be traced.
    """
    rows, slots = len(limits), jnp.arange(beams)
    penalty = lambda length: ((5.0 + length.astype(jnp.float32)) / 6.0) ** length_penalty

    def active(search):
        bound = search.log_probs[:, 0] / penalty(limits)
        return (search.position < limits) & ~(search.best_score > bound)

    def advance(room, search):
        at, going = search.position, active(search)
        ancestors = search.ancestors.at[:, :, at].set(slots)
        seen = (ancestors[:, :, :room, None] == slots).reshape(rows, beams, -1)
        last = lax.dynamic_index_in_dim(search.alive, jnp.maximum(at - 1, 0), axis=2, keepdims=False)
        logits, cache = network.step(search.cache, jnp.where(at > 0, last, PADDING), at, seen)
        log_probs = search.log_probs[..., None] + jax.nn.log_softmax(logits / temperature)
        candidates, where = largest(log_probs.reshape(rows, -1), 2 * beams)
        parents, ids = where // logits.shape[-1], where % logits.shape[-1]
        ended = ids == END

        finished = jnp.argmax(jnp.where(ended, candidates, -jnp.inf), axis=1)
        own = lambda x, index: jnp.take_along_axis(x, index.reshape(rows, -1, *(1,) * (x.ndim - 2)), axis=1)
        log_prob = own(jnp.where(ended, candidates, -jnp.inf), finished)[:, 0]
        score = log_prob / penalty(at + 1)
        better = going & (score > search.best_score)
        sequence = own(search.alive, own(parents, finished))[:, 0].at[:, at].set(END)

        living, chosen = lax.top_k(jnp.where(ended, -jnp.inf, candidates), beams)
        parents, ids = own(parents, chosen), own(ids, chosen)
        keep = lambda new, old: jnp.where(going.reshape(rows, *(1,) * (new.ndim - 1)), new, old)
        return _Search(at + 1, cache, keep(own(search.alive, parents).at[:, :, at].set(ids), search.alive),
                       keep(living, search.log_probs), own(ancestors, parents),
                       jnp.where(better[:, None], sequence, search.best), jnp.where(better, log_prob, search.best_log_prob),
                       jnp.where(better, score, search.best_score))

    nothing = jnp.full(rows, -jnp.inf)
    empty = jnp.full((rows, beams, steps), PADDING, jnp.int32)
    first = jnp.broadcast_to(jnp.where(slots == 0, 0.0, -jnp.inf), (rows, beams))  # all beams are equal at first: one counts
    end = _Search(jnp.int32(0), network.start(source), empty, first, empty - 1, empty[:, 0], nothing, nothing)
    for room in _rooms(steps):
        end = end._replace(cache=network.extend(end.cache, room * beams))
        end = lax.while_loop(lambda search, room=room: jnp.any(active(search)) & (search.position < room),
                             functools.partial(advance, room), end)
    finished = end.best_score > -jnp.inf
    return Hypotheses(jnp.where(finished[:, None], end.best, end.alive[:, 0]),
                      jnp.where(finished, end.best_log_prob, end.log_probs[:, 0]),
                      jnp.where(finished, end.best_score, end.log_probs[:, 0] / penalty(limits)), finished)


def largest(x: Float[Array, "rows entries"], count: int) -> tuple[Float[Array, "rows count"], Int[Array, "rows count"]]:
    """lax.top_k, faster where there are many entries: those sought lie in the `count` blocks of the largest maxima."""
    blocks = -(-x.shape[1] // BLOCK)
    if blocks <= count:
        return lax.top_k(x, count)
    blocked = jnp.pad(x, ((0, 0), (0, blocks * BLOCK - x.shape[1])), constant_values=-jnp.inf).reshape(len(x), blocks, BLOCK)
    chosen = jnp.sort(lax.top_k(blocked.max(-1), count)[1], axis=-1)  # in their order, so that of equal entries the first comes first
    values, where = lax.top_k(jnp.take_along_axis(blocked, chosen[..., None], axis=1).reshape(len(x), -1), count)
    return values, jnp.take_along_axis(chosen, where // BLOCK, axis=1) * BLOCK + where % BLOCK


def _rooms(steps):
    """How many steps the cache has room for, one stage of the search after another."""
    rooms = [min(FIRST_STEPS, steps)]
    while rooms[-1] < steps:
        rooms.append(min(2 * rooms[-1], steps))
    return rooms
