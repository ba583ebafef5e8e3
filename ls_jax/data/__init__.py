"""Data sets by name: digits (embedded), a TFDS name, folder:PATH, npz:PATH or text:PATH. Whole in host memory, but for TFDS pictures of
many sizes (`data.pictures.stream`)."""
import dataclasses
import pathlib

import ml_collections
import numpy as np

from ls_jax.data import holdout, noise, sources
from ls_jax.data.dataset import Dataset, Sentences, Split, TextSplit
from ls_jax.data.pictures.stream import Pictures
from ls_jax.data.sources import SOURCES, Source
from ls_jax.data.text.tokens import Tokens
from ls_jax.errors import UserError

__all__ = ["SOURCES", "Dataset", "Pictures", "Sentences", "Source", "Split", "TextSplit", "Tokens", "check", "load"]


def load(data: ml_collections.ConfigDict, workdir: pathlib.Path | None = None) -> Dataset:
    """The data set that `config.data` names, after hold-out, subsetting and label noise.

    Args:
        data: the section of a config; of the sources' fields those that are None may be absent.
        workdir: where the vocabulary of a text is kept.

    Raises:
        UserError: the data set is unknown, not there or damaged, too small for what is asked of it, or of another kind than its fields.
    """
    dataset = sources.of(data).load(data, workdir)
    if dataset.text:  # its pairs were held out before they were packed into rows
        return dataset
    splits = holdout.split(dataset.name, dataset.splits, data.holdout, data.train_examples)
    return _noisy(dataclasses.replace(dataset, splits=splits), data.get("label_noise"))


def check(data: ml_collections.ConfigDict) -> None:
    """Whether the data set is there, without reading it, and what reads it.

    Raises:
        UserError: one is not, with what to do.
    """
    sources.of(data).check(data)


def _noisy(dataset: Dataset, rate: float | None) -> Dataset:
    """With symmetric noise on the training labels; a hold-out made of training examples keeps the right ones."""
    if not rate:
        return dataset
    train = dataset.splits["train"]
    if not isinstance(train, Split):
        raise UserError("data.label_noise is for data sets that are held in memory: unset it")
    labels = noise.symmetric(train.labels, rate, len(dataset.class_names))
    return dataclasses.replace(dataset, splits=dataset.splits | {"train": Split(train.images, labels)},
                               changed_labels=int(np.sum(labels != train.labels)))
