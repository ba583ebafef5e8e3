"""Sentence pairs packed into rows of one length, so that all batches have one shape and hold little padding."""
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from ls_jax.data.dataset import TextSplit
from ls_jax.data.text.tokens import Tokens

OPEN = 16            # rows that are filled at a time; more fill hardly better
ORDER_SEED = 190602629  # of the order in which pairs are packed, so that no row is made of neighbours; never a run's seed


class Places(NamedTuple):
    """Where each pair lies."""
    row: Int32[np.ndarray, " pairs"]
    segment: Int32[np.ndarray, " pairs"]     # 1, 2, … within its row
    source: Int32[np.ndarray, " pairs"]      # where its source begins in the row ...
    target: Int32[np.ndarray, " pairs"]      # ... and its target


def places(source: Int[np.ndarray, " pairs"], target: Int[np.ndarray, " pairs"], length: int) -> Places:
    """Best fit: each pair of these lengths goes to the fullest of the open rows that has room for both its sentences.

    No sentence may be longer than `length`.
    """
    result = Places(*(np.zeros(len(source), np.int32) for _ in Places._fields))
    rooms = [(length, length, row, 0) for row in range(OPEN)]  # in the source, in the target; which row; its segments
    rows = OPEN
    lengths = list(zip(source.tolist(), target.tolist()))
    for pair in np.random.RandomState(ORDER_SEED).permutation(len(source)).tolist():  # a stream that NumPy has frozen
        first, second = lengths[pair]
        best, least = None, 2 * length + 1
        for place, (left, right, _, _) in enumerate(rooms):
            if left >= first and right >= second and left + right < least:
                best, least = place, left + right
        if best is None:  # the row with the least room is closed
            best = min(range(OPEN), key=lambda place: min(rooms[place][:2]))
            rooms[best], rows = (length, length, rows, 0), rows + 1
        left, right, row, segments = rooms[best]
        for array, value in zip(result, (row, segments + 1, length - left, length - right)):
            array[pair] = value
        rooms[best] = left - first, right - second, row, segments + 1
    return result._replace(row=np.unique(result.row, return_inverse=True)[1].astype(np.int32))  # without rows that stayed empty


def pack(source: tuple[Int32[np.ndarray, " source_tokens"], Int32[np.ndarray, " pairs"]],
         target: tuple[Int32[np.ndarray, " target_tokens"], Int32[np.ndarray, " pairs"]], length: int) -> TextSplit:
    """The pairs in rows of `length` tokens of the source and as many of the target.

    Args:
        source: ids of all sentences, one after another, each closed by END; and how many each has.
        target: the same of their translations.
        length: a row's; no sentence may be longer.
    """
    at = places(source[1], target[1], length)
    rows = int(at.row.max()) + 1 if len(at.row) else 0
    source_ids, *source_marks = _fill(*source, at.row * length + at.source, at.segment, (rows, length))
    labels, *target_marks = _fill(*target, at.row * length + at.target, at.segment, (rows, length))
    shifted = np.zeros_like(labels)
    shifted[:, 1:] = np.where(target_marks[1][:, 1:] > 0, labels[:, :-1], 0)
    return TextSplit(Tokens(source_ids, *source_marks, shifted, *target_marks), labels)


def density(split: TextSplit) -> tuple[float, float]:
    """The share of the rows, in the source and in the target, that is no padding."""
    return float(np.mean(split.inputs.source_segments > 0)), float(np.mean(split.inputs.target_segments > 0))


def _fill(ids, lengths, starts, segments, shape):
    """(ids, segments, positions) as arrays of rows, where the sentences begin at these places of the flattened rows."""
    positions = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    into = np.repeat(starts, lengths) + positions
    result = []
    for values in (ids, np.repeat(segments, lengths), positions):
        array = np.zeros(shape, np.int32)
        array.reshape(-1)[into] = values
        result.append(array)
    return result
