"""Data sets by name: digits (embedded), a TFDS name, folder:PATH, npz:PATH or text:PATH.

They are held in host memory, except TFDS images of many sizes, which are streamed (`data.pictures.stream`).
"""
import dataclasses
import pathlib

import ml_collections
import numpy as np

from ls_jax.data import holdout, noise, notices, sources
from ls_jax.data.dataset import Dataset, Sentences, Split, TextSplit
from ls_jax.data.pictures.stream import Pictures
from ls_jax.data.sources import SOURCES, Source
from ls_jax.data.text.tokens import Tokens
from ls_jax.errors import UserError

__all__ = ["SOURCES", "Dataset", "Pictures", "Sentences", "Source", "Split", "TextSplit", "Tokens", "check", "load"]


def load(data: ml_collections.ConfigDict, workdir: pathlib.Path | None = None) -> Dataset:
    """The data set that `config.data` names, after hold-out, subsetting and label noise.

    Args:
        data: the section of a config. Fields of the sources that are None may be absent.
        workdir: where the vocabulary of a text is saved.

    Raises:
        UserError: the data set is unknown, missing, damaged or too small, or a field does not apply to it.
    """
    dataset = sources.of(data).load(data, workdir)
    if dataset.text:  # pairs are held out before they are packed into rows
        return dataset
    notices.check(dataset)
    splits = holdout.split(dataset.name, dataset.splits, data.holdout, data.train_examples)
    return _noisy(dataclasses.replace(dataset, splits=splits), data.get("label_noise"))


def check(data: ml_collections.ConfigDict) -> None:
    """Check, without reading the data set, that it and the libraries that read it are there.

    Raises:
        UserError: something is missing; the message has the fix.
    """
    sources.of(data).check(data)


def _noisy(dataset: Dataset, rate: float | None) -> Dataset:
    """The data set with symmetric noise on its training labels. Labels of held-out examples stay right."""
    if not rate:
        return dataset
    train = dataset.splits["train"]
    if not isinstance(train, Split):
        raise UserError("data.label_noise is for data sets that are held in memory: unset it")
    labels = noise.symmetric(train.labels, rate, len(dataset.class_names))
    return dataclasses.replace(dataset, splits=dataset.splits | {"train": Split(train.images, labels)},
                               changed_labels=int(np.sum(labels != train.labels)))
