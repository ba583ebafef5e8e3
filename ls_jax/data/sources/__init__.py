"""The sources of data sets: SOURCES lists them, each a module; `Source` is the protocol of such a module."""
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
    """A module that reads data sets. `data` is the config's section; FIELDS that are None by default may be absent in
    it.

    NAMES describes in messages the values of `data.name` that it reads: "npz:PATH". FIELDS are the fields of `data`
    that it reads besides `name` and `dir`. Two sources that read the same field declare it equally.
    """
    NAMES: str
    FIELDS: Mapping[str, Field]

    def owns(self, data: ml_collections.ConfigDict) -> bool:
        """Whether it reads this data set; the first source in SOURCES that does is taken."""
        ...

    def check(self, data: ml_collections.ConfigDict) -> None:
        """Raise UserError, with the fix, if the data set is missing or a library is: quickly, without reading it."""
        ...

    def load(self, data: ml_collections.ConfigDict, workdir: pathlib.Path | None = None) -> Dataset:
        """The splits: "train", and "test" or "validation" or both, before hold-out, subsetting and label noise.

        Images are uint8 [N, height, width, 1 or 3], labels int32 [N] from 0.

        Args:
            data: the config's section.
            workdir: where a run saves what it makes of its data, such as a vocabulary; None: no run.

        Raises:
            UserError: the data set is missing, damaged, or of another form.
        """
        ...


PARTS = ("NAMES", "FIELDS", "owns", "check", "load")

SOURCES = (
    "ls_jax.data.sources.digits",
    "ls_jax.data.sources.folder",
    "ls_jax.data.sources.npz",
    "ls_jax.data.sources.bitext",
    "ls_jax.data.pictures.stream",
    "ls_jax.data.sources.tfds",  # the last, since it owns every name
)


def every() -> list[Source]:
    """The sources, in the order in which `of` asks them."""
    return [_load(name) for name in SOURCES]


def _load(name):
    module = importlib.import_module(name)
    if not isinstance(module, Source):
        missing = [part for part in PARTS if not hasattr(module, part)]
        raise TypeError(f"{name} is no Source: it lacks {', '.join(missing)}")
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
            raise UserError(f"config.data.{name}={data[name]!r} is for {others}: leave it unset for "
                            f"data.name={data.name!r}")
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
    """Raise UserError unless the path in the name exists."""
    if not path_of(data).exists():
        raise UserError(f"data.name={data.name!r}: {path_of(data)} does not exist")


def names() -> list[str]:
    """The forms of `config.data.name`: "digits", "folder:PATH", ..., "a TFDS name"."""
    return list(dict.fromkeys(source.NAMES for source in every()))
