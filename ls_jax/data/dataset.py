"""What every data source gives: named splits of images and labels, or of packed text, whole in host memory."""
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, UInt8

from ls_jax.data.text.tokens import Tokens
from ls_jax.data.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images with 1 or 3 channels, and their class numbers from 0."""

    images: UInt8[np.ndarray, "examples height width channels"]
    labels: Int32[np.ndarray, " examples"]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def inputs(self) -> UInt8[np.ndarray, "examples height width channels"]:
        """What a network takes."""
        return self.images

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels; None of text."""
        return self.images.shape[1:]

    def rows(self, size: int) -> int:
        """Examples in a batch of this size."""
        return size

    def take(self, indices: Int[np.ndarray, " taken"]) -> "Split":
        """The examples at these indices, in their order."""
        return Split(self.images[indices], self.labels[indices])


@dataclasses.dataclass(frozen=True, eq=False)
class TextSplit:
    """Sentence pairs packed into rows, each of which is an example; `labels` are the target's next tokens, 0 at padding."""

    inputs: Tokens
    labels: Int32[np.ndarray, "rows target"]

    image_shape = None

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, size: int) -> int:
        """Examples in a batch of so many target tokens, padding included; at least one."""
        return max(1, size // self.labels.shape[1])


@dataclasses.dataclass(frozen=True, eq=False)
class Sentences:
    """Pairs of a sentence and its translation as they were read, and where: the numbers of their lines, or of their records, from 1."""

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
    sentences: dict[str, Sentences]        # all that are held out, by the name of their file, to be translated
    facts: dict[str, dict[str, Any]]       # of each split: pairs, rows, what was left out, and the shares that are no padding

    def describe(self) -> dict[str, Any]:
        """What a manifest tells: the vocabulary's hash, and the facts."""
        return {"vocabulary": {"pieces": len(self.vocabulary), "sha256": self.vocabulary.sha256}, "splits": self.facts}


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Splits by name: train and test, and validation where there is one; all of one shape. Of text the classes are the vocabulary."""

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Any]  # of Split, TextSplit or stream.Pictures
    changed_labels: int = 0  # training labels that `config.data.label_noise` made wrong
    text: Text | None = None  # what else is known of sentence pairs
