"""SentencePiece vocabularies: one for both languages of a data set, trained once and then cached."""
import functools
import hashlib
import io
import pathlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
from absl import logging
from jaxtyping import Int32

from ls_jax import cache
from ls_jax.data.text.tokens import END, PADDING
from ls_jax.errors import UserError
from ls_jax.workdir import files

FILE = "vocabulary.model"      # in a run's workdir
MOST_SENTENCES = 2_000_000     # to train on, evenly spaced; more take longer and change little
CHUNK = 100_000                # sentences that are held as Python lists at a time
RESERVED = 3 + 256             # padding, end, unknown, and the bytes, which spell everything that no piece covers


class Vocabulary:
    """The pieces of a byte-pair encoding. Id 0 is padding, 1 the end of a sentence. Bytes spell what no piece covers.

    Args:
        model: a serialised SentencePiece model, from `train`.
    """

    def __init__(self, model: bytes):
        self.model = model
        self._processor = _sentencepiece().SentencePieceProcessor(model_proto=model)

    def __len__(self) -> int:
        return self._processor.get_piece_size()

    @functools.cached_property
    def pieces(self) -> tuple[str, ...]:
        """The pieces by id; "▁" stands for a space."""
        return tuple(self._processor.id_to_piece(list(range(len(self)))))

    @functools.cached_property
    def sha256(self) -> str:
        """The hash of the model."""
        return hashlib.sha256(self.model).hexdigest()

    def encode(self, sentences: Sequence[str]) -> tuple[Int32[np.ndarray, " tokens"], Int32[np.ndarray, " sentences"]]:
        """(token ids of all sentences, concatenated, each sentence ending in END; the sentences' lengths)."""
        ids, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
        for start in range(0, len(sentences), CHUNK):
            some = [[*each, END] for each in self._processor.encode(list(sentences[start:start + CHUNK]))]
            lengths.append(np.array([len(each) for each in some], np.int32))
            ids.append(np.fromiter((token for each in some for token in each), np.int32, int(lengths[-1].sum())))
        return np.concatenate(ids), np.concatenate(lengths)

    def decode(self, ids: Iterable[Sequence[int] | np.ndarray]) -> list[str]:
        """Each sentence as one line of text, up to its first END and without padding."""
        kept = []
        for each in ids:
            tokens = [int(token) for token in each]
            tokens = tokens[:tokens.index(END)] if END in tokens else tokens
            kept.append([token for token in tokens if token != PADDING])
        texts = self._processor.decode(kept) if kept else []
        return [" ".join(text.splitlines()) for text in texts]  # a network may write the byte of a line break


def train(sentences: Sequence[str], size: int) -> Vocabulary:
    """A vocabulary of `size` pieces for the sentences. It is deterministic.

    Raises:
        UserError: the sentences do not yield that many pieces, or need more, since each character is a piece.
    """
    model = io.BytesIO()
    some = sentences[::-(-len(sentences) // MOST_SENTENCES) or 1]
    try:
        _sentencepiece().SentencePieceTrainer.train(
            sentence_iterator=iter(some), model_writer=model, vocab_size=size, model_type="bpe",
            character_coverage=0.9999, byte_fallback=True, pad_id=PADDING, eos_id=END, unk_id=2, bos_id=-1,
            num_threads=1, minloglevel=2)
    except RuntimeError as error:
        raise UserError(f"config.data.vocabulary={size} does not fit the training text of {len(sentences):,} "
                        f"sentences, {_reason(error)}; {RESERVED} pieces are padding, end, unknown and the "
                        "bytes") from error
    return Vocabulary(model.getvalue())


def kept(sentences: Sequence[str], size: int, workdir: str | pathlib.Path | None = None) -> Vocabulary:
    """The vocabulary of a data set: from the workdir, else from the cache directory, else newly trained and saved in
    both.

    Raises:
        UserError: as `train`; or the file in the workdir is damaged or of another size.
    """
    key = hashlib.sha256(f"{size}\n".encode())
    for sentence in sentences:
        key.update(sentence.encode() + b"\n")
    cached = cache.directory() / f"{key.hexdigest()[:16]}-{FILE}"
    own = pathlib.Path(workdir) / FILE if workdir is not None else None
    if own is not None and own.exists():
        return load(own, size)
    try:
        result = load(cached, size)
    except (OSError, UserError) as error:  # missing or damaged: train again
        logging.debug("no vocabulary from %s: %s", cached, error)
        result = train(sentences, size)
        _write(cached, result.model)
    if own is not None:
        _write(own, result.model)
    return result


def load(path: str | pathlib.Path, size: int | None = None) -> Vocabulary:
    """The vocabulary in a file.

    Raises:
        UserError: it is damaged, or the number of pieces is not `size`.
    """
    try:
        result = Vocabulary(pathlib.Path(path).read_bytes())
    except RuntimeError as error:
        raise UserError(f"{path} is no SentencePiece model: remove it, and the next run trains it again") from error
    if size is not None and len(result) != size:
        raise UserError(f"{path} has {len(result)} pieces, and config.data.vocabulary={size}: choose another --workdir")
    return result


def _reason(error):
    """SentencePiece's complaint about the text, without the names of its options."""
    if most := re.search(r"size too high.*<= (\d+)", str(error)):
        return f"which yields at most {most[1]} pieces"
    if least := re.search(r"required_chars\. \d+ vs (\d+)", str(error)):
        return f"which needs at least {least[1]} pieces"
    return f"as SentencePiece says: {error}"


def check() -> None:
    """Raise UserError unless SentencePiece is installed."""
    _sentencepiece()


def _write(path, model):
    """Save the model completely or not at all. A place that cannot be written to is skipped."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as file:
            file.write(model)
    except (OSError, UserError) as error:
        logging.info("vocabulary not kept in %s: %s", path, error)


def _sentencepiece():
    try:
        import sentencepiece  # here: only translation needs it
    except ModuleNotFoundError as error:
        raise UserError("text needs SentencePiece: pip install 'ls_jax[translation]' (or sentencepiece)") from error
    return sentencepiece
