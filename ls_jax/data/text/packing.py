"""Packing of sentence pairs into rows of one length, so that all batches have one shape and little padding."""
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from ls_jax.data.dataset import TextSplit
from ls_jax.data.text.tokens import Tokens

OPEN = 16            # rows that are filled at a time; more hardly reduce the padding
ORDER_SEED = 190602629  # of the packing order, so that neighbours get into different rows; never a run's


class Places(NamedTuple):
    """The place of each pair."""
    row: Int32[np.ndarray, " pairs"]
    segment: Int32[np.ndarray, " pairs"]     # 1, 2, … within the row
    source: Int32[np.ndarray, " pairs"]      # position in the row at which the source begins
    target: Int32[np.ndarray, " pairs"]      # the same of the target


def places(source: Int[np.ndarray, " pairs"], target: Int[np.ndarray, " pairs"], length: int) -> Places:
    """Best-fit packing: each pair goes into the fullest open row that has room for both its sentences.

    Args:
        source: the lengths of the sources, at most `length`.
        target: the lengths of the targets, at most `length`.
        length: tokens in a row.
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
        if best is None:  # close the row with the least room
            best = min(range(OPEN), key=lambda place: min(rooms[place][:2]))
            rooms[best], rows = (length, length, rows, 0), rows + 1
        left, right, row, segments = rooms[best]
        for array, value in zip(result, (row, segments + 1, length - left, length - right)):
            array[pair] = value
        rooms[best] = left - first, right - second, row, segments + 1
    return result._replace(row=np.unique(result.row, return_inverse=True)[1].astype(np.int32))  # skips empty rows


def pack(source: tuple[Int32[np.ndarray, " source_tokens"], Int32[np.ndarray, " pairs"]],
         target: tuple[Int32[np.ndarray, " target_tokens"], Int32[np.ndarray, " pairs"]], length: int) -> TextSplit:
    """The pairs packed into rows of `length` source tokens and `length` target tokens.

    Args:
        source: (token ids of all sentences, concatenated, each ending in END; the sentences' lengths).
        target: the same of their translations.
        length: of a row; no sentence may be longer.
    """
    at = places(source[1], target[1], length)
    rows = int(at.row.max()) + 1 if len(at.row) else 0
    source_ids, *source_marks = _fill(*source, at.row * length + at.source, at.segment, (rows, length))
    labels, *target_marks = _fill(*target, at.row * length + at.target, at.segment, (rows, length))
    shifted = np.zeros_like(labels)
    shifted[:, 1:] = np.where(target_marks[1][:, 1:] > 0, labels[:, :-1], 0)
    return TextSplit(Tokens(source_ids, *source_marks, shifted, *target_marks), labels)


def density(split: TextSplit) -> tuple[float, float]:
    """The fractions of the source's tokens and of the target's that are no padding."""
    return float(np.mean(split.inputs.source_segments > 0)), float(np.mean(split.inputs.target_segments > 0))


def _fill(ids, lengths, starts, segments, shape):
    """(ids, segments, positions) as arrays of rows; `starts` are the sentences' places in the flattened rows."""
    positions = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    into = np.repeat(starts, lengths) + positions
    result = []
    for values in (ids, np.repeat(segments, lengths), positions):
        array = np.zeros(shape, np.int32)
        array.reshape(-1)[into] = values
        result.append(array)
    return result
