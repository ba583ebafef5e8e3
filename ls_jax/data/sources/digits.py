"""The embedded data set: 1,797 handwritten digits of 8x8 pixels. It needs no download.

Source: the test set of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0, as scikit-learn 1.9.1's
`load_digits` gives it. `digits.npz` holds its counts 0..16 (of the ink in 4x4 pixels) and labels, unchanged.
"""
import pathlib
from collections.abc import Mapping

import ml_collections
import numpy as np

from ls_jax.data.dataset import Dataset, Split
from ls_jax.fields import Field
from ls_jax.workdir import npz_map

NAMES = "digits"
FIELDS: Mapping[str, Field] = {}
TEST_EXAMPLES = 500
SPLIT_SEED = 0


def owns(data: ml_collections.ConfigDict) -> bool:
    """Whether the name is digits."""
    return data.name == NAMES


def check(data: ml_collections.ConfigDict) -> None:
    """Do nothing: the data set is always there."""


def load(data: ml_collections.ConfigDict | None = None, workdir: pathlib.Path | None = None) -> Dataset:
    """1,297 training and 500 test images [N, 8, 8, 1], the counts 0..16 rescaled to 0..255.

    The split is fixed and stratified. The examples are permuted (seed 0) and sorted by class, and 500 evenly spaced
    ones are the test set, so each class has its fraction to within one example. Both splits keep the original order.
    """
    arrays = npz_map.read(pathlib.Path(__file__).with_name("digits.npz"))
    counts, labels = arrays["images"], arrays["labels"].astype(np.int32)
    images = np.round(counts * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.RandomState(SPLIT_SEED).permutation(len(labels))  # a stream that NumPy has frozen
    order = order[np.argsort(labels[order], kind="stable")]
    share = np.arange(len(order) + 1) * TEST_EXAMPLES // len(order)
    is_test = np.zeros(len(order), bool)
    is_test[order] = np.diff(share) == 1
    whole = Split(images, labels)
    splits = {"train": whole.take(np.flatnonzero(~is_test)), "test": whole.take(np.flatnonzero(is_test))}
    return Dataset("digits", tuple("0123456789"), splits)
