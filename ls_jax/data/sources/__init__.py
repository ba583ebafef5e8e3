"""Where data sets come from: SOURCES lists the sources, a module each; `Source` says what such a module has."""
import importlib
import pathlib
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import ml_collections

from ls_jax.data.dataset import Dataset
from ls_jax.errors import UserError
from ls_jax.fields import Field


@runtime_checkable
class Source(Protocol):
    """A module that reads data sets. `data` is the config's section of that name; of FIELDS one that is None by default may be absent.

    NAMES says which values of `data.name` are its own, as messages put it: "npz:PATH". FIELDS are the fields of `data` that it reads
    beside `name` and `dir`; two sources that read one field declare it equal.
    """
    NAMES: str
    FIELDS: Mapping[str, Field]

    def owns(self, data: ml_collections.ConfigDict) -> bool:
        """Whether it reads this data set; the first source in SOURCES that does is taken."""
        ...

    def check(self, data: ml_collections.ConfigDict) -> None:
        """Raise UserError, with what to do, if the data set is not there or cannot be read: quickly, from its name and files alone."""
        ...

    def load(self, data: ml_collections.ConfigDict, workdir: pathlib.Path | None = None) -> Dataset:
        """The splits "train", "test" or "validation" or both: images uint8 [N, height, width, 1 or 3], labels int32 [N] from 0.

        Hold-out, subset and label noise are not its business. `workdir` is where a run keeps what it has made of its data; None: no run.
        UserError: the data set is not there, or damaged, or not of this form.
        """
        ...


PARTS = ("NAMES", "FIELDS", "owns", "check", "load")

SOURCES = (
    "ls_jax.data.sources.digits",
    "ls_jax.data.sources.folder",
    "ls_jax.data.sources.npz",
    "ls_jax.data.sources.bitext",
    "ls_jax.data.pictures.stream",
    "ls_jax.data.sources.tfds",  # the last: every name that is no other's
)


def every() -> list[Source]:
    """The sources, in the order in which they are asked whether a data set is theirs."""
    return [_load(name) for name in SOURCES]


def _load(name):
    module = importlib.import_module(name)
    if not isinstance(module, Source):
        raise TypeError(f"{name} is no Source: it lacks {', '.join(part for part in PARTS if not hasattr(module, part))}")
    return module


def of(data: ml_collections.ConfigDict) -> Source:
    """The source of a data set.

    Raises:
        UserError: a field is set that this source does not read.
    """
    found = next(source for source in every() if source.owns(data))
    for name, field in fields().items():
        if name not in found.FIELDS and field.default is None and data.get(name) is not None:
            others = " and ".join(dict.fromkeys(source.NAMES for source in every() if name in source.FIELDS))
            raise UserError(f"config.data.{name}={data[name]!r} is for {others}: leave it unset for data.name={data.name!r}")
    return found


def fields() -> dict[str, Field]:
    """The fields of `config.data` that any source declares, by name."""
    declared: dict[str, Field] = {}
    for source in every():
        for name, field in source.FIELDS.items():
            if declared.setdefault(name, field) != field:
                raise ValueError(f"config.data.{name} is declared twice, and differently: {declared[name]} and {field}")
    return declared


def path_of(data: ml_collections.ConfigDict) -> pathlib.Path:
    """The path in a name such as npz:PATH."""
    return pathlib.Path(data.name.partition(":")[2]).expanduser()


def check_path(data: ml_collections.ConfigDict) -> None:
    """Raise UserError unless there is something at the path in the name."""
    if not path_of(data).exists():
        raise UserError(f"data.name={data.name!r}: {path_of(data)} does not exist")


def names() -> list[str]:
    """What `config.data.name` may be: "digits", "folder:PATH", ..., "a TFDS name"."""
    return list(dict.fromkeys(source.NAMES for source in every()))
