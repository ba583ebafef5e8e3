"""Files of a workdir that are damaged or were changed: one line, in every mode that reads them."""
import copy
import json
import pathlib
import random
import shutil

import pytest

from ls_jax import report
from ls_jax.errors import UserError
from ls_jax.modes import experiment

JUNK = (None, -1, "x", [], {}, 3.5, float("nan"), True, [1, "a"], {"a": 1}, 1e400, 10**30, "")
DAMAGE = (b"", bytes(300), b"hello", b"null", b"[]", b"{}", b"3", b"[" * 5000, "{}".encode("utf-16"),
          b'{"sessions": 3, "steps": "x", "sweep": [], "data": null}', b'["a", "b"]', b'{"a": NaN}')
FILES = ("config.json", "results.json", "metrics.jsonl", "manifest.json", "answer.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The small files of a run that has ended well."""
    from ls_jax import config as configs
    config = configs.load("digits_mlp", "smoke")
    config.log.writers = ()
    workdir = tmp_path_factory.mktemp("finished")
    experiment.run(config, workdir / "whole")
    kept = workdir / "kept"
    kept.mkdir()
    for name in FILES:
        shutil.copyfile(workdir / "whole" / name, kept / name)
    return kept


def places(value, place=()):
    """Where something stands in a JSON value: keys and indices."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:40]) if isinstance(value, list) else ()
    for name, part in items:
        yield (*place, name)
        yield from places(part, (*place, name))


def changed(value, chance):
    """A copy in which one thing is taken away or replaced by junk."""
    value = copy.deepcopy(value)
    *way, last = chance.choice(list(places(value)))
    around = value
    for step in way:
        around = around[step]
    if isinstance(around, dict) and chance.random() < 0.3:
        del around[last]
    else:
        around[last] = chance.choice(JUNK)
    return value


@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
@pytest.mark.parametrize("name", ["config.json", "results.json"])
def test_a_damaged_file_is_named(finished, tmp_path, unchecked, name, damage):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    (workdir / name).write_bytes(damage)
    if (name, damage) == ("results.json", b"[]"):  # a run without records
        report.load(workdir)
        return
    with pytest.raises(UserError, match=f"{name} (is damaged|cannot be read)"):
        report.load(workdir)


def test_a_message_that_says_more_is_kept(finished, tmp_path, unchecked):
    """Some are ValueErrors, as those of a wrong field."""
    shutil.copytree(finished, tmp_path / "run")
    with pytest.raises(UserError, match="results.json is damaged"):
        (tmp_path / "run" / "results.json").write_text("{")
        experiment.report([tmp_path / "run"])


@pytest.mark.parametrize("count", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_a_report_of_changed_files_ends_in_one_line(finished, tmp_path, unchecked, count):
    chance = random.Random(count)
    for index in range(count):
        workdir, name = tmp_path / str(index), chance.choice(FILES)
        shutil.copytree(finished, workdir)
        if name.endswith("jsonl"):
            rows = (workdir / name).read_text().splitlines()
            row = chance.randrange(len(rows))
            rows[row] = json.dumps(changed(json.loads(rows[row]), chance))
            (workdir / name).write_text("\n".join(rows) + "\n")
        else:
            (workdir / name).write_text(json.dumps(changed(json.loads((workdir / name).read_text()), chance)))
        try:
            experiment.report([pathlib.Path(workdir)])
        except UserError as error:
            assert "\n" not in str(error)
