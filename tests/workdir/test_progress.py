"""What a run says before its first step and after its last one."""
import functools
import io
import time

import pytest

from ls_jax.workdir.progress import Progress, Stages


@pytest.mark.parametrize("terminal", [True, False])
def test_what_lasts_is_said_and_what_does_not_is_not(terminal):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    with Stages(stream=stream, patience=0.2) as stages:
        stages.say("studying: accuracy")
        stages.say("studying: calibration")
        time.sleep(0.6)
        for done in range(1, 4):
            stages.say("predicting", done, 3)
            time.sleep(0.45)
        stages.say("drawing")
    shown = stream.getvalue()
    assert "accuracy" not in shown and "drawing" not in shown
    expected = ["studying: calibration", "predicting: 1 of 3", "predicting: 2 of 3", "predicting: 3 of 3"]
    assert [each for each in expected if each in shown] == expected
    if terminal:  # one line, which is empty at the end
        assert "\n" not in shown and shown.endswith("\r\033[K")
    else:
        assert shown.endswith("\n") and shown.splitlines()[0] == "studying: calibration"


def test_nothing_is_said_after_the_end_or_by_another_process():
    stream = io.StringIO()
    with Stages(stream=stream, patience=0.05) as stages:
        stages.say("drawing")
    stages.say("predicting")
    with Stages(primary=False, stream=stream, patience=0) as stages:
        stages.say("drawing")
        time.sleep(0.2)
    assert stream.getvalue() == ""


def test_a_stream_that_nobody_reads_is_no_error():
    stream = io.StringIO()
    with Stages(stream=stream, patience=0.02) as stages:
        stages.say("drawing")
        stream.close()
        time.sleep(0.1)


def test_compiling_is_said_until_the_first_step(monkeypatch):
    monkeypatch.setattr("ls_jax.workdir.progress.Stages", functools.partial(Stages, patience=0.05))
    stream = io.StringIO()
    progress = Progress(10, per_step=1, stream=stream)
    time.sleep(0.3)
    progress.reach(1)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "compiling the training step" and lines[1].startswith("step 1/10")
