"""Sentence pairs from files: what is read, packed, left out, and refused."""
import gzip
import json
import sys

import ml_collections
import numpy as np
import pytest
from array_record.python import array_record_module
from tensorflow_datasets.proto import tf_example_pb2

from ls_jax import data
from ls_jax.data.text import packing, vocabulary
from ls_jax.errors import UserError

pytest.importorskip("sentencepiece", reason="text needs SentencePiece: pip install -e '.[translation]'")

ENGLISH = ["a dog runs", "two dogs run in the snow", "a man sits on a red chair", "the women are singing",
           "a child climbs a tree"]
GERMAN = ["ein Hund rennt", "zwei Hunde rennen im Schnee", "ein Mann sitzt auf einem roten Stuhl", "die Frauen singen",
          "ein Kind klettert auf einen Baum"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ls_jax"


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "train", ENGLISH * 8, GERMAN * 8)
    write(tmp_path, "val", ENGLISH[:2], GERMAN[:2])
    write(tmp_path, "test2016", ENGLISH[2:], GERMAN[2:])
    write(tmp_path, "test2017", ENGLISH[:1], GERMAN[:1])
    return tmp_path


def write(folder, stem, english, german, end="\n"):
    for language, lines in (("en", english), ("de", german)):
        (folder / f"{stem}.{language}").write_text("".join(line + end for line in lines), encoding="utf-8", newline="")


def load(folder, **fields):
    name = folder if isinstance(folder, str) else f"text:{folder}"
    settings = dict(name=name, dir=None, holdout=0, train_examples=None, image_size=None, label_noise=None,
                    vocabulary=340, row_length=24)
    return data.load(ml_collections.ConfigDict(settings | fields), fields.get("workdir"))


def told(pattern, folder, **fields):
    with pytest.raises(UserError, match=pattern) as error:
        load(folder, **fields)
    assert "\n" not in str(error.value)


def sentences(split, pieces):
    """{(source, target as the decoder reads it, target)} of all segments of a split, as text."""
    found = []
    for row in range(len(split)):
        tokens = [array[row] for array in split.inputs]
        for segment in range(1, tokens[1].max() + 1):
            source, target = tokens[1] == segment, tokens[4] == segment
            for mask, positions in ((source, tokens[2]), (target, tokens[5])):
                assert np.array_equal(positions[mask], np.arange(mask.sum()))
            labels = split.labels[row][target]
            assert labels[-1] == tokens[0][source][-1] == 1 and tokens[3][target][0] == 0
            assert np.array_equal(tokens[3][target][1:], labels[:-1])
            found.append(tuple(pieces.decode([tokens[0][source], labels])))
    return found


def test_every_pair_is_packed_once_and_whole(folder):
    dataset = load(folder)
    assert set(dataset.splits) == {"train", "validation", "test"} and len(dataset.class_names) == 340
    pieces = dataset.text.vocabulary
    assert sorted(sentences(dataset.splits["train"], pieces)) == sorted(zip(ENGLISH * 8, GERMAN * 8))
    assert sorted(sentences(dataset.splits["test"], pieces)) == sorted(zip(ENGLISH[2:], GERMAN[2:]))
    for split in dataset.splits.values():
        padding = split.inputs.target_segments == 0
        assert not split.labels[padding].any() and not split.inputs.target[padding].any()
        assert split.labels.dtype == np.int32
    assert {name: len(of) for name, of in dataset.text.sentences.items()} == {"validation": 2, "test2016": 3,
                                                                              "test2017": 1}
    assert dataset.text.sentences["test2016"].target == GERMAN[2:]
    facts = dataset.text.facts["train"]
    assert facts["pairs"] == 40
    assert facts["tokens"]["target"] == (~(dataset.splits["train"].inputs.target_segments == 0)).sum()
    json.dumps(facts)


def test_rows_are_filled(folder):
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 30, 3000)
    other = np.clip(lengths + rng.integers(-4, 5, 3000), 2, 40)
    at = packing.places(lengths, other, 64)
    used = np.bincount(at.row, lengths)
    assert used.max() <= 64 and np.bincount(at.row, other).max() <= 64 and used.min() > 0
    assert used.sum() / (64 * len(used)) > 0.9
    again = packing.places(lengths, other, 64)
    assert all(np.array_equal(a, b) for a, b in zip(at, again))


def test_gzip_and_windows_line_ends_read_the_same(folder, tmp_path):
    plain = load(folder)
    other = tmp_path / "other"
    other.mkdir()
    for file in [*folder.glob("*.en"), *folder.glob("*.de")]:
        (other / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes().replace(b"\n", b"\r\n")))
    packed = load(other)
    for name in plain.splits:
        np.testing.assert_array_equal(plain.splits[name].labels, packed.splits[name].labels)


def test_holdout_and_fewer_examples_count_pairs(folder):
    for stem in ("val", "test2016", "test2017"):
        for file in folder.glob(f"{stem}.*"):
            file.unlink()
    whole, few = load(folder, holdout=10), load(folder, holdout=10, train_examples=5)
    assert {name: facts["pairs"] for name, facts in few.text.facts.items()} == {"train": 5, "validation": 10}
    assert few.text.vocabulary.sha256 == whole.text.vocabulary.sha256, "one vocabulary for all subsets"
    assert list(few.text.sentences) == ["validation"]
    told("holdout=40 must be from 0 to 39", folder, holdout=40)


def test_what_cannot_be_used_is_counted_and_named(folder, capsys):
    long = " ".join(ENGLISH * 3)
    write(folder, "train", [*ENGLISH * 8, "", "a dog", long, "a"],
          [*GERMAN * 8, "ein Hund", " ", "kurz", "ein Hund " * 5])
    facts = load(folder, vocabulary=340, row_length=24).text.facts
    assert facts["train"]["pairs"] == 40 and facts["train"]["left out"] == {"empty": 2, "overlong": 1, "misaligned": 1}
    assert ("4 of 44 pairs of train are excluded: 2 empty (lines 41, 42); 1 overlong (line 43); 1 misaligned (line 44)"
            in capsys.readouterr().err)
    write(folder, "val", [long, ENGLISH[0]], GERMAN[:2])
    assert load(folder).text.facts["validation"]["left out"] == {"empty": 0, "overlong": 1}


def test_bad_files_are_told_in_one_line(folder, tmp_path):
    told("no such folder", tmp_path / "nowhere")
    write(folder, "val", ENGLISH, GERMAN[:3])
    told("val.en has 5 lines and val.de 3: they must be translations line by line", folder)
    (folder / "val.de").write_bytes(b"ein Hund\nein K\xfcken\n" + "drei\nvier\nfünf\n".encode())
    told("val.de: line 2 is not UTF-8", folder)
    (folder / "val.de").unlink()
    told(r"val.de: no such file \(nor val.de.gz\)", folder)
    (folder / "val.de.gz").write_bytes(gzip.compress(b"ein\n" * 100)[:-9])
    told("val.de.gz cannot be read", folder)
    write(folder, "train", ["", ""], ["", ""])
    (folder / "val.en").unlink()
    told("train.en is empty", folder)
    (folder / "train.en").write_bytes(b"one\rtwo\rthree")
    told("train.en: its lines end in CR alone, as on the first Macs: convert the file", folder)
    write(folder, "train", ["one", ""], ["", "zwei"])
    told("none of the 2 pairs of train can be used|does not fit the training text", folder)


def test_a_split_of_which_nothing_can_be_used_is_told_with_the_reason(folder, capsys):
    write(folder, "val", ["", *ENGLISH[:2]], ["", *[" ".join(GERMAN * 3)] * 2])
    told(r"none of the 3 pairs of validation can be used \(1 empty \(line 1\); 2 overlong \(lines 2, 3\)\); "
         r".*row_length=24 tokens", folder)
    assert not capsys.readouterr().err


def test_a_vocabulary_that_the_text_does_not_yield_is_told(folder):
    told(r"config.data.vocabulary=5000 does not fit the training text of 80 sentences, which yields at most \d+ "
         r"pieces; 259", folder,
         vocabulary=5000)
    told(r"config.data.vocabulary=100 does not fit .*, which needs at least \d+ pieces", folder, vocabulary=100)
    told("is text: set config.data.vocabulary", folder, vocabulary=None)


def test_the_vocabulary_is_trained_once_and_kept(folder, tmp_path, cache, monkeypatch):
    workdir = tmp_path / "run"
    first = load(folder, workdir=workdir).text.vocabulary
    assert (workdir / vocabulary.FILE).read_bytes() == first.model and len(list(cache.iterdir())) == 1
    trained = vocabulary.train([*ENGLISH * 8, *GERMAN * 8], 340)
    assert trained.sha256 == first.sha256, "the same text gives the same vocabulary"
    monkeypatch.setattr(vocabulary, "train", lambda *_: pytest.fail("trained again"))
    assert load(folder).text.vocabulary.sha256 == first.sha256
    next(cache.iterdir()).unlink()
    assert load(folder, workdir=workdir).text.vocabulary.sha256 == first.sha256
    told("has 340 pieces, and config.data.vocabulary=350", folder, vocabulary=350, workdir=workdir)
    (workdir / vocabulary.FILE).write_bytes(b"no model")
    told("is no SentencePiece model", folder, workdir=workdir)


@pytest.mark.parametrize("text", ["a dog", "ein Hündchen", "中文 and 🎈", "  spaces   are one ", ""])
def test_any_text_comes_back(folder, text):
    pieces = load(folder).text.vocabulary
    ids, lengths = pieces.encode([text, "a dog"])
    assert lengths.sum() == len(ids) and ids[lengths[0] - 1] == 1 and (ids >= 1).all() and (ids < len(pieces)).all()
    padded = [*ids[:lengths[0]].tolist(), 0, 0]
    assert pieces.decode([padded, ids[lengths[0]:]]) == [" ".join(text.split()), "a dog"]


def test_a_sentence_stays_on_its_line(folder):
    pieces = load(folder).text.vocabulary
    (dog, end), line_break = pieces.encode(["a"])[0].tolist(), pieces.pieces.index("<0x0A>")
    assert pieces.decode([[dog, line_break, dog, end]]) == ["a  a"]


def write_build(data_dir, splits):
    """As TFDS leaves a data set of translations: records of tf.train.Example, dataset_info.json and features.json."""
    build = data_dir / "pairs" / "1.0.0"
    build.mkdir(parents=True)
    for split, pairs in splits.items():
        writer = array_record_module.ArrayRecordWriter(str(build / f"pairs-{split}.array_record-00000-of-00001"),
                                                       "group_size:1")
        for texts in pairs:
            example = tf_example_pb2.Example()
            for language, text in zip(("en", "de"), texts):
                example.features.feature[language].bytes_list.value.append(text.encode())
            writer.write(example.SerializeToString())
        writer.close()
    features = "tensorflow_datasets.core.features"
    text = {"pythonClassName": f"{features}.text_feature.Text", "text": {}}
    (build / "features.json").write_text(json.dumps({
        "pythonClassName": f"{features}.features_dict.FeaturesDict",
        "featuresDict": {"features": {"de": text, "en": text}}}))
    (build / "dataset_info.json").write_text(json.dumps({
        "name": "pairs", "version": "1.0.0", "fileFormat": "array_record",
        "splits": [{"name": split, "shardLengths": [str(len(pairs))], "numBytes": "1",
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"}
                   for split, pairs in splits.items()]}))


def test_a_tfds_build_of_translations_is_read(tmp_path):
    pairs = list(zip(ENGLISH, GERMAN))
    write_build(tmp_path, {"train": pairs * 8, "validation": pairs[:2], "test": pairs[2:]})
    dataset = load("pairs", dir=str(tmp_path))
    assert sorted(sentences(dataset.splits["test"], dataset.text.vocabulary)) == sorted(pairs[2:])
    assert dataset.text.sentences["test"].source == ENGLISH[2:]
    assert set(dataset.splits) == {"train", "validation", "test"}
    told("mnist is not prepared", "mnist", dir=str(tmp_path))


def test_what_is_not_there_is_told_without_reading_the_rest(folder, tmp_path, monkeypatch):
    def missing(name, directory=None):
        with pytest.raises(UserError) as error:
            data.check(ml_collections.ConfigDict(dict(name=name, dir=directory)))
        return str(error.value)

    data.check(ml_collections.ConfigDict(dict(name="text:.", dir=str(folder))))
    assert "nowhere: no such folder" in missing("text:nowhere",
                                                str(tmp_path))
    assert "holds train.en and train.de" in missing("text:nowhere")
    (folder / "train.de").unlink()
    assert "train.de: no such file (nor train.de.gz)" in missing(f"text:{folder}")
    prepare = missing("wmt14_translate/de-en", str(tmp_path))
    assert "wmt14_translate/de-en is not prepared in " in prepare
    command = prepare.split('python -c "')[1].split(".download_and_prepare")[0]
    exec(command)  # finds the set; to download it would need TensorFlow
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    assert missing(f"text:{folder}").startswith("text needs SentencePiece: pip install")
