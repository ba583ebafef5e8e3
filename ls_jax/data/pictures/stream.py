"""TFDS data sets of JPEG pictures of many sizes, such as imagenet2012: read, decoded, cropped and resized while the devices compute.

What an example becomes is a function of (seed, step, id) alone, and only the rows that lie on this process's devices are read. Colours,
mirroring and normalisation happen on the devices (`augment`), decoding, cropping and resizing on the host (`jpeg`).
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
SEARCH_SEED = 190602629  # of the order in which examples of a class are looked for
READ = 256       # records in memory at a time, when only their labels are wanted
GREY = 128       # what a picture that cannot be decoded is replaced by


NAMES = tfds_build.NAMES
FIELDS = {
    "image_size": IMAGE_SIZE,
    "crop": Field(dict(area=(0.08, 1.0), aspect=(3 / 4, 4 / 3), central=0.875), "TFDS pictures of many sizes: the random crops' share of "
                  "the area and width over height; the central crop's share of a side",
                  section(area=several(share(), count=2), aspect=several(above(0), count=2), central=share())),
    "damaged": Field(0.001, "TFDS pictures of many sizes: largest share of a split's pictures that may fail to decode; grey ones take "
                     "their place", between(0, float("inf"))),
}


def owns(data: ml_collections.ConfigDict) -> bool:
    """A TFDS name, where there is a size to resize to."""
    return data.get("image_size") is not None


def check(data: ml_collections.ConfigDict) -> None:
    """Whether the build is there."""
    tfds_build.check(data)


def load(data: ml_collections.ConfigDict, workdir: pathlib.Path | None = None) -> Dataset:
    """The splits of `config.data`'s TFDS build, whose pictures are read as they are needed.

    Splits without labels, as ImageNet's test split, are left out.

    Raises:
        UserError: as `tfds_build.load`; or the pictures are no JPEGs of many sizes, or lie where they cannot be read at random.
    """
    _require_libraries()
    place = data.dir or os.environ.get("TFDS_DATA_DIR", "")
    if "://" in place:
        raise UserError(f"{data.name}: single pictures cannot be read from {place}: copy the build to a local disk (gcloud storage cp "
                        f"--recursive {place}/{data.name} DIR), or mount the bucket (gcsfuse), and name that folder in data.dir")
    builder = tfds_build.open_builder(data.name, data.dir)
    features = builder.info.features
    if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise UserError(f"{data.name}: its features are {', '.join(features)}; it needs an image and a class label")
    if None not in features["image"].shape:
        raise UserError(f"data.image_size={data.image_size} is for pictures of many sizes, and those of {data.name} have one: unset it")
    faults = Faults(data.name, data.damaged)
    splits = {name: Pictures(Records(builder, name, faults), data.image_size, data.crop)
              for name in ("train", "validation", "test") if name in builder.info.splits}
    labelled = {name: split for name, split in splits.items() if split.labels_of(np.array([0]))[0] >= 0}
    if "train" not in labelled or len(labelled) < 2:
        raise UserError(f"{data.name} has labels in {', '.join(labelled) or 'none'} of its splits; it needs train and validation or test")
    return Dataset(data.name, _class_names(builder.name, features["label"].names), labelled)


def _class_names(dataset, names):
    """Those of the build; ImageNet's synsets with the first word for each, as in "tench (n01440764)"."""
    if dataset != "imagenet2012":
        return tuple(names)
    from tensorflow_datasets.datasets.siscore.labels import IMAGENET_LABELS_LIST
    return tuple(f"{words.split(',')[0]} ({synset})" for words, synset in zip(IMAGENET_LABELS_LIST, names, strict=True))


def _require_libraries():
    try:
        import cv2
        import simplejpeg  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"decoding pictures of many sizes needs {error.name}: pip install -e '.[imagenet]'") from error
    cv2.setNumThreads(1)  # of a single picture: there are threads for pictures


class Faults:
    """The pictures of a data set that could not be decoded: each is named once, and too many end the run.

    Args:
        name: the data set's.
        share: of a split's pictures that may be damaged.
    """

    def __init__(self, name: str, share: float):
        self.name, self.share, self.found = name, share, {}
        self._lock = threading.Lock()

    def add(self, split: str, id: int, file: str, size: int, reason: str) -> None:
        """Count a picture of a split of `size` examples.

        Raises:
            UserError: there are more than the share.
        """
        with self._lock:
            known = self.found.setdefault(split, {})
            new = id not in known
            known[id] = file
        if new:
            print(f"{self.name}: {split} example {id} ({file}) cannot be decoded ({reason}); a grey picture takes its place "
                  f"({len(known)} so far)", file=sys.stderr, flush=True)
        if len(known) > self.share * size:
            raise UserError(f"{self.name}: {len(known)} of {size} {split} pictures cannot be decoded, more than config.data.damaged="
                            f"{self.share:g} of them allow, {file} the last: prepare the data set anew, or raise it")


@dataclasses.dataclass(eq=False)
class Records:
    """The examples of one split of a build, as they are stored; labels that were read are remembered."""
    builder: Any
    name: str
    faults: Faults

    def __post_init__(self):
        self.labels = np.full(len(self._source), np.iinfo(np.int32).min, np.int32)
        self._lock = threading.Lock()

    @functools.cached_property
    def _source(self):
        import tensorflow_datasets as tfds
        return self.builder.as_data_source(self.name, decoders={"image": tfds.decode.SkipDecoding()}, file_format="array_record")

    def read(self, ids: Int[np.ndarray, " batch"]) -> list[dict[str, Any]]:
        """The examples of these numbers, `image` as encoded bytes.

        Raises:
            UserError: the build is damaged.
        """
        try:
            with self._lock:
                found = self._source.__getitems__([int(id) for id in ids])
        except (RuntimeError, ValueError, LookupError, OSError) as error:
            raise UserError(f"{self.faults.name}: the build in {self.builder.data_path} is damaged "
                            f"({' '.join(str(error).split())[:300]}); delete that folder and prepare it anew") from error
        self.labels[ids] = [example["label"] for example in found]
        return found


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """A split whose examples are read and decoded when they are asked for; a static part of programs, which are given its batches."""
    records: Records | None                     # None: a stand-in that has a length and a shape and is never read
    size: int                                   # pixels a side
    crop: ml_collections.ConfigDict
    ids: Int32[np.ndarray, " examples"] | None = None  # of the records that belong to it; None: all

    def __len__(self) -> int:
        return len(self.records.labels) if self.ids is None else len(self.ids)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.size, self.size, 3

    def rows(self, size: int) -> int:
        """Examples in a batch of this size."""
        return size

    def take(self, indices: Int[np.ndarray, " taken"]) -> "Pictures":
        """The examples at these indices, in their order."""
        return dataclasses.replace(self, ids=self._numbers(indices))

    @property
    def labels(self) -> Int32[np.ndarray, " examples"]:
        """All labels. They lie among the pictures, so all records are read, once."""
        return self.labels_of(np.arange(len(self)))

    def labels_of(self, indices: Int[np.ndarray, " batch"]) -> Int32[np.ndarray, " batch"]:
        """Labels of some examples; only the records that were not read before are."""
        numbers = self._numbers(indices)
        unread = np.unique(numbers[self.records.labels[numbers] == np.iinfo(np.int32).min])
        for start in range(0, len(unread), READ):
            self.records.read(unread[start:start + READ])
        return self.records.labels[numbers]

    def find(self, classes: Collection[int], count: int) -> Int32[np.ndarray, " found"]:
        """Indices of at most `count` examples of each of these classes, the first in an order that is fixed for the split.

        Labels lie among the pictures, so records are read until all are found: about count x K of a split of K classes of equal size.
        Each of several processes reads its part.
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
        """All pictures, as they are evaluated; for a few, see `take`."""
        return self.decode(np.arange(len(self)))

    def decode(self, indices: Int[np.ndarray, " batch"],
               draw: Callable[[int], np.random.Generator] | None = None) -> UInt8[np.ndarray, "batch height width channels"]:
        """Pictures of some examples: central crops, or random ones where `draw` gives an index's generator.

        Raises:
            UserError: too many cannot be decoded.
        """
        numbers = self._numbers(indices)

        def one(position):
            number, example = int(numbers[position]), records[position]
            box = functools.partial(random_box, self.crop.area, self.crop.aspect, draw(int(indices[position]))) if draw else \
                functools.partial(central_box, self.crop.central)
            try:
                picture(example["image"], self.size, box, result[position])
            except (ValueError, OSError, SyntaxError) as error:
                result[position] = GREY
                name = example.get("file_name", b"no name")
                self.records.faults.add(self.records.name, number, name.decode() if isinstance(name, bytes) else str(name),
                                        len(self.records.labels), " ".join(str(error).split())[:80])

        records = self.records.read(numbers)
        result = np.empty((len(numbers), *self.image_shape), np.uint8)
        list(_threads().map(one, range(len(numbers))))
        return result

    def damaged(self) -> Int[np.ndarray, " damaged"]:
        """Numbers of the records, also of those that were left out of the split, that any process could not decode."""
        flags = np.zeros(len(self.records.labels), bool)
        flags[list(self.records.faults.found.get(self.records.name, ()))] = True
        return np.flatnonzero(meshes.anywhere(flags))

    def _numbers(self, indices):
        return np.asarray(indices, np.int32) if self.ids is None else self.ids[indices]


@functools.cache
def _threads():
    """Decoders: libjpeg-turbo and OpenCV let go of Python's lock."""
    return concurrent.futures.ThreadPoolExecutor(os.cpu_count(), "decode")


def generator(seed: int, step: int, index: int) -> np.random.Generator:
    """What is drawn on the host for one example at one step: counter-based, so in any order and on any process."""
    return np.random.Generator(np.random.Philox(key=[STREAM << 32 | seed, step << 32 | index]))


class Rows:
    """A batch's pictures or labels that are not there yet: like an array, of which the rows that are asked for are made.

    Args:
        split: whose examples.
        ids: [..., batch].
        seeds, step: of ids [members, steps, batch]: random crops for a member of this seed at `step` and the steps after it; None:
            central crops.
        labels: whether it is the labels.
    """

    def __init__(self, split: Pictures, ids: Int[np.ndarray, "..."], seeds: Int[np.ndarray, " members"] | None = None, step: int = 0,
                 labels: bool = False):
        self._split, self._ids, self._seeds, self._step, self._labels = split, ids, seeds, step, labels
        self.shape = ids.shape if labels else (*ids.shape, *split.image_shape)
        self.dtype = np.dtype(np.int32 if labels else np.uint8)
        self._made: dict[tuple[int, int, int], UInt8[np.ndarray, "height width channels"]] = {}  # by seed, step and id

    def __array__(self, dtype=None, copy=None):
        return self[...]

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, tuple):
            index = index[:self._ids.ndim]
        ids = self._ids[index]
        if self._labels:
            return self._split.labels_of(ids.reshape(-1)).reshape(ids.shape)
        seeds, steps = (np.broadcast_to(values, self._ids.shape)[index] for values in self._seeds_and_steps())
        keys = [tuple(key) for key in np.stack([seeds, steps, ids], axis=-1).reshape(-1, 3).tolist()]
        self._make(sorted(set(keys) - self._made.keys()))  # members of one seed, and devices with the same rows, share theirs
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
