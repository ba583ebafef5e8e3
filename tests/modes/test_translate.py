"""Lines in, lines out: by the right network, in their order, and one line about what cannot be translated."""
import io
import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx

from ls_jax import config as configs
from ls_jax import models
from ls_jax.data.text import vocabulary
from ls_jax.errors import UserError
from ls_jax.modes import translate
from ls_jax.workdir.checkpoint import Checkpoints

pytest.importorskip("sentencepiece", reason="text needs SentencePiece: pip install -e '.[translation]'")

ROOT = pathlib.Path(__file__).resolve().parents[1]
LINES = ["one two three", "four", "", "seven eight nine nine nine", "   ", "five six", "one"]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """What a run of two members leaves: random networks with strong opinions, but none on the end of a sentence."""
    folder = tmp_path_factory.mktemp("run")
    config = configs.load("configs/multi30k_transformer.py", "smoke")
    config.data.update(vocabulary=300, row_length=16)
    config.translation.update(beams=(2, 1), extra=3)
    pieces = vocabulary.train(["one two three four five six seven eight nine"] * 5, 300)
    (folder / vocabulary.FILE).write_bytes(pieces.model)
    (folder / "config.json").write_text(json.dumps(configs.plain(config)))

    def params(key):
        model = models.build(**config.model, num_classes=300, rngs=nnx.Rngs(key))
        weights = nnx.to_pure_dict(nnx.split(model, nnx.Param)[1])
        # neither padding, end, unknown nor bytes
        return weights | {"embedding": (3 * weights["embedding"]).at[:259].set(0)}

    average, last = (jax.jit(jax.vmap(params))(jax.random.split(jax.random.key(seed), 2)) for seed in (0, 1))
    with Checkpoints(folder) as held:
        held.save(4, {"params": last, "ema": average, "diverged": np.full(2, -1)})
    return folder


def translated(workdir, text, member=0):
    target = io.BytesIO()
    translate.run(workdir, member, io.BytesIO(text), target)
    return target.getvalue().decode()


def test_a_line_comes_out_for_each_that_goes_in(workdir, monkeypatch, capfd):
    monkeypatch.setattr(translate, "CHUNK", 3)
    found = translated(workdir, "\n".join(LINES).encode())
    assert found.endswith("\n") and found.count("\n") == len(LINES)
    by_line = found.split("\n")
    assert [bool(line) for line in by_line[:-1]] == [bool(line.strip()) for line in LINES] and len(set(by_line)) > 4
    alone = [translated(workdir, f"{line}\n".encode()) for line in LINES]
    assert "".join(alone) == found
    assert translated(workdir, b"\xef\xbb\xbf" + "\r\n".join(LINES).encode()) == found, "as Windows writes it"
    assert translated(workdir, b"") == ""
    out, err = capfd.readouterr()
    assert not out and "translating with member 0 (α=0, seed 0) after step 4 of 6" in err


def test_the_member_and_its_average_are_those_asked_for(workdir, tmp_path):
    first, second = (translate.Network(workdir, member)(LINES) for member in (0, 1))
    assert first != second
    for file in (vocabulary.FILE, "checkpoints"):
        (tmp_path / file).symlink_to(workdir / file)
    config = json.loads((workdir / "config.json").read_text())
    config["optimizer"]["ema"] = 0.9
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert translate.Network(tmp_path, 0)(LINES) not in (first, second)


@pytest.mark.parametrize("text, message", [
    (b"one\nK\xfcken\n", "line 2 is not UTF-8 (invalid start byte): convert the text"),
    (b"one\n" + b"two three " * 20, "line 2 has 61 tokens, and the network was trained on sentences of at most 16 "
                                    "(config.data"),
])
def test_a_line_that_cannot_be_translated_is_named(workdir, monkeypatch, text, message):
    monkeypatch.setattr(translate, "CHUNK", 1)
    target = io.BytesIO()
    with pytest.raises(UserError) as error:
        translate.run(workdir, 0, io.BytesIO(text), target)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert target.getvalue().count(b"\n") == 1, "what came before is written"


def test_a_workdir_that_cannot_translate_is_told(workdir, tmp_path):
    def told(message, folder, member=0):
        with pytest.raises(UserError) as error:
            translate.Network(folder, member)
        assert message in str(error.value) and "\n" not in str(error.value)

    told("--member=2: ", workdir, 2)
    told("has the members 0 (α=0, seed 0), 1 (α=0.1, seed 0)", workdir, -1)
    told("holds no run, since it has no config.json", tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(configs.plain(configs.default())))
    told("holds networks of digits, which do not translate", tmp_path)
    config.write_text((workdir / "config.json").read_text())
    told("holds no checkpoint to translate with: train first", tmp_path)
    (tmp_path / "checkpoints").symlink_to(workdir / "checkpoints")
    told("vocabulary.model is missing", tmp_path)


def test_lines_are_taken_as_they_come(monkeypatch):
    monkeypatch.setattr(translate, "CHUNK", 3)
    reads, writes = os.pipe()
    with open(reads, "rb") as source, open(writes, "wb", buffering=0) as target:
        found = translate.as_they_come(source)
        for written, read in ((b"a\n", [b"a\n"]), (b"b\nc", [b"b\n"]), (b"d\n\n", [b"cd\n", b"\n"]),
                              (b"1\n2\n3\n4\n", [b"1\n", b"2\n", b"3\n"])):
            target.write(written)
            assert next(found) == read
        target.write(b"last")
        target.close()
        assert list(found) == [[b"4\n"], [b"last"]]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 1000])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_the_lines_of_a_file_are_all_taken(tmp_path, monkeypatch, count, end):
    monkeypatch.setattr(translate, "CHUNK", 3)
    monkeypatch.setattr(translate, "BLOCK", 16)
    lines = [f"line {i}\n".encode() for i in range(count)]
    if lines and not end:
        lines[-1] = lines[-1].strip()
    (tmp_path / "text").write_bytes(b"".join(lines))
    with open(tmp_path / "text", "rb") as source:
        found = list(translate.as_they_come(source))
    assert sum(found, []) == lines and all(0 < len(each) <= 3 for each in found)


def test_a_network_that_has_hardly_been_trained_is_told(workdir, tmp_path, capfd):
    for file in (vocabulary.FILE, "checkpoints", "config.json"):
        (tmp_path / file).symlink_to(workdir / file)
    rows = [{"step": 4, "member": member, "split": "validation", "accuracy": accuracy}
            for member, accuracy in enumerate((0.123, 0.55))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    translated(tmp_path, b"one\n")
    assert "hardly been trained: it predicts 12% of the validation split's next tokens right" in capfd.readouterr().err
    translated(tmp_path, b"one\n", member=1)
    assert "hardly" not in capfd.readouterr().err


def test_a_line_is_answered_before_the_next_is_asked(workdir):
    with subprocess.Popen([sys.executable, "-m", "ls_jax.main", "--mode=translate", f"--workdir={workdir}"], text=True,
                          cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu"}, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, bufsize=1) as process:
        answers = []
        for line in ("one two", "five"):
            process.stdin.write(f"{line}\n")
            answers.append(process.stdout.readline())
        process.stdin.close()
    assert process.returncode == 0
    assert answers == [f"{line}\n" for line in translate.Network(workdir, 0)(["one two", "five"])]


def test_ctrl_c_while_it_waits_for_lines(workdir):
    process = subprocess.Popen([sys.executable, "-m", "ls_jax.main", "--mode=translate", f"--workdir={workdir}"],
                               text=True,
                               cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu"}, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert process.stderr.readline().startswith("translating with")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "ls_jax: stopped by SIGINT; run the same command again to finish\n")
    assert process.returncode == 130
