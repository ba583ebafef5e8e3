"""`--mode=translate`: translates lines of text with a trained network."""
import io
import itertools
import os
import pathlib
import select
import sys
import time
from collections.abc import Iterator, Sequence

import ml_collections
import numpy as np

from ls_jax.data.text import vocabulary
from ls_jax.errors import UserError
from ls_jax.models.translator import Translator
from ls_jax.training import step, sweep
from ls_jax.workdir import checkpoint, files, log

CHUNK = 256           # lines that are read, checked and written together; lines of similar length share a batch
REPORT_EVERY = 10.0   # seconds
BLOCK = 2**16         # bytes that are read at once from a pipe
WAIT = 0.02           # seconds until lines count as coming slowly
TRAINED = 0.3         # a network that predicts fewer of the next tokens right has hardly been trained


def run(workdir: pathlib.Path, member: int, source: io.BufferedIOBase, target: io.BufferedIOBase) -> None:
    """Translate UTF-8 lines from one stream to another. Reports the network and the progress on stderr.

    Lines that come slowly, as from a keyboard, are answered one by one; of many lines, CHUNK are read at once.

    Raises:
        UserError: as `Network`; or a line is not UTF-8, or too long. The lines before its CHUNK have been written.
    """
    network = Network(workdir, member)
    print(f"translating with {network.name}", file=sys.stderr, flush=True)
    if network.warning:
        print(network.warning, file=sys.stderr, flush=True)
    start = reported = time.monotonic()
    done = 0
    for read in as_they_come(source):
        lines = [_decoded(line, number) for number, line in enumerate(read, done + 1)]
        target.write("".join(f"{line}\n" for line in network(lines, done + 1)).encode())
        target.flush()
        done, now = done + len(read), time.monotonic()
        if now - reported >= REPORT_EVERY:
            reported = now
            print(f"{done:,} lines  {done / (now - start):.3g} lines/s", file=sys.stderr, flush=True)


def as_they_come(source: io.BufferedIOBase) -> Iterator[list[bytes]]:
    """The lines of a stream, in lists of at most CHUNK. No line waits for the next one to be written."""
    try:
        descriptor = source.fileno()
    except OSError:  # a stream in memory
        while read := list(itertools.islice(source, CHUNK)):
            yield read
        return
    lines: list[bytes] = []
    rest, block = b"", os.read(descriptor, BLOCK)
    while block:  # which is empty at the end alone; a terminal tells its end once
        *whole, rest = (rest + block).split(b"\n")
        lines += [line + b"\n" for line in whole]
        if lines and (len(lines) >= CHUNK or not select.select([descriptor], [], [], WAIT)[0]):
            for first in range(0, len(lines), CHUNK):
                yield lines[first:first + CHUNK]
            lines = []
        block = os.read(descriptor, BLOCK)
    lines += [rest] if rest else []
    for first in range(0, len(lines), CHUNK):
        yield lines[first:first + CHUNK]


class Network:
    """A member of a run's sweep at its last checkpoint. It translates by the beam search of the run's config.

    Args:
        workdir: of a run on text, which may still be training.
        member: its number in the sweep, from 0.

    Raises:
        UserError: the workdir holds no such run, no checkpoint or no such member.
    """

    def __init__(self, workdir: pathlib.Path, member: int = 0):
        config = _config(workdir)
        rows = sweep.members(config)
        if not 0 <= member < len(rows):
            names = ", ".join(_named(rows, each) for each in range(len(rows)))
            raise UserError(f"--member={member}: {workdir} has the members {names}")
        held = checkpoint.Checkpoints(workdir)
        if not held.steps():
            raise UserError(f"{workdir} holds no checkpoint to translate with: train first (--mode=run or "
                            "--mode=train)")
        taken, state, _ = held.load()
        self.name = f"member {_named(rows, member)} after step {taken:,} of {config.steps:,}"
        self.warning = _warning(workdir, member, taken)
        self._params = sweep.take(state["ema"] if config.optimizer.ema else state["params"], member)
        self._pieces = _vocabulary(workdir, config.data.vocabulary)
        self._longest, self._length_penalty = config.data.row_length, config.translation.length_penalty
        graphdef, _ = step.build_network(config, len(self._pieces), None, None)
        self._translator = Translator(graphdef, beams=config.translation.beams[0], extra=config.translation.extra)

    def __call__(self, lines: Sequence[str], first: int = 1) -> list[str]:
        """The translation of each line; an empty line's is empty.

        Args:
            lines: sentences.
            first: the number of the first line, for messages.

        Raises:
            UserError: a line has more tokens than a training sentence may have.
        """
        ids, lengths = self._pieces.encode(lines)
        if (lengths > self._longest).any():
            which = int(np.argmax(lengths > self._longest))
            raise UserError(f"line {first + which:,} has {lengths[which]:,} tokens, and the network was trained on "
                            f"sentences of at most {self._longest} (config.data.row_length): split it")
        full = lengths > 1  # every sentence ends in END
        sources = [each for each, some in zip(np.split(ids, np.cumsum(lengths)[:-1]), full) if some]
        found = iter(self._pieces.decode(self._translator(self._params, sources, length_penalty=self._length_penalty)))
        return [next(found) if some else "" for some in full]


def _decoded(line, number):
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UserError(f"line {number:,} is not UTF-8 ({error.reason}): convert the text, for example with iconv -t "
                        "UTF-8") from error


def _warning(workdir, member, taken):
    """A line if the network's last accuracy on held-out tokens is that of one which has hardly been trained; or ""."""
    rows = [row for row in log.read_metrics(workdir) if row.get("member") == member and row.get("split") != "train"
            and row.get("accuracy") is not None and row["step"] <= taken]
    if not rows or rows[-1]["accuracy"] >= TRAINED:
        return ""
    last = rows[-1]
    return (f"this network has hardly been trained: it predicts {last['accuracy']:.0%} of the {last['split']} split's "
            "next tokens right; do not expect translations")


def _config(workdir):
    path = pathlib.Path(workdir) / "config.json"
    if not path.exists():
        raise UserError(f"{workdir} holds no run, since it has no config.json: name the workdir of one on text")
    config = ml_collections.ConfigDict(files.read_whole_config(path))
    if not config.data.get("vocabulary"):
        raise UserError(f"{workdir} holds networks of {config.data.name}, which do not translate: name the workdir of "
                        "a run on text")
    return config


def _vocabulary(workdir, size):
    path = pathlib.Path(workdir) / vocabulary.FILE
    if not path.exists():
        raise UserError(f"{path} is missing: copy it from where the run was trained")
    return vocabulary.load(path, size)


def _named(rows, member):
    """`3 (α=0.1, seed 0)`, with the learning rate and weight decay if they vary in the sweep."""
    row = rows[member]
    varying = [name for name in ("learning_rate", "weight_decay") if len({each[name] for each in rows}) > 1]
    extra = "".join(f", {name.replace('_', ' ')} {row[name]:g}" for name in varying)
    return f"{member} (α={row['alpha']:g}, seed {row['seed']}{extra})"
