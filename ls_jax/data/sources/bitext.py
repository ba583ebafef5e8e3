"""English-German sentence pairs from a folder of text files or a TFDS build, tokenised and packed into rows."""
import gzip
import pathlib
import sys
import zlib
from typing import Any

import ml_collections
import numpy as np

from ls_jax.data import holdout
from ls_jax.data.dataset import Dataset, Sentences, Text, TextSplit
from ls_jax.data.sources import tfds as tfds_build
from ls_jax.data.text import packing, vocabulary
from ls_jax.errors import UserError
from ls_jax.fields import Field, whole

NAMES = "text:PATH"
FIELDS = {
    "vocabulary": Field(None, "text: number of pieces, for both languages together", whole(1), kind=int),
    "row_length": Field(None, "text: tokens in a row of packed sentences, the same for source and target", whole(1),
                        kind=int),
}
LANGUAGES = ("en", "de")  # from, to
MOST_UNEQUAL = 9          # training pairs whose lengths differ by a larger factor are excluded (Moses' clean-corpus-n)
HOLDS = "a folder of text holds train.en and train.de, and may hold val.* and test*.*"
NAMED = 5                 # number of excluded lines that a message names


def owns(data: ml_collections.ConfigDict) -> bool:
    """Whether the name begins with text:, or a vocabulary is set: then a TFDS name is this source's."""
    return data.name.startswith("text:") or bool(data.get("vocabulary"))


def load(data: ml_collections.ConfigDict, workdir: pathlib.Path | None = None) -> Dataset:
    """The data set `text:PATH`, or a translation data set of TFDS, as TextSplits.

    PATH holds train.en and train.de, with the same number of lines; perhaps val.*; and test.* or several test*.*, the
    first of which by name is the split "test". All may be compressed, as train.en.gz. The vocabulary is trained on the
    whole training text.

    Args:
        data: `config.data`. The pairs are held out and selected here, before they are packed.
        workdir: where the vocabulary is saved; None: in the user's cache directory only.

    Raises:
        UserError: a file is missing, damaged, not UTF-8, or has more lines than its translation; no training pair is
            left; or the vocabulary does not fit the text.
    """
    if not data.get("vocabulary") or not data.get("row_length"):
        raise UserError(f"{data.name} is text: set config.data.vocabulary to its number of pieces, such as 8000, "
                        "config.data.row_length to the tokens in a row, such as 64, and config.model to a Transformer")
    if data.name.startswith("text:"):
        read = read_folder(folder(data))
    else:
        read = tfds_build.load_translation(data.name, data.dir, LANGUAGES)
    pieces = vocabulary.kept([*read["train"].source, *read["train"].target], data.vocabulary, workdir)
    tests = sorted(name for name in read if name.startswith("test"))
    named = {name: read[name] for name in ("train", "validation") if name in read}
    if tests:
        named["test"] = read[tests[0]]
    pairs = holdout.split(data.name, named, data.holdout, data.train_examples)
    held_out = {name: sentences for name, sentences in pairs.items() if name not in ("train", "test")}
    held_out |= {name: read[name] for name in tests}
    splits, facts = {}, {}
    for name, sentences in pairs.items():
        splits[name], facts[name] = _packed(data.name, name, sentences, pieces, data.row_length)
    return Dataset(data.name, pieces.pieces, splits, text=Text(pieces, held_out, facts))


def check(data: ml_collections.ConfigDict) -> None:
    """Raise UserError unless SentencePiece, and the training files or the TFDS build, are there."""
    vocabulary.check()
    if data.name.startswith("text:"):
        _training_files(folder(data))
    else:
        tfds_build.check(data)


def folder(data: ml_collections.ConfigDict) -> pathlib.Path:
    """The folder of `text:PATH`. A relative PATH is in `config.data.dir` if that is set."""
    return pathlib.Path(data.dir or ".").expanduser() / pathlib.Path(data.name.partition(":")[2]).expanduser()


def read_folder(path: pathlib.Path) -> dict[str, Sentences]:
    """{"train", "validation" if there is val.*, "test" or "test2016", …: pairs} of a folder's files.

    Raises:
        UserError: as `load`.
    """
    _training_files(path)
    first = LANGUAGES[0]
    files = [file.name for file in path.iterdir() if file.name.removesuffix(".gz").endswith(f".{first}")]
    found = sorted({name.split(".")[0] for name in files})
    stems = {"train": "train", "val": "validation", **{name: name for name in found if name.startswith("test")}}
    return {name: _pairs(path, stem) for stem, name in stems.items() if stem in found}


def _training_files(folder):
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder (text:PATH is in config.data.dir, where that is set); {HOLDS}")
    return _files(folder, "train")


def _pairs(folder, stem):
    """The lines of STEM.en and STEM.de."""
    files = _files(folder, stem)
    source, target = (_lines(file) for file in files)
    if len(source) != len(target):
        raise UserError(f"{files[0]} has {len(source):,} lines and {files[1].name} {len(target):,}: they must be "
                        "translations line by line")
    return Sentences(source, target, np.arange(1, len(source) + 1))


def _files(folder, stem):
    """The files of the text STEM in both languages."""
    return [_file(folder, f"{stem}.{language}") for language in LANGUAGES]


def _file(folder, name):
    for file in (folder / name, folder / f"{name}.gz"):
        if file.is_file():
            return file
    raise UserError(f"{folder / name}: no such file (nor {name}.gz); {HOLDS}")


def _lines(file):
    """A file's lines without their ends. (str.splitlines would also split at Unicode's other line separators.)"""
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}: line {line:,} is not UTF-8 ({error.reason}): convert the file, for example with "
                        "iconv -t UTF-8") from error
    if len(lines) == 1 and "\r" in lines[0].rstrip("\r"):
        raise UserError(f"{file}: its lines end in CR alone, as on the first Macs: convert the file, for example with "
                        "tr '\\r' '\\n'")
    if not any(line.strip() for line in lines):
        raise UserError(f"{file} is empty: {HOLDS}")
    return [line.rstrip("\r") for line in (lines[:-1] if not lines[-1] else lines)]


def _packed(data_set: str, name: str, pairs: Sentences, pieces: vocabulary.Vocabulary,
            length: int) -> tuple[TextSplit, dict[str, Any]]:
    """A split's rows, and the facts about it. Reports excluded pairs on stderr."""
    (source, source_lengths), (target, target_lengths) = map(pieces.encode, (pairs.source, pairs.target))
    shorter, longer = np.minimum(source_lengths, target_lengths), np.maximum(source_lengths, target_lengths)
    wrong = {"empty": shorter == 1, "overlong": (shorter > 1) & (longer > length)}  # every sentence has its END
    if name == "train":
        wrong["misaligned"] = (shorter > 1) & (longer <= length) & (longer - 1 > MOST_UNEQUAL * (shorter - 1))
    kept = ~np.any(list(wrong.values()), axis=0)
    reasons = "; ".join(_reason(kind, pairs.lines[which]) for kind, which in wrong.items() if which.any())
    if not kept.any():
        raise UserError(f"{data_set}: none of the {len(pairs):,} pairs of {name} can be used ({reasons}); "
                        f"a sentence may have config.data.row_length={length} tokens")
    if reasons:
        print(f"{data_set}: {len(pairs) - kept.sum():,} of {len(pairs):,} pairs of {name} are excluded: {reasons}",
              file=sys.stderr, flush=True)
    split = packing.pack(_only(source, source_lengths, kept), _only(target, target_lengths, kept), length)
    shares = packing.density(split)
    return split, {"pairs": int(kept.sum()), "rows": len(split), "row_length": length,
                   "tokens": {"source": int(source_lengths[kept].sum()), "target": int(target_lengths[kept].sum())},
                   "no padding": {"source": round(shares[0], 4), "target": round(shares[1], 4),
                                  "both": round(sum(shares) / 2, 4)},
                   "left out": {kind: int(which.sum()) for kind, which in wrong.items()}}


def _reason(kind, lines):
    named = ", ".join(str(line) for line in lines[:NAMED])
    return f"{len(lines):,} {kind} (line{'s' if len(lines) > 1 else ''} {named}{', …' if len(lines) > NAMED else ''})"


def _only(ids, lengths, kept):
    return ids[np.repeat(kept, lengths)], lengths[kept]
