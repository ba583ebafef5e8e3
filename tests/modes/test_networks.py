"""Networks of any framework: the records and verdicts of our own runs, one line for each mistake, nothing written
then."""
import json

import jax.numpy as jnp
import numpy as np
import pytest

import ls_jax
from ls_jax import config as configs
from ls_jax.errors import UserError
from ls_jax.modes import experiment, given, networks
from ls_jax.report import answer
from ls_jax.studies import registry
from ls_jax.studies.common import records
from ls_jax.training import sweep
from ls_jax.workdir import predictions


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(a run's workdir, its config, its records)."""
    config = configs.load("digits_mlp", "smoke")
    config.steps, config.evaluate.every, config.log.writers, config.sweep.seed = 40, 0, (), (0, 1)
    config.data.holdout, config.sweep.alpha = 150, (0.0, 0.1)
    workdir = tmp_path_factory.mktemp("run")
    return workdir, config, experiment.run(config, workdir)


def files(run, folder, change=lambda arrays, facts: (arrays, facts)):
    """Write the run's predictions as its user would; returns the pattern."""
    workdir, config, _ = run
    for split, member, arrays in predictions.every(workdir, len(sweep.members(config))):
        row = sweep.members(config)[member]
        arrays, facts = change({name: np.asarray(array) for name, array in arrays.items()},
                               {"alpha": row["alpha"], "seed": row["seed"], "split": split})
        np.savez(folder / f"{split}-{member}.npz", **arrays, **facts)
    return str(folder / "*.npz")


def comparable(found, studies):
    """{what a record is of: its values and interval} of records that both paths have."""
    names = ("classes", "fitted_on", "criterion", "temperature", "score")
    return {(record.study, record.quantity, record.split, record.kind, record.hyper.get("alpha"),
             json.dumps([record.extra.get(name) for name in names])):
            (record.seeds, record.values, record.interval) for record in found if record.study in studies}


def same(found, due):
    assert found.keys() == due.keys()
    for key, (seeds, values, interval) in due.items():
        assert found[key][0] == seeds, key
        np.testing.assert_allclose(found[key][1], values, rtol=1e-5, atol=1e-7, err_msg=str(key))
        assert (found[key][2] is None) == (interval is None), key
        if interval is not None:
            np.testing.assert_allclose(found[key][2], interval, rtol=1e-4, atol=1e-6, err_msg=str(key))


STUDIES = ("accuracy", "projection", "calibration", "classes", "recalibration", "selective", "amplification",
           "representation")


def test_they_get_what_a_run_gets(run, tmp_path, capsys):
    """Records, claims and answer are those of the run's own path."""
    _, _, due = run
    page = networks.run(files(run, tmp_path), tmp_path / "out")
    found = records.read(tmp_path / "out")
    same(comparable(found, STUDIES), comparable(due, STUDIES))
    assert {record.study for record in found} == {*STUDIES}
    assert {record.study for record in due} - {"training", "information"} == {*STUDIES}
    assert answer.of(found).lines() == answer.of(due).lines()
    lines = registry.lines(found, None)
    assert lines and set(lines) == {line for line in registry.lines(due, None) if "training" not in line.split(",")[0]}
    printed, text = capsys.readouterr().out, page.read_text()
    assert all(f"claim: {line}" in printed for line in lines)
    assert "4 networks</h2>" in text and "α = 0: seeds 0, 1; α = 0.1: seeds 0, 1" in text
    assert "Explore the projection" in text and "test-0.npz" in text
    assert (tmp_path / "out" / "figures" / "projection.png").exists()


def gathered(pattern, table, folder):
    scratch = folder / f"scratch-{len(list(folder.iterdir()))}"
    scratch.mkdir()
    return given.gather(list(given.of_files(pattern, table, scratch)))


def test_a_table_says_what_files_do_not(run, tmp_path):
    _, config, _ = run
    for name in ("said", "unsaid"):
        (tmp_path / name).mkdir()
    due = gathered(files(run, tmp_path / "said"), None, tmp_path)
    pattern = files(run, tmp_path / "unsaid", lambda arrays, facts: (arrays, {}))
    rows = [{"file": f"{split}-{member}.npz", "alpha": row["alpha"], "seed": row["seed"], "split": split}
            for split in ("train", "validation", "test") for member, row in enumerate(sweep.members(config))]
    (tmp_path / "networks.json").write_text(json.dumps(rows))
    text = [",".join(rows[0])] + [",".join(map(str, row.values())) for row in rows]
    (tmp_path / "networks.csv").write_text("\n".join(text))
    for table in ("networks.json", "networks.csv"):
        found = gathered(pattern, tmp_path / table, tmp_path)
        assert found.rows == due.rows and found.partners == due.partners == [0, 1, 0, 1]
        for of, other in zip(found.members, due.members, strict=True):
            assert of.keys() == other.keys() == {"train", "validation", "test"}
            np.testing.assert_array_equal(of["test"]["logits"], other["test"]["logits"])


def test_index_brings_examples_into_one_order(run, tmp_path):
    random = np.random.default_rng(0)

    def shuffled(arrays, facts):
        order = random.permutation(len(arrays["labels"]))
        return arrays | {name: arrays[name][order] for name in ("logits", "labels", "features", "index")}, facts

    (tmp_path / "shuffled").mkdir()
    due = gathered(files(run, tmp_path), None, tmp_path)
    found = gathered(files(run, tmp_path / "shuffled", shuffled), None, tmp_path)
    for of, other in zip(found.members, due.members, strict=True):
        for split in other:
            for name in ("logits", "labels", "features", "index"):
                np.testing.assert_array_equal(of[split][name], other[split][name])


def network(alpha, seed, examples=120, classes=4, **more):
    """Logits and labels of a made-up network; the labels are the same for all."""
    labels = np.arange(examples) % classes
    random = np.random.default_rng(100 * seed + int(1000 * alpha))
    logits = (3 - 10 * alpha) * np.eye(classes)[labels] + random.normal(size=(examples, classes))
    return {"logits": logits.astype(np.float32), "labels": labels, **more}


def several(**more):
    return {alpha: [network(alpha, seed, **more) for seed in range(3)] for alpha in (0.0, 0.1)}


def test_arrays_of_any_framework_in_one_line(tmp_path):
    found = ls_jax.analyze(several())
    assert found.page is None and found.answer.sentences and "Did label smoothing help?" in repr(found)
    as_jax = {alpha: [(jnp.asarray(each["logits"]), jnp.asarray(each["labels"])) for each in of]
              for alpha, of in several().items()}
    assert ls_jax.analyze(as_jax).answer == found.answer
    written = ls_jax.analyze(several(), tmp_path / "out")
    assert written.page == tmp_path / "out" / "report.html" and written.answer == found.answer
    assert (tmp_path / "out" / "answer.json").exists() and "Projections need the arrays" in written.page.read_text()


def test_pytorchs_tensors():
    torch = pytest.importorskip("torch", reason="takes PyTorch's tensors: pip install -e '.[peers]'")
    tensors = {alpha: [{name: torch.tensor(array, requires_grad=name == "logits") for name, array in each.items()}
                       for each in of] for alpha, of in several().items()}
    assert ls_jax.analyze(tensors).answer == ls_jax.analyze(several()).answer


def test_names_of_arms_and_seeds_that_are_unknown(capsys):
    """Without alpha an arm is compared, but the claims on smoothing leave it out; without seeds the order pairs."""
    found = ls_jax.analyze({"plain": several()[0.0], "focal": several()[0.1]})
    err = capsys.readouterr().err
    assert "'focal' gives no alpha" in err
    difference, = [record for record in found.records if (record.quantity, record.kind) == ("accuracy", "difference")]
    assert difference.arm == "focal" and difference.n == 3 and difference.interval is not None
    assert not found.answer.sentences
    apart = {alpha: [{**each, "seed": np.array(seed + 10 * (alpha > 0))} for seed, each in enumerate(of)]
             for alpha, of in several().items()}
    of = lambda several: given.gather(list(given.of_arrays(several)))
    assert "share no seeds, so they are paired by their order" in of(apart).notes[0]
    assert of(apart).rows == of(several()).rows and of(apart).partners == of(several()).partners == [0, 1, 2, 0, 1, 2]
    mixed = {0.0: [{**network(0.0, 0), "seed": np.array(1)}, network(0.0, 1)], 0.1: several()[0.1][:2]}
    assert [row["seed"] for row in of(mixed).rows] == [0, 1, 0, 1] and "some have none" in of(mixed).notes[0]
    named = {name: [{**each, "alpha": np.array(alpha)} for each in several()[alpha]]
             for name, alpha in (("plain", 0.0), ("smoothed", 0.1))}
    assert [(row["alpha"], row["arm"], row["terms"]) for row in of(named).rows[::3]] == [
        (0.0, "plain", []), (0.1, "smoothed", ["label_smoothing"])]
    assert "have no seeds, or some" in of(named).notes[0] and len(of(named).notes) == 1
    assert of(named).partners == [0, 1, 2, 0, 1, 2]


def test_validation_fits_the_temperature_that_test_reports():
    both = {alpha: [each for seed in range(2) for each in (
        {**network(alpha, seed), "seed": np.array(seed)},
        {**network(alpha, seed + 50, 80), "seed": np.array(seed), "split": np.array("validation")})]
        for alpha in (0.0, 0.1)}
    found = ls_jax.analyze(both).records
    assert {record.extra["fitted_on"] for record in found if record.quantity == "temperature" and record.split == "test"
            } >= {"validation"}


def change(place, **changed):
    """The networks, one of them changed; a value of None removes."""
    found = several()
    one = found[0.1][place]
    found[0.1][place] = {name: value for name, value in {**one, **changed}.items() if value is not None}
    return found


LABELS = np.arange(120) % 4
MISTAKES = {
    r"networks\[0.1\]\[1\]: labels\[5\] is 2, but networks\[0.0\]\[0\] has 1": lambda: change(
        1, labels=np.where(np.arange(120) == 5, 2, LABELS)),
    r"networks\[0.1\]\[1\]: logits has 3 columns, but in networks\[0.0\]\[0\] 4": lambda: change(
        1, logits=np.zeros((120, 3), np.float32) + np.arange(3), labels=np.arange(120) % 3),
    r"networks\[0.1\]\[2\] and networks\[0.0\]\[0\] have different examples of the test split": lambda: change(
        2, logits=np.zeros((100, 4)) + np.arange(4), labels=np.arange(100) % 4),
    r"networks\[0.1\]\[0\]: the file holds no array 'labels'": lambda: change(0, labels=None),
    r"networks\[0.1\]\[0\]: logits\[0\] is not negative and sums to 1": lambda: change(
        0, logits=np.full((120, 4), 0.25)),
    r"networks\[0.1\]\[0\]: seed is 0.5": lambda: change(0, seed=np.array(0.5)),
    r"networks\[0.1\]\[0\]: split is 'tset'": lambda: change(0, split=np.array("tset")),
    r"networks\[0.1\]\[0\]: alpha is 2": lambda: change(0, alpha=np.array(2)),
    r"networks\[0.1\]\[1\] and networks\[0.1\]\[0\] are both the test split of alpha 0.1, seed 0": lambda: {
        0.1: [{**network(0.1, 0), "seed": np.array(0)}] * 2},
    r"has no validation split \(networks\[0.1\]\[1\] is its test split\)": lambda: {0.1: [
        network(0.1, 0), network(0.1, 1), {**network(0.1, 0, 40), "split": np.array("validation")}]},
    r"networks\[0.1\]\[0\]: class_names differ": lambda: change(0, class_names=np.array(list("abcd"))),
}


@pytest.mark.parametrize("match", MISTAKES)
def test_each_mistake_has_its_line_and_nothing_is_written(tmp_path, match):
    with pytest.raises(UserError, match=match) as caught:
        ls_jax.analyze(MISTAKES[match](), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != ".lock"]


def test_files_that_cannot_be_taken_are_told(tmp_path):
    np.savez(tmp_path / "a.npz", **network(0.0, 0), alpha=0.0)
    np.savez(tmp_path / "b.npz", **network(0.1, 0))
    (tmp_path / "c.npz").write_text("no archive")
    (tmp_path / "t.csv").write_text("file,alpha\na.npz,0.2\n")
    (tmp_path / "u.csv").write_text("file,alpha\nnowhere.npz,0.2\n")
    (tmp_path / "v.csv").write_text("alpha\n0.1\n")
    for patterns, table, match in (
            ("nowhere*.npz", None, "--predictions=.*nowhere.*: no such file"),
            ("[ab].npz", None, "b.npz says neither alpha nor arm"),
            ("[abc].npz", None, "c.npz"),
            ("a.npz", "t.csv", "a.npz: alpha is 0.0 in the file and 0.2 in"),
            ("a.npz", "u.csv", "names the file nowhere.npz, which --predictions does not match"),
            ("a.npz", "v.csv", "must have a row for each file, with a column file")):
        with pytest.raises(UserError, match=match) as caught:
            networks.run(str(tmp_path / patterns), tmp_path / "out", table and tmp_path / table)
        assert "\n" not in str(caught.value)
