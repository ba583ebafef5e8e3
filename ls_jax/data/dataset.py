"""The data sets that sources return: named splits of images and labels, or of packed text, in host memory."""
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, UInt8

from ls_jax.data.text.tokens import Tokens
from ls_jax.data.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images with 1 or 3 channels, and their labels, counted from 0."""

    images: UInt8[np.ndarray, "examples height width channels"]
    labels: Int32[np.ndarray, " examples"]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def inputs(self) -> UInt8[np.ndarray, "examples height width channels"]:
        """The network's inputs."""
        return self.images

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels; for text it is None."""
        return self.images.shape[1:]

    def rows(self, size: int) -> int:
        """The number of examples in a batch of this size."""
        return size

    def take(self, indices: Int[np.ndarray, " taken"]) -> "Split":
        """The examples at these indices, in their order."""
        return Split(self.images[indices], self.labels[indices])


@dataclasses.dataclass(frozen=True, eq=False)
class TextSplit:
    """Sentence pairs packed into rows; a row is an example. `labels` are the target's next tokens, 0 at padding."""

    inputs: Tokens
    labels: Int32[np.ndarray, "rows target"]

    image_shape = None

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, size: int) -> int:
        """The number of rows in a batch of `size` target tokens, padding included; at least one."""
        return max(1, size // self.labels.shape[1])

    def sentences(self, index: Int[np.ndarray, " tokens"]) -> Int[np.ndarray, " tokens"]:
        """Each token's sentence, numbered from 0 among those that occur. A token's index is row x length + place."""
        rows = index // self.labels.shape[1]
        segments = self.inputs.target_segments.reshape(-1)[index].astype(np.int64)
        return np.unique(rows * (int(segments.max(initial=0)) + 1) + segments, return_inverse=True)[1]


@dataclasses.dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences, their translations, and the number of the line or record that each was read from, counted from 1."""

    source: Sequence[str]
    target: Sequence[str]
    lines: Int[np.ndarray, " pairs"]

    def __len__(self) -> int:
        return len(self.lines)

    def take(self, indices: Int[np.ndarray, " taken"]) -> "Sentences":
        """The pairs at these indices, in their order."""
        return Sentences([self.source[i] for i in indices], [self.target[i] for i in indices], self.lines[indices])


@dataclasses.dataclass(frozen=True, eq=False)
class Text:
    """What a data set of sentence pairs has beside its packed splits."""

    vocabulary: Vocabulary
    sentences: dict[str, Sentences]   # the held-out ones, for translation, by the name of their file
    facts: dict[str, dict[str, Any]]  # of each split: pairs, rows, excluded pairs, and fractions that are no padding

    def describe(self) -> dict[str, Any]:
        """For a manifest: the vocabulary's size and hash, and the facts."""
        return {"vocabulary": {"pieces": len(self.vocabulary), "sha256": self.vocabulary.sha256}, "splits": self.facts}


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """The splits train and test, perhaps also validation, all of one shape. The classes of text are its vocabulary."""

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Any]    # of Split, TextSplit or stream.Pictures
    changed_labels: int = 0   # number of training labels that `config.data.label_noise` made wrong
    text: Text | None = None  # of sentence pairs
