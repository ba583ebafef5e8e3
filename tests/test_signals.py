"""Commands that are stopped at any moment: one line, the signal's status, nothing half-written, no training lost."""
import json
import os
import pathlib
import resource
import select
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from ls_jax import signals
from ls_jax.errors import Interrupted, UserError
from ls_jax.modes import experiment
from ls_jax.workdir import checkpoint, files, lock, log

ROOT = pathlib.Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
DIGITS = ("--config=configs/digits_mlp.py:smoke", "--config.batch_size=8")
ENDLESS = (*DIGITS, "--config.steps=1000000", "--config.log.every=5", "--config.evaluate.every=0",
           "--config.checkpoint.every=0", "--mode=train")


def start(*arguments, program=("-m", "ls_jax.main"), **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    options = {**pipes, "env": ENVIRONMENT, "start_new_session": True} | options
    return subprocess.Popen([sys.executable, *program, *map(str, arguments)], cwd=ROOT, text=True, **options)


def wait_until(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, (process.returncode, process.communicate())
        assert time.monotonic() < deadline, f"{condition} after {seconds} s"
        time.sleep(0.01)


def has_trained(workdir):
    return lambda: any(row["step"] >= 10 for row in log.read_metrics(workdir))


def is_listening(process):
    """Whether it handles SIGTERM, which Python by itself does not."""
    def condition():
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        return int(status.split("SigCgt:")[1].split()[0], 16) >> (signal.SIGTERM - 1) & 1
    return condition


def lines_of(process, seconds=60):
    """The lines that it said, but of its progress."""
    _, errors = process.communicate(timeout=seconds)
    lines = [line for line in errors.splitlines() if not line.startswith("step ")]
    assert lines and all(line.startswith("ls_jax: ") for line in lines), errors
    return lines


def line_of(process, seconds=60):
    """The one line with which it ended."""
    (line,) = lines_of(process, seconds)
    return line


def last_line_of(process, number, seconds=60):
    """The second of the two lines of a training: the first comes with the signal, and says what happens."""
    first, last = lines_of(process, seconds)
    assert first == f"ls_jax: {number.name}: saving after this step; once more ends at once"
    return last


def outcome(workdir):
    return json.loads((workdir / "manifest.json").read_text())["sessions"][-1]["outcome"]


def assert_nothing_is_half_written(workdir):
    assert not [path for path in workdir.rglob("*") if path.name.startswith(".") and path.name != lock.FILE
                or "partial" in path.name]
    for path in workdir.rglob("*.npz"):
        with np.load(path) as arrays:
            assert all(np.isfinite(arrays[name]).all() for name in ("logits", "features"))


def test_training_is_saved_by_each_signal_also_if_it_comes_twice(tmp_path):
    """As timeout(1) sends it: to the process, and to its group."""
    workdirs = {number: tmp_path / number.name for number in signals.SIGNALS}
    runs = {number: start(*ENDLESS, f"--workdir={workdir}") for number, workdir in workdirs.items()}
    for number, process in runs.items():
        wait_until(has_trained(workdirs[number]), process)
        process.send_signal(number)
        process.send_signal(number)
    for number, process in runs.items():
        line, (step,) = last_line_of(process, number), checkpoint.Checkpoints(workdirs[number]).steps()
        assert process.returncode == 128 + number
        assert line == f"ls_jax: stopped at step {step} of 1000000; the same command goes on from there"
        assert outcome(workdirs[number]) == f"interrupted: {line[len('ls_jax: '):]}"


def test_signals_come_first(tmp_path):
    """A command imports next to nothing before they are handled, also the console script."""
    program = ("import sys; from ls_jax import signals; install = signals.install\n"
               "heavy = {'absl', 'hashlib', 'importlib.metadata', 'jax', 'numpy', 'platform'}\n"
               "signals.install = lambda: (print(*sorted(heavy & set(sys.modules))), install())\n"
               "from ls_jax.__main__ import start; start()")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "" and done.returncode == 2
    assert done.stderr.startswith("ls_jax: --workdir=DIR is missing")
    assert "ls_jax = ls_jax.__main__:start" in (ROOT / "setup.py").read_text()


@pytest.mark.parametrize("mode,arguments", [
    ("train", ENDLESS), ("compile", ("--topology=cpu:1", *DIGITS)), ("report", ())])
def test_during_imports(tmp_path, mode, arguments):
    process = start(f"--mode={mode}", *arguments, f"--workdir={tmp_path}/run")
    wait_until(is_listening(process), process)
    process.send_signal(signal.SIGINT)
    assert line_of(process) == "ls_jax: ended by SIGINT" and process.returncode == 130


@pytest.mark.parametrize("sign,number", [
    ("config.json", signal.SIGINT), (".new/predictions", signal.SIGHUP), ("results.json", signal.SIGINT),
    (".new/figures", signal.SIGTERM)])
def test_between_start_and_report(tmp_path, sign, number):
    """While programs are compiled, in the predictions, the studies, and the report."""
    process = start(*DIGITS, f"--workdir={tmp_path}/run")
    wait_until((tmp_path / "run" / sign).exists, process)
    process.send_signal(number)
    line = lines_of(process)[-1]  # a training, where it has begun, first says that it saves
    assert process.returncode == 128 + number and "the same command" in line
    assert_nothing_is_half_written(tmp_path / "run")
    assert not (tmp_path / "run" / "report.html").exists()
    if sign != "config.json":
        assert outcome(tmp_path / "run") == f"interrupted: {line[len('ls_jax: '):]}" and number.name in line


def test_analyze_leaves_nothing_unpacked(tmp_path):
    logits = np.random.default_rng(0).normal(size=(200_000, 10)).astype(np.float32)
    np.savez_compressed(tmp_path / "mine.npz", logits=logits, labels=logits.argmax(1))
    process = start("--mode=analyze", f"--predictions={tmp_path}/mine.npz", f"--workdir={tmp_path}/run")
    wait_until(lambda: list((tmp_path / "run").glob(".new/unpacked/*")), process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("ls_jax: stopped by SIGINT")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [lock.FILE]


COMMAND = """
import os, signal, sys, time
if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
from ls_jax import signals
from ls_jax.errors import Interrupted
signals.install()
number = signal.SIGINT

class Collected:
    def __del__(self):
        os.kill(os.getpid(), number)  # an exception is not raised here: Python only prints it

def wait():
    print("up", flush=True)
    time.sleep(30)

def call_c():
    import hashlib
    print("up", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)  # half a minute that Python's handlers wait for, as for XLA

def collect():
    Collected()
    time.sleep(30)

def convert():
    try:
        os.kill(os.getpid(), number)
    except KeyboardInterrupt as error:
        raise ValueError("what a library makes of it") from error

try:
    with signals.unwinding():
        {work}()
except Interrupted as stop:
    signals.say(str(stop))
    sys.exit(128 + stop.signal)
"""


@pytest.mark.parametrize("work", ["wait", "collect", "convert"])
def test_a_signal_is_raised_wherever_it_comes(work):
    process = start(program=("-c", COMMAND.replace("{work}", work)))
    if work == "wait":
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
    assert line_of(process).startswith("ls_jax: stopped by SIGINT") and process.returncode == 130


def test_a_second_signal_ends_at_once_even_in_a_call_of_c():
    process = start(program=("-c", COMMAND.replace("{work}", "call_c")))
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(2 * signals.REPEAT)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert line_of(process, seconds=10).startswith("ls_jax: ended at once by a second SIGTERM")
    assert process.returncode == 143


SHUTDOWN = """
import atexit, os, signal, sys, time
from ls_jax import main, signals
from ls_jax.errors import UserError

def hang():
    print("up", file=sys.stderr, flush=True)
    time.sleep(60)

def work(arguments, *_):
    print("printed before")
    if "2" in arguments:
        raise UserError("bad input")
    if "130" in arguments:
        os.kill(os.getpid(), signal.SIGINT)

atexit.register(hang)
main.start(work)
"""


@pytest.mark.parametrize("status", [0, 2, 130])
def test_a_signal_ends_a_shutdown_that_hangs_with_the_status_decided_before(tmp_path, status):
    process = start(status, f"--workdir={tmp_path}", program=("-c", SHUTDOWN))
    said = [process.stderr.readline()]
    while said[-1] != "up\n":
        said.append(process.stderr.readline())
    time.sleep(2 * signals.REPEAT)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors, len(said)) == (status, "printed before\n", "", 2 if status else 1)


@pytest.mark.parametrize("every,end", [(0, "nothing of the training is saved"),
                                       (10, "the same command goes on from step 20, the last one saved")])
def test_a_second_signal_in_training_says_what_is_saved(tmp_path, every, end):
    """The first one's line is there while the main thread is in a step, which is here a call of C that no signal
    ends."""
    program = ("import hashlib, sys; from ls_jax import signals; signals.install()\n"
               "from ls_jax import main; from ls_jax.training import loop; from ls_jax.workdir import log\n"
               "def progress(self, step):\n"
               "    if step == 25:\n"
               "        print('up', flush=True)\n"
               "        hashlib.pbkdf2_hmac('sha256', b'', b'', 10**8)\n"
               "log.Logs.progress = progress\n"
               "main.start()")
    process = start(*ENDLESS, f"--config.checkpoint.every={every}", f"--workdir={tmp_path}", program=("-c", program))
    process.stdout.readline()
    wait_until(lambda: not every or 20 in checkpoint.Checkpoints(tmp_path).steps(), process)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "ls_jax: SIGINT: saving after this step; once more ends at once\n"
    time.sleep(2 * signals.REPEAT)
    process.send_signal(signal.SIGINT)
    assert line_of(process, seconds=10) == f"ls_jax: ended at once by a second SIGINT; {end}"
    assert process.returncode == 130


def test_nohup_stays(tmp_path):
    process = start("nohup", program=("-c", COMMAND.replace("{work}", "wait")))
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert line_of(process).startswith("ls_jax: stopped by SIGTERM")


def test_a_run_is_saved_where_nobody_reads_its_output(tmp_path):
    """`| tee`, which Ctrl-C ends too; a terminal that closes, which sends SIGHUP."""
    controller, terminal = os.openpty()
    closed = start(*ENDLESS, f"--workdir={tmp_path}/closed", stdout=terminal, stderr=terminal, stdin=terminal,
                   start_new_session=False, preexec_fn=lambda: os.login_tty(terminal))
    piped = start(*ENDLESS, f"--workdir={tmp_path}/piped", stderr=subprocess.STDOUT)
    os.close(terminal)
    closing = threading.Event()
    reading = threading.Thread(target=drain, args=(controller, closing))
    reading.start()
    wait_until(has_trained(tmp_path / "piped"), piped)
    piped.stdout.close()
    piped.send_signal(signal.SIGINT)
    wait_until(has_trained(tmp_path / "closed"), closed)
    closing.set()
    reading.join()
    assert (piped.wait(60), closed.wait(60)) == (130, 129)
    for name in ("piped", "closed"):
        assert checkpoint.Checkpoints(tmp_path / name).steps()
        assert outcome(tmp_path / name).startswith("interrupted: stopped at step")


def drain(controller, closing):
    """Show what comes to a terminal, until it is to be closed."""
    while not closing.is_set():
        if select.select([controller], [], [], 0.1)[0]:
            os.read(controller, 1000)
    os.close(controller)


def test_a_save_that_fails_is_told_as_that(tmp_path):
    workdir = tmp_path / "run"
    small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))  # bytes of a file
    environment = ENVIRONMENT | {"JAX_ENABLE_COMPILATION_CACHE": "0"}
    first = start(*ENDLESS, f"--workdir={workdir}")
    wait_until(has_trained(workdir), first)
    first.send_signal(signal.SIGTERM)
    last_line_of(first, signal.SIGTERM)
    (saved,) = checkpoint.Checkpoints(workdir).steps()
    process = start(*ENDLESS, f"--workdir={workdir}", preexec_fn=small, env=environment)
    wait_until(lambda: log.read_metrics(workdir)[-1]["step"] >= saved + 10, process)
    process.send_signal(signal.SIGTERM)
    line = last_line_of(process, signal.SIGTERM)
    assert process.returncode == 2 and checkpoint.Checkpoints(workdir).steps() == [saved]
    assert line.startswith("ls_jax: cannot write checkpoint") and "File too large; make room" in line
    assert line.endswith(f"to resume from step {saved}")
    assert outcome(workdir).startswith("failed: UserError: cannot write checkpoint")


def test_a_program_that_trains_gets_its_keyboard_interrupt_and_the_state(tiny, tmp_path, capsys):
    tiny.steps = 1_000_000
    handlers = [signal.getsignal(number) for number in signals.SIGNALS]

    def interrupt():
        while not has_trained(tmp_path)():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt, match="stopped at step .* goes on from there") as raised:
        experiment.train(tiny, tmp_path)
    assert raised.type is KeyboardInterrupt
    assert "ls_jax: SIGINT: saving after this step; once more ends at once" in capsys.readouterr().err.splitlines()
    assert f"stopped at step {checkpoint.Checkpoints(tmp_path).steps()[-1]} " in str(raised.value)
    assert [signal.getsignal(number) for number in signals.SIGNALS] == handlers


def test_held_signals_are_raised_at_the_end(capsys):
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        with signals.Hold() as hold:
            os.kill(os.getpid(), signal.SIGTERM)
            assert hold.signal == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):
        with signals.Hold(notice="wait", saved=lambda: "all is saved") as hold:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(2 * signals.REPEAT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("a second Ctrl-C does what it did before")
    assert capsys.readouterr().err == "ls_jax: SIGINT: wait\nls_jax: ended at once by a second SIGINT; all is saved\n"


def test_a_file_is_whole_or_absent(tmp_path):
    (tmp_path / "kept").write_text("before")
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), files.replacing(tmp_path / "kept") as file:
            file.write(b"half")
            raise error
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and (tmp_path / "kept").read_text() == "before"
    with pytest.raises(UserError, match="cannot write"), files.replacing(tmp_path / "absent" / "file"):
        pass
