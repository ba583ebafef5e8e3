"""JSON files of a workdir that are damaged: one line that names the file and the fix, or as if they were not there."""
import json

import pytest

from ls_jax import report
from ls_jax.errors import UserError
from ls_jax.modes import experiment
from ls_jax.workdir import files, log, manifest

DEEP = "[" * 100_000
DAMAGED = {"cut": b"{", "null": b"null", "another kind": b"1", "deep": DEEP.encode(), "no UTF-8": b"\xff", "empty": b""}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("kind", [dict, list])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content, kind):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match="a.json is damaged: write it anew$") as error:
        files.read_json(tmp_path / "a.json", kind, "write it anew")
    assert "\n" not in str(error.value)


def test_parts_of_another_kind_are_refused(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    assert files.read_json(tmp_path / "a.json", list, "") == [1]
    with pytest.raises(UserError, match="is damaged"):
        files.read_json(tmp_path / "a.json", list, "", parts=dict)


@pytest.mark.parametrize("content", [*DAMAGED.values(), b'{"sessions": 1}', b'{"sessions": [1]}',
                                     b'{"sessions": [{}]}'])
def test_a_damaged_manifest_has_no_sessions(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with manifest.manifest(tmp_path, {}):
        pass
    (session,) = json.loads((tmp_path / "manifest.json").read_text())["sessions"]
    assert session["outcome"] == "finished"


def test_lines_that_are_no_rows_are_left_out(tmp_path):
    lines = [b'{"step": 1}', b"null", b"[1]", b"{", b'{"step": null}', b'{"step": "a"}', b"\xff", DEEP.encode(),
             b'{"step": 2}']
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert log.read_metrics(tmp_path) == [{"step": 1}, {"step": 2}]
    log.Metrics(tmp_path).truncate_after(1)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_run_study_and_report_name_the_damaged_file_and_the_fix(tiny, tmp_path):
    experiment.run(tiny, tmp_path)
    for name, fix, modes in (
            ("config.json", "remove it", (lambda: experiment.run(tiny, tmp_path),
                                          lambda: experiment.study(tiny, tmp_path),
                                          lambda: report.write(tmp_path))),
            ("results.json", "--mode=study", (lambda: report.write(tmp_path),))):
        before = (tmp_path / name).read_bytes()
        for content in (*DAMAGED.values(), b"[1]"):
            (tmp_path / name).write_bytes(content)
            for mode in modes:
                with pytest.raises(UserError, match=f"{name} is damaged: .*{fix}"):
                    mode()
        (tmp_path / name).write_bytes(before)
    (tmp_path / "manifest.json").write_text(DEEP)
    (tmp_path / "metrics.jsonl").write_text(DEEP)
    report.write(tmp_path)
    (tmp_path / "analysis.json").write_text("null")
    with pytest.raises(UserError, match="analysis.json is damaged: write it anew with --mode=analyze"):
        report.write(tmp_path)
