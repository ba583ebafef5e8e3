"""Streamed TFDS data sets: JPEGs of many sizes, such as imagenet2012, decoded while the devices compute.

The host decodes, crops and resizes (`jpeg`); the devices change colours, mirror and normalise (`augment`). The result
is a function of (seed, step, id) alone. A process reads only the rows that lie on its own devices.
"""
import concurrent.futures
import dataclasses
import functools
import itertools
import os
import pathlib
import sys
import threading
from collections.abc import Callable, Collection
from typing import Any

import jax
import ml_collections
import numpy as np
from jaxtyping import Int, Int32, UInt8

from ls_jax.data.dataset import Dataset
from ls_jax.data.pictures.jpeg import central_box, picture, random_box
from ls_jax.data.sources import tfds as tfds_build
from ls_jax.data.sources.folder import IMAGE_SIZE
from ls_jax.devices import mesh as meshes
from ls_jax.errors import UserError
from ls_jax.fields import Field, above, between, section, several, share

STREAM = 0xC407  # sets the random crops apart from any other use of the same seed
SEARCH_SEED = 190602629  # of the order in which `find` reads the examples
READ = 256       # records in memory at a time, when only their labels are needed
GREY = 128       # the pixels of an image that cannot be decoded
UNREAD = np.iinfo(np.int32).min  # the label of a record that was not read yet

NAMES = tfds_build.NAMES
FIELDS = {
    "image_size": IMAGE_SIZE,
    "crop": Field(dict(area=(0.08, 1.0), aspect=(3 / 4, 4 / 3), central=0.875),
                  "TFDS images of many sizes. area, aspect: ranges of a random crop's fraction of the area, and of its "
                  "width over height. central: the central crop's fraction of each side",
                  section(area=several(share(), count=2), aspect=several(above(0), count=2), central=share())),
    "damaged": Field(0.001, "TFDS images of many sizes: largest fraction of a split's images that may fail to decode; "
                     "they are replaced by grey images", between(0, float("inf"))),
}


def owns(data: ml_collections.ConfigDict) -> bool:
    """Whether an image size is set: then a TFDS name is this source's."""
    return data.get("image_size") is not None


def check(data: ml_collections.ConfigDict) -> None:
    """Raise UserError unless the build is there."""
    tfds_build.check(data)


def load(data: ml_collections.ConfigDict, workdir: pathlib.Path | None = None) -> Dataset:
    """The splits of `config.data`'s TFDS build, streamed. Splits without labels, as ImageNet's test split, are
    excluded.

    Raises:
        UserError: as `tfds_build.load`; or the images are no JPEGs of many sizes, or are in a place without random
            access.
    """
    _require_libraries()
    place = data.dir or os.environ.get("TFDS_DATA_DIR", "")
    if "://" in place:
        raise UserError(f"{data.name}: single images cannot be read from {place}: copy the build to a local disk "
                        f"(gcloud storage cp --recursive {place}/{data.name} DIR), or mount the bucket (gcsfuse), and "
                        "name that folder in data.dir")
    builder = tfds_build.open_builder(data.name, data.dir)
    features = builder.info.features
    if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise UserError(f"{data.name}: its features are {', '.join(features)}; it needs an image and a class label")
    if None not in features["image"].shape:
        raise UserError(f"data.image_size={data.image_size} is for images of many sizes, and those of {data.name} have "
                        "one: unset it")
    faults = Faults(data.name, data.damaged)
    splits = {name: Pictures(Records(builder, name, faults), data.image_size, data.crop)
              for name in ("train", "validation", "test") if name in builder.info.splits}
    labelled = {name: split for name, split in splits.items() if split.labels_of(np.array([0]))[0] >= 0}
    if "train" not in labelled or len(labelled) < 2:
        raise UserError(f"{data.name} has labels in {', '.join(labelled) or 'none'} of its splits; it needs train and "
                        "validation or test")
    return Dataset(data.name, _class_names(builder.name, features["label"].names), labelled)


def _class_names(dataset, names):
    """The build's class names; for ImageNet the first word and the synset, as in "tench (n01440764)"."""
    if dataset != "imagenet2012":
        return tuple(names)
    from tensorflow_datasets.datasets.siscore.labels import IMAGENET_LABELS_LIST
    return tuple(f"{words.split(',')[0]} ({synset})" for words, synset in zip(IMAGENET_LABELS_LIST, names, strict=True))


def _require_libraries():
    try:
        import cv2
        import simplejpeg  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"decoding images of many sizes needs {error.name}: pip install -e '.[imagenet]'") from error
    cv2.setNumThreads(1)  # for one image: the threads here decode one image each


class Faults:
    """The images of a data set that could not be decoded. Each is reported once, and too many end the run.

    Args:
        name: the data set's.
        share: the largest fraction of a split's images that may be damaged.
    """

    def __init__(self, name: str, share: float):
        self.name, self.share = name, share
        self.found: dict[str, dict[int, str]] = {}  # by split: {record's number: file name}
        self._lock = threading.Lock()

    def add(self, split: str, id: int, file: str, size: int, reason: str) -> None:
        """Count an image of a split of `size` examples.

        Raises:
            UserError: too many images of the split are damaged.
        """
        with self._lock:
            known = self.found.setdefault(split, {})
            new = id not in known
            known[id] = file
        if new:
            print(f"{self.name}: {split} example {id} ({file}) cannot be decoded ({reason}); a grey image replaces it "
                  f"({len(known)} so far)", file=sys.stderr, flush=True)
        if len(known) > self.share * size:
            raise UserError(f"{self.name}: {len(known)} of {size} {split} images cannot be decoded, more than "
                            f"config.data.damaged={self.share:g} allows; the last is {file}: prepare the data set "
                            "anew, or raise the limit")


@dataclasses.dataclass(eq=False)
class Records:
    """The records of one split of a build. It remembers the labels that were read."""
    builder: Any  # a tfds.core.DatasetBuilder
    name: str     # the split's
    faults: Faults

    def __post_init__(self):
        self.labels = np.full(len(self._source), UNREAD, np.int32)
        self._lock = threading.Lock()

    @functools.cached_property
    def _source(self):
        import tensorflow_datasets as tfds
        encoded = {"image": tfds.decode.SkipDecoding()}
        return self.builder.as_data_source(self.name, decoders=encoded, file_format="array_record")

    def read(self, ids: Int[np.ndarray, " batch"]) -> list[dict[str, Any]]:
        """The records of these numbers, each {"image": encoded bytes, "label", ...}.

        Raises:
            UserError: the build is damaged.
        """
        try:
            with self._lock:
                found = self._source.__getitems__([int(id) for id in ids])
        except (RuntimeError, ValueError, LookupError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{self.faults.name}: the build in {self.builder.data_path} is damaged ({reason}); delete "
                            "that folder and prepare it anew") from error
        self.labels[ids] = [example["label"] for example in found]
        return found


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """A streamed split: its examples are read and decoded on request.

    It is static in compiled programs, whose input is its batches.
    """
    records: Records | None                     # None: a stand-in that has a length and a shape and is never read
    size: int                                   # pixels a side
    crop: ml_collections.ConfigDict
    ids: Int32[np.ndarray, " examples"] | None = None  # numbers of the records that belong to it; None: all

    def __len__(self) -> int:
        return len(self.records.labels) if self.ids is None else len(self.ids)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.size, self.size, 3

    def rows(self, size: int) -> int:
        """The number of examples in a batch of this size."""
        return size

    def take(self, indices: Int[np.ndarray, " taken"]) -> "Pictures":
        """The examples at these indices, in their order."""
        return dataclasses.replace(self, ids=self._numbers(indices))

    @property
    def labels(self) -> Int32[np.ndarray, " examples"]:
        """All labels. They are stored with the images, so all records are read, once."""
        return self.labels_of(np.arange(len(self)))

    def labels_of(self, indices: Int[np.ndarray, " batch"]) -> Int32[np.ndarray, " batch"]:
        """Labels of some examples. Records are read only once."""
        numbers = self._numbers(indices)
        unread = np.unique(numbers[self.records.labels[numbers] == UNREAD])
        for start in range(0, len(unread), READ):
            self.records.read(unread[start:start + READ])
        return self.records.labels[numbers]

    def find(self, classes: Collection[int], count: int) -> Int32[np.ndarray, " found"]:
        """Indices of at most `count` examples of each of these classes, in ascending order.

        They are the first in a random order that is fixed for the split. Labels are stored with the images, so records
        are read until all are found: about count x K records if the split has K classes of equal size. Each of several
        processes reads its part.
        """
        found: dict[int, list[int]] = {k: [] for k in classes}
        order = np.random.RandomState(SEARCH_SEED).permutation(len(self))
        for start in range(0, len(order), tfds_build.CHUNK):
            if min(map(len, found.values())) >= count:
                break
            indices = order[start:start + tfds_build.CHUNK]
            for index, label in zip(indices, meshes.in_parts(self.labels_of, indices)):
                if label in found and len(found[label]) < count:
                    found[label].append(index)
        return np.sort(np.concatenate([*found.values(), []])).astype(np.int32)

    @property
    def images(self) -> UInt8[np.ndarray, "examples height width channels"]:
        """All images, as they are evaluated; for a few, use `take` first."""
        return self.decode(np.arange(len(self)))

    def decode(self, indices: Int[np.ndarray, " batch"], draw: Callable[[int], np.random.Generator] | None = None,
               ) -> UInt8[np.ndarray, "batch height width channels"]:
        """Images of some examples: central crops, or random crops if `draw` is given.

        Args:
            indices: of the examples.
            draw: the generator of random numbers for an example's index.

        Raises:
            UserError: too many cannot be decoded.
        """
        numbers = self._numbers(indices)
        records = self.records.read(numbers)
        result = np.empty((len(numbers), *self.image_shape), np.uint8)

        def decode_one(position):
            if draw:
                box = functools.partial(random_box, self.crop.area, self.crop.aspect, draw(int(indices[position])))
            else:
                box = functools.partial(central_box, self.crop.central)
            try:
                picture(records[position]["image"], self.size, box, result[position])
            except (ValueError, OSError, SyntaxError) as error:
                result[position] = GREY
                self._report(int(numbers[position]), records[position], error)

        list(_threads().map(decode_one, range(len(numbers))))
        return result

    def _report(self, number, example, error):
        """Count an image that could not be decoded."""
        name = example.get("file_name", b"no name")
        self.records.faults.add(self.records.name, number, name.decode() if isinstance(name, bytes) else str(name),
                                len(self.records.labels), " ".join(str(error).split())[:80])

    def damaged(self) -> Int[np.ndarray, " damaged"]:
        """Numbers of the records that some process could not decode, also of records outside this split."""
        flags = np.zeros(len(self.records.labels), bool)
        flags[list(self.records.faults.found.get(self.records.name, ()))] = True
        return np.flatnonzero(meshes.anywhere(flags))

    def _numbers(self, indices):
        return np.asarray(indices, np.int32) if self.ids is None else self.ids[indices]


@functools.cache
def _threads():
    """Decoding threads: libjpeg-turbo and OpenCV release Python's lock."""
    return concurrent.futures.ThreadPoolExecutor(os.cpu_count(), "decode")


def generator(seed: int, step: int, index: int) -> np.random.Generator:
    """The host's random numbers for one example at one step. It is counter-based, so the order of the calls is free."""
    return np.random.Generator(np.random.Philox(key=[STREAM << 32 | seed, step << 32 | index]))


class Rows:
    """A lazy array: indexing decodes only the requested rows, so each host decodes its own shard.

    Args:
        split: whose examples.
        ids: [..., batch].
        seeds: one for each member, for random crops; `ids` are then [members, steps, batch]. None: central crops.
        step: the first of the steps.
        labels: whether the array holds the labels instead of the images.
    """

    def __init__(self, split: Pictures, ids: Int[np.ndarray, "..."], seeds: Int[np.ndarray, " members"] | None = None,
                 step: int = 0, labels: bool = False):
        self._split, self._ids, self._seeds, self._step, self._labels = split, ids, seeds, step, labels
        self.shape = ids.shape if labels else (*ids.shape, *split.image_shape)
        self.dtype = np.dtype(np.int32 if labels else np.uint8)
        self._made: dict[tuple[int, int, int], UInt8[np.ndarray, "height width channels"]] = {}  # by seed, step and id

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self[...]

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, tuple):
            index = index[:self._ids.ndim]
        ids = self._ids[index]
        if self._labels:
            return self._split.labels_of(ids.reshape(-1)).reshape(ids.shape)
        seeds, steps = (np.broadcast_to(values, self._ids.shape)[index] for values in self._seeds_and_steps())
        keys = [tuple(key) for key in np.stack([seeds, steps, ids], axis=-1).reshape(-1, 3).tolist()]
        self._make(sorted(set(keys) - self._made.keys()))  # members of one seed share their images
        return np.stack([self._made[key] for key in keys]).reshape(*ids.shape, *self._split.image_shape)

    def _seeds_and_steps(self):
        if self._seeds is None:
            return 0, 0
        return np.asarray(self._seeds).reshape(-1, 1, 1), self._step + np.arange(self._ids.shape[1]).reshape(1, -1, 1)

    def _make(self, keys):
        for (seed, step), of_step in itertools.groupby(keys, lambda key: key[:2]):
            of_step = list(of_step)
            draw = None if self._seeds is None else functools.partial(generator, seed, step)
            self._made |= zip(of_step, self._split.decode(np.array([id for _, _, id in of_step]), draw))
