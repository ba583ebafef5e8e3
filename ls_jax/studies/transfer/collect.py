"""Transfer: linear probes on a run's frozen features, one for each task of `config.transfer.data`."""
import ml_collections
import numpy as np

from ls_jax import data
from ls_jax.data import Dataset, Split, memory
from ls_jax.errors import UserError
from ls_jax.studies.common import records
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.transfer import measure as probe
from ls_jax.training import evaluate

ANIMALS = {"bird", "cat", "deer", "dog", "frog", "horse"}
CIFAR10 = ANIMALS | {"airplane", "automobile", "ship", "truck"}


def check(config: ml_collections.ConfigDict, dataset: Dataset) -> None:
    """Raise UserError where a task is unknown or unavailable, or its images do not have the shape of the run's."""
    tasks(config, dataset)


def collect(studied: Studied) -> list[records.Record]:
    """Records of "probe accuracy" on every task's test split, with the field `data`; none for students."""
    this, results = studied.run, []
    if this.config.distill:
        return []
    for task in tasks(this.config, this.dataset):
        train, test = (memory.place(task.splits[split], this.layout.mesh) for split in ("train", "test"))
        index = evaluate.evenly_spaced(len(task.splits["train"]), this.config.transfer.examples)
        every = np.arange(len(task.splits["test"]), dtype=np.int32)
        rows, values = [], []
        for (member, fitted_on), (_, tested_on) in zip(this.evaluator.predict(studied.states, train, index),
                                                       this.evaluator.predict(studied.states, test, every)):
            if member in studied.kept and studied.primary:
                fitted = probe.fit(fitted_on.features, fitted_on.labels, len(task.class_names))
                rows.append(studied.rows[member])
                values.append(fitted.accuracy(tested_on.features, tested_on.labels))
        results += records.summarize("transfer", "probe accuracy", "test", rows, values, data=task.name,
                                     probe_examples=len(index))
    return results


def tasks(config: ml_collections.ConfigDict, dataset: Dataset) -> list[Dataset]:
    """The data sets of `config.transfer.data`.

    Raises:
        UserError: one is unknown or unavailable, or its images do not have the shape of the run's.
    """
    return [_task(name, config, dataset) for name in config.transfer.data]


def _task(name, config, dataset):
    if name == "animals":
        return _animals(dataset)
    whole = ml_collections.ConfigDict(
        {**config.data.to_dict(), "name": name, "holdout": 0, "train_examples": None, "label_noise": None})
    other = data.load(whole)
    here, there = (each.splits["train"].image_shape for each in (dataset, other))
    if here != there:
        raise UserError(
            f"config.transfer.data holds {name!r}, whose images are {there}; the run's are {here}: choose another data "
            f"set"
        )
    return other


def _animals(dataset):
    if set(dataset.class_names) != CIFAR10:
        raise UserError(
            f"config.transfer.data holds 'animals', which needs CIFAR-10's classes: {dataset.name} has others")
    is_animal = np.array([name in ANIMALS for name in dataset.class_names], np.int32)
    return Dataset("animals", ("vehicle", "animal"), {name: Split(split.images, is_animal[split.labels])
                                                      for name, split in dataset.splits.items()})
