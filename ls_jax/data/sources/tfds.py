"""TFDS data sets, read into memory without TensorFlow, and cached as arrays for a quick next start.

A build must be in the ARRAY_RECORD format. Decoding an image takes 0.1 to 0.3 ms (10 s for MNIST, 14 s for CIFAR-10),
so the arrays are saved once in `ls_jax_arrays.npz` beside the build, or in the user's cache directory if the build
cannot be written to. Reading them takes about 1 s. They are used only while the build's files are unchanged.
"""
import difflib
import hashlib
import io
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np
from absl import logging
from PIL import Image

from ls_jax import cache
from ls_jax.data.dataset import Dataset, Sentences, Split
from ls_jax.data.sources import names, npz
from ls_jax.errors import UserError
from ls_jax.fields import Field
from ls_jax.workdir import files

NAMES = "a TFDS name"
FIELDS: Mapping[str, Field] = {}

CACHE_NAME = "ls_jax_arrays.npz"
CHUNK = 4096  # records read at a time


def owns(data: ml_collections.ConfigDict) -> bool:
    """True: every name may be a TFDS name."""
    return True


def check(data: ml_collections.ConfigDict) -> None:
    """Raise UserError, with the command that prepares the data set, unless it is prepared."""
    open_builder(data.name, data.dir)


def load(data: ml_collections.ConfigDict, workdir: pathlib.Path | None = None) -> Dataset:
    """The splits train, test and perhaps validation of a prepared TFDS data set of images of one size with labels.

    If there is no test, validation is the split "test".

    Args:
        data: `name` is TFDS's, `dataset[/config][:version]`. `dir` is TFDS's data_dir; None: TFDS's default, which is
            $TFDS_DATA_DIR or ~/tensorflow_datasets.
        workdir: not used.

    Raises:
        UserError: the data set is unknown, damaged, or of another kind; or it is not prepared, or in another format,
            and the message has the command that prepares or converts it.
    """
    name, data_dir = data.name, data.dir
    builder = open_builder(name, data_dir)
    _check_features(name, builder.info.features)
    sources = _sources(name, set(builder.info.splits))
    fingerprint = _fingerprint(builder.data_path)
    splits = _load_cache(builder, fingerprint)
    if splits is None:
        try:
            splits = {split: _read(builder, source) for split, source in sources.items()}
        except (RuntimeError, ValueError, LookupError, OSError, SyntaxError) as error:  # array_record, TFDS, Pillow
            raise _damaged(name, data_dir, builder.data_path, error) from error
        _save_cache(builder, fingerprint, splits)
    return Dataset(name, tuple(builder.info.features["label"].names), splits)


def load_translation(name: str, data_dir: str | None, languages: tuple[str, str]) -> dict[str, Sentences]:
    """The sentence pairs of each split, train, validation and test, of a prepared TFDS data set such as
    `wmt14_translate/de-en`.

    Args:
        name, data_dir: `data.name` and `data.dir`, as in `load`.
        languages: of the source and of the target.

    Raises:
        UserError: as `load`; or the examples are no texts in these languages.
    """
    builder = open_builder(name, data_dir)
    features, present = builder.info.features, set(builder.info.splits)
    if not set(languages) <= set(features):
        raise UserError(f"{name}: its features are {', '.join(features)}; to translate it needs "
                        f"{' and '.join(languages)}")
    if "train" not in present:
        raise UserError(f"{name}: has the splits {', '.join(sorted(present))}; it needs train")
    result = {}
    for split in ("train", "validation", "test"):
        if split in present:
            try:
                source = builder.as_data_source(split, file_format="array_record")
                texts: tuple[list[str], ...] = [], []
                for start in range(0, len(source), CHUNK):
                    for example in source.__getitems__(list(range(start, min(start + CHUNK, len(source))))):
                        for language, text in zip(languages, texts):
                            text.append(example[language].decode())
                result[split] = Sentences(*texts, np.arange(1, len(source) + 1))
            except (RuntimeError, ValueError, LookupError, OSError) as error:  # array_record, TFDS, no UTF-8
                raise _damaged(name, data_dir, builder.data_path, error) from error
    return result


def open_builder(name: str, data_dir: str | None) -> Any:
    """The TFDS builder of a data set that is prepared as ARRAY_RECORD."""
    import tensorflow_datasets as tfds  # half a second, so only when needed
    import tensorflow_datasets.translate  # noqa: F401  (WMT's sets are known only once this is imported)

    try:
        build = tfds.builder(name, data_dir=data_dir).data_path
    except tfds.core.registered.DatasetNotFoundError as error:
        raise _unknown(name, error) from error
    except Exception as error:  # AssertionError, ValueError, ParseError, ImportError ...
        if _of_another(name):
            raise _unknown(name, error) from error
        raise UserError(f"data.name={name!r} cannot be opened ({_one_line(error)}); correct the name, or delete the "
                        f"build if it is damaged and run: {_prepare(name, data_dir)}") from error
    if not (build / "dataset_info.json").exists():
        raise UserError(f"{name} is not prepared in {build}; prepare it once (this alone needs TensorFlow: pip "
                        f"install tensorflow) with: {_prepare(name, data_dir)}")
    try:
        builder = tfds.builder_from_directory(build)  # unlike tfds.builder, knows a format that was added later
    except Exception as error:  # the same
        raise _damaged(name, data_dir, build, error) from error
    formats = {format.value for format in builder.info.available_file_formats()}
    if "array_record" not in formats:
        absolute = build if _is_remote(build) else os.path.abspath(build)
        raise UserError(f"{name} is prepared in {build} as {', '.join(formats)}, which only TensorFlow reads; convert "
                        "it once (this alone needs: pip install tensorflow apache-beam mlcroissant) with: tfds "
                        f"convert_format --dataset_version_dir={absolute} --out_file_format=array_record")
    return builder


def _unknown(name: str, error: Exception) -> UserError:
    """The error for a name that no source knows, with the nearest name or prefix of another source, or else of TFDS."""
    found = re.search(r"Did you mean: \S+ -> (\S+)", str(error))
    meant = _of_another(name) or (found and found[1])
    hint = f" (did you mean {meant!r}?)" if meant else ""
    return UserError(f"data.name={name!r} is no data set that TFDS knows{hint}; it may be {', '.join(names())}")


def _of_another(name: str) -> str | None:
    """Another source's NAMES if this name resembles it: "folder:PATH" for fodler:photos."""
    known = {each.partition(":")[0]: each for each in names() if each != NAMES}
    nearest = difflib.get_close_matches(name.partition(":")[0], known, n=1)
    return known[nearest[0]] if nearest else None


def _prepare(name: str, data_dir: str | None) -> str:
    """The command that prepares a data set. (`tfds build` needs more packages than it installs; this does not.)"""
    where = "" if data_dir is None else f", data_dir={data_dir!r}"
    builder = f"tfds.builder({name!r}{where}, file_format='array_record')"
    package = ", tensorflow_datasets.translate" if "translate" in name else ""  # else TFDS does not find them
    return f'python -c "import tensorflow_datasets as tfds{package}; {builder}.download_and_prepare()"'


def _damaged(name: str, data_dir: str | None, build: os.PathLike, error: Exception) -> UserError:
    return UserError(f"{name}: the build in {build} is damaged ({_one_line(error)}); delete that folder and run: "
                     f"{_prepare(name, data_dir)}")


def _check_features(name: str, features: Any) -> None:
    """Raises UserError unless the examples are images of one size with a class label."""
    if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise UserError(f"{name}: its features are {', '.join(features)}; it needs an image and a class label")
    shape, dtype = features["image"].shape, np.dtype(features["image"].np_dtype)
    if None in shape or shape[-1] not in (1, 3) or dtype != np.uint8:
        raise UserError(f"{name}: its images are {dtype} {shape} (height, width, channels); they must be uint8, of one "
                        "size, with 1 or 3 channels; set data.image_size to read JPEGs of many sizes")


def _sources(name: str, present: set[str]) -> dict[str, str]:
    """{our split: the build's split}."""
    if "train" not in present or not present & {"test", "validation"}:
        raise UserError(f"{name}: has the splits {', '.join(sorted(present))}; it needs train and test or validation")
    if "test" not in present:
        return {"train": "train", "test": "validation"}
    return {split: split for split in ("train", "validation", "test") if split in present}


def _read(builder: Any, split: str) -> Split:
    """A split, decoded by Pillow: TFDS's own decoding takes far longer."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    decoders = {"image": tfds.decode.SkipDecoding()}
    source = builder.as_data_source(split, decoders=decoders, file_format="array_record")
    shape, num_classes = features["image"].shape, features["label"].num_classes
    mode = {1: "L", 3: "RGB"}[shape[-1]]
    images = np.empty((len(source), *shape), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in range(0, len(source), CHUNK):
        ids = range(start, min(start + CHUNK, len(source)))
        for i, example in zip(ids, source.__getitems__(list(ids)), strict=True):
            with Image.open(io.BytesIO(example["image"])) as picture:
                pixels = np.asarray(picture if picture.mode == mode else picture.convert(mode))
            images[i] = pixels.reshape(shape)
            labels[i] = example["label"]
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if bad.size:
        raise ValueError(f"label {labels[bad[0]]} of {split} example {bad[0]} is not in 0 to {num_classes - 1}")
    return Split(images, labels)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _is_remote(path: os.PathLike) -> bool:
    """Whether a path is a URL such as gs://bucket/folder, which only etils' paths can open."""
    return "://" in os.fspath(path)


def _fingerprint(build: Any) -> str:
    """A hash of the names, lengths and modification times of the build's files."""
    files = [path for path in build.glob("*") if CACHE_NAME not in path.name]
    if _is_remote(build):
        states = [(path.name, path.stat().length, path.stat().mtime) for path in files]
    else:  # to the nanosecond, which etils' paths do not tell
        states = [(path.name, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in files]
    return hashlib.sha256(repr(sorted(states)).encode()).hexdigest()


def _caches(builder: Any, fingerprint: str) -> list[pathlib.Path]:
    """Where the arrays may be saved, in order of preference."""
    mine = cache.directory() / f"{builder.name}-{fingerprint[:16]}.npz"
    return [mine] if _is_remote(builder.data_path) else [pathlib.Path(builder.data_path) / CACHE_NAME, mine]


def _load_cache(builder: Any, fingerprint: str) -> dict[str, Split] | None:
    for path in _caches(builder, fingerprint):
        try:
            with np.load(path, allow_pickle=False) as file:
                if str(file["fingerprint"]) == fingerprint:
                    return npz.of_file(path).splits
        except Exception as error:  # absent, unreadable or damaged: decode again
            logging.debug("no arrays from %s: %s", path, error)
    return None


def _save_cache(builder: Any, fingerprint: str, splits: dict[str, Split]) -> None:
    """Save the arrays in the first place that can be written to."""
    arrays: dict[str, Any] = {"fingerprint": fingerprint, "class_names": builder.info.features["label"].names}
    for name, split in splits.items():
        arrays |= {f"{name}_images": split.images, f"{name}_labels": split.labels}
    for path in _caches(builder, fingerprint):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(path) as file:
                np.savez(file, **arrays)
            return
        except (OSError, UserError) as error:  # read-only, no space
            logging.info("arrays not kept in %s: %s", path, error)
