"""What every data source gives: named splits of images and labels, whole in host memory."""
import dataclasses

import numpy as np
from jaxtyping import Int, Int32, UInt8


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images with 1 or 3 channels, and their class numbers from 0."""

    images: UInt8[np.ndarray, "examples height width channels"]
    labels: Int32[np.ndarray, " examples"]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Int[np.ndarray, " taken"]) -> "Split":
        """The examples at these indices, in their order."""
        return Split(self.images[indices], self.labels[indices])


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Splits by name: train and test, and validation where there is one; all images have one shape."""

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    changed_labels: int = 0  # training labels that `config.data.label_noise` made wrong
