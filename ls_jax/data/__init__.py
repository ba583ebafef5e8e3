"""Data sets by name: digits (embedded), a TFDS name, folder:PATH, npz:PATH or text:PATH. Whole in host memory, but for TFDS pictures of
many sizes (`data.pictures.stream`)."""
import dataclasses
import pathlib
from typing import Any

import ml_collections
import numpy as np

from ls_jax.data import noise
from ls_jax.data.dataset import Dataset, Sentences, Split, TextSplit
from ls_jax.data.pictures import stream
from ls_jax.data.pictures.stream import Pictures
from ls_jax.data.sources import bitext, digits, folder, npz
from ls_jax.data.sources import tfds as tfds_build
from ls_jax.data.text import vocabulary
from ls_jax.data.text.tokens import Tokens
from ls_jax.errors import UserError

__all__ = ["Dataset", "Pictures", "Sentences", "Split", "TextSplit", "Tokens", "check", "load"]

SPLIT_SEED = 190602629  # of hold-outs and training subsets; never a run's seed, so that all runs share one split


def load(data: ml_collections.ConfigDict, workdir: pathlib.Path | None = None) -> Dataset:
    """The data set that `config.data` names, after hold-out, subsetting and label noise.

    Args:
        data: name, dir, holdout, train_examples, image_size, label_noise, vocabulary and row_length, as `ls_jax/config.py` describes them.
        workdir: where the vocabulary of a text is kept.

    Raises:
        UserError: the data set is unknown, not there or damaged, or too small for what is asked of it.
    """
    kind, _, path = data.name.partition(":")
    if data.image_size is not None and (kind in ("npz", "text") or data.name == "digits"):
        raise UserError(f"data.image_size={data.image_size} resizes folder: and TFDS pictures only; unset it for {data.name}")
    if kind == "text" or data.get("vocabulary"):
        return bitext.load(data, lambda name, splits: _subset(name, splits, data.holdout, data.train_examples), workdir)
    if data.name == "digits":
        dataset = digits.load()
    elif kind == "folder":
        dataset = folder.load(path, data.image_size)
    elif kind == "npz":
        dataset = npz.load(path)
    elif stream.is_streamed(data):
        dataset = stream.load(data)
    else:
        dataset = tfds_build.load(data.name, data.dir)
    if data.get("label_noise") and stream.is_streamed(data):
        raise UserError("data.label_noise is for data sets that are held in memory: unset it")
    splits = _subset(dataset.name, dataset.splits, data.holdout, data.train_examples)
    return _noisy(dataclasses.replace(dataset, splits=splits), data.get("label_noise"))


def check(data: ml_collections.ConfigDict) -> None:
    """Whether the data set is there, without reading it, and what reads it.

    Raises:
        UserError: one is not, with what to do.
    """
    kind, _, path = data.name.partition(":")
    if kind == "text" or data.get("vocabulary"):
        vocabulary.check()
    if kind == "text":
        bitext.check(data)
    elif kind in ("folder", "npz"):
        if not pathlib.Path(path).exists():
            raise UserError(f"data.name={data.name!r}: {path} does not exist")
    elif data.name != "digits":
        tfds_build.check(data.name, data.dir)


def _noisy(dataset: Dataset, rate: float | None) -> Dataset:
    """With symmetric noise on the training labels; a hold-out made of training examples keeps the right ones."""
    if not rate:
        return dataset
    train = dataset.splits["train"]
    labels = noise.symmetric(train.labels, rate, len(dataset.class_names))
    return Dataset(dataset.name, dataset.class_names, dataset.splits | {"train": Split(train.images, labels)},
                   int(np.sum(labels != train.labels)))


def _subset(name: str, splits: dict[str, Any], holdout: int, train_examples: int | None) -> dict[str, Any]:
    """Holds out training examples as "validation" and keeps only so many of the rest.

    One permutation of the training set, from a fixed seed, decides both: its front is held out and its back is
    trained on. So smaller training subsets lie inside larger ones, and do not depend on the hold-out. Both
    splits keep the data set's order.
    """
    if not holdout and train_examples is None:
        return splits
    train = splits["train"]
    available = len(train) - holdout
    if holdout and "validation" in splits:
        raise UserError(f"data.holdout={holdout}, but {name} has its own validation split; set data.holdout=0")
    if holdout < 0 or available < 1:
        raise UserError(f"data.holdout={holdout} must be from 0 to {len(train) - 1}: {name} has {len(train)} "
                        "training examples")
    if train_examples is not None and not 1 <= train_examples <= available:
        raise UserError(f"data.train_examples={train_examples} must be from 1 to {available}: {name} has "
                        f"{len(train)} training examples, of which data.holdout={holdout} are held out")
    # RandomState, not default_rng: NumPy has frozen its streams, so the split is the same in every version.
    order = np.random.RandomState(SPLIT_SEED).permutation(len(train))
    kept = available if train_examples is None else train_examples
    result = {"train": train.take(np.sort(order[len(order) - kept:]))}
    if holdout:
        result["validation"] = train.take(np.sort(order[:holdout]))
    return splits | result
