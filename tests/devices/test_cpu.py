"""Flags of XLA:CPU: those under which the patterns come out right, the user's where there are any, and a warning where
they are wrong."""
import json
import os
import subprocess
import sys
import time
import warnings

import jax
import numpy as np
import pytest

from ls_jax.devices import cpu, patterns

NAME = f"--{cpu.FLAG}"
KNOWS = pytest.mark.skipif(not cpu._known(cpu.NOTHING), reason="this jaxlib does not have the flag")
PATTERNS = """
import jax, jax.numpy as jnp, numpy as np
E = jnp.ones((2, 8, 8))
a = jax.jit(lambda E, c: jnp.sum((E @ jnp.full_like(E, c)) * E, axis=-1))(E, jnp.float32(1))
r = np.random.default_rng(0)
M, v = r.standard_normal((64, 128, 32)).astype("f4"), r.standard_normal((64, 32)).astype("f4")
f = lambda M, v, s: jnp.sum(jnp.einsum("bnm,bmk->bnk", M, jnp.broadcast_to(s, (64, 32, 8)))
                            * jnp.einsum("bnm,bm->bn", M, v)[..., None], 1)
b = np.asarray(jax.jit(f)(M, v, np.float32(.7)))
M, v = M.astype("f8"), v.astype("f8")
due = np.sum(np.einsum("bnm,bmk->bnk", M, np.full((64, 32, 8), np.float64(np.float32(.7))))
             * np.einsum("bnm,bm->bn", M, v)[..., None], 1)
i = np.arange(32769, dtype="f4")
c = jax.jit(lambda x: jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2))(x))(np.stack([i, 0 * i, 0 * i], 1))[-1]
print(bool((a == 64).all()), bool(np.abs(b - due).max() < 1e-4 * np.abs(due).max()), float(c) == 1073741824)
"""


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """As before JAX starts, with an empty cache, and XLA_FLAGS that nobody has set."""
    monkeypatch.setattr(cpu, "_started", lambda: False)
    monkeypatch.setattr(cpu, "_OUTCOMES", {})
    cpu._warn.cache_clear()
    for name in ("XLA_FLAGS", cpu.OURS, "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def computing(monkeypatch, right):
    """Let the test of flags answer by a function of the flags; returns the list of those that it is asked about."""
    asked = []
    monkeypatch.setattr(cpu,
                        "_compute", lambda flags, file: asked.append(flags) or ([] if right(flags) else ["a pattern"]))
    return asked


def child(code, **environment):
    """What a fresh process, started as a user starts it, prints."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("XLA_", "JAX_", "LS_JAX_"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**inherited, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


@KNOWS
def test_the_fastest_right_value_is_taken(clean, monkeypatch):
    asked = computing(monkeypatch, lambda flags: "ELTWISE" not in flags)
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/tmp/x")
    cpu.choose_flags(cpu.EVERYTHING)
    assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=/tmp/x {NAME}={cpu.NO_CONVOLUTIONS}" and len(asked) == 2
    cpu.choose_flags(cpu.EVERYTHING)
    assert len(asked) == 2 and cpu.outcome() == {"XLA_FLAGS": os.environ["XLA_FLAGS"], "patterns": "right"}
    cpu.choose_flags()  # another network may have another value, in the place of the first
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=/tmp/x"


@KNOWS
def test_flags_of_the_user_stay_and_are_tested(clean, monkeypatch):
    asked = computing(monkeypatch, lambda flags: "REDUCE" not in flags)
    for value, wrong in ((cpu.EVERYTHING, True), (cpu.NOTHING, False)):
        monkeypatch.setenv("XLA_FLAGS", f"{NAME}={value} --xla_dump_to=/tmp/x")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            cpu.choose_flags(cpu.EVERYTHING)
            cpu.choose_flags()
        assert os.environ["XLA_FLAGS"] == asked[-1] == f"{NAME}={value} --xla_dump_to=/tmp/x"
        assert len(told) == wrong
    assert len(asked) == 2


@KNOWS
def test_no_right_value_is_told(clean, monkeypatch):
    computing(monkeypatch, lambda flags: False)
    with pytest.warns(RuntimeWarning, match="computes wrong .* install another jaxlib"):
        cpu.choose_flags(cpu.EVERYTHING)
    assert os.environ.get("XLA_FLAGS", "") == "" and cpu.outcome()["patterns"] == "wrong: a pattern"


def test_where_jax_has_started_one_warning_says_what_is_wrong(clean, monkeypatch):
    monkeypatch.setattr(cpu, "_started", lambda: True)
    monkeypatch.setattr(cpu, "_wrong_here", lambda: ["a pattern"])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        cpu.choose_flags(cpu.EVERYTHING)
        cpu.be_safe()
    assert len(told) == 1 and "ls_jax.setup() before JAX's first array" in str(told[0].message)
    assert cpu.outcome()["patterns"] == "wrong: a pattern"


def test_a_child_process_chooses_anew(clean, monkeypatch):
    computing(monkeypatch, lambda flags: True)
    cpu.choose_flags(cpu.PRODUCTS)
    monkeypatch.setattr(cpu, "_OUTCOMES", {})  # as in the child, which inherits the environment alone
    cpu.choose_flags(cpu.EVERYTHING)
    assert os.environ["XLA_FLAGS"].count(cpu.FLAG) == 1 and os.environ["XLA_FLAGS"].endswith(cpu.EVERYTHING)


@KNOWS
def test_an_unknown_flag_or_value_is_left_out(clean, monkeypatch):
    asked = computing(monkeypatch, lambda flags: True)
    cpu.choose_flags("NO_SUCH_WORD")
    assert asked == [f"{NAME}={cpu.NO_CONVOLUTIONS}"]  # the next fastest
    cpu._known.cache_clear()
    monkeypatch.setattr(cpu, "FLAG", "xla_cpu_no_such_flag")
    for name in ("XLA_FLAGS", cpu.OURS):
        monkeypatch.delenv(name)
    cpu.choose_flags()
    assert os.environ["XLA_FLAGS"] == ""
    cpu._known.cache_clear()


def test_the_outcome_is_kept_by_machine(clean, monkeypatch, tmp_path):
    value = "" if cpu._known(cpu.NOTHING) else None
    flags = cpu._with(value)
    assert cpu._tested(flags) == []
    file, = tmp_path.glob("ls_jax/cpu_flags/*.json")
    assert json.loads(file.read_text())["jaxlib"] == cpu._version()
    monkeypatch.setattr(cpu, "_OUTCOMES", {})
    start = time.monotonic()
    assert cpu._tested(flags) == [] and time.monotonic() - start < 0.5
    computing(monkeypatch, lambda flags: False)
    for change in (lambda: file.write_text("{"), lambda: monkeypatch.setattr(cpu,
                                                                             "_processor", lambda: ("another", "", 1))):
        change()
        monkeypatch.setattr(cpu, "_OUTCOMES", {})
        assert cpu._tested(flags) == ["a pattern"]


def test_a_cache_that_cannot_be_written_is_done_without(clean, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cpu._tested(cpu._with("" if cpu._known("") else None)) == []


def test_a_test_that_dies_is_a_failure(clean, monkeypatch, tmp_path):
    monkeypatch.setattr(cpu, "_version", lambda: None)
    assert "Unknown flag" in cpu._tested("--xla_no_such_flag_at_all=1")[0]  # XLA aborts
    assert not list(tmp_path.rglob("*.json"))


def test_flags_in_a_file_are_left_alone(clean, monkeypatch, tmp_path):
    """XLA takes an XLA_FLAGS that does not begin with a dash for the name of a file."""
    asked = computing(monkeypatch, lambda flags: True)
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags.txt"))
    cpu.be_safe()
    cpu.choose_flags(cpu.EVERYTHING)
    assert os.environ["XLA_FLAGS"] == str(tmp_path / "flags.txt") == asked[0]


def test_a_test_that_fails_is_not_called_wrong(clean, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_nonsense=1")
    with pytest.warns(RuntimeWarning, match="is not known: the test itself failed .*Unknown flag.*xla_nonsense"):
        cpu.choose_flags()


@pytest.mark.parametrize("content", ['{"wrong": 0}', "null", '{"wrong": [1]}', "[" * 100_000])
def test_a_cache_that_holds_something_else_is_computed_anew(clean, monkeypatch, tmp_path, content):
    computing(monkeypatch, lambda flags: False)
    file = tmp_path / "ls_jax" / "cpu_flags" / f"{cpu._fingerprint('')}.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert cpu._tested("") == ["a pattern"]


def test_settings_of_jax_do_not_reach_the_test(clean, monkeypatch):
    """Without jit the patterns are right under any flags."""
    seen = {}
    monkeypatch.setenv("JAX_DISABLE_JIT", "1")
    monkeypatch.setattr(cpu.subprocess, "Popen", lambda *_, env, **__: seen.update(env) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cpu._tested("")
    assert {name for name in seen if name.startswith("JAX_")} == {"JAX_PLATFORMS", "JAX_ENABLE_COMPILATION_CACHE"}


def test_flags_that_came_too_late_are_noticed(clean, monkeypatch):
    """XLA had read others before; the manifest, written when JAX is up, tells."""
    monkeypatch.setattr(cpu, "_JAX_WAS_THERE", True)
    monkeypatch.setattr(cpu, "_wrong_here", lambda: ["a pattern"])
    computing(monkeypatch, lambda flags: True)
    cpu.choose_flags()
    monkeypatch.setattr(cpu, "_started", lambda: True)
    with pytest.warns(RuntimeWarning, match="computes wrong"):
        assert cpu.outcome()["patterns"] == "wrong: a pattern"


def test_patterns_are_right_here():
    """Under the flags of this process, which has JAX's settings of a test."""
    before = jax.config.values["jax_disable_most_optimizations"]
    assert patterns.wrong() == [] and jax.config.values["jax_disable_most_optimizations"] == before


def test_patterns_are_compiled_whatever_jax_is_told(monkeypatch):
    compiled = []
    monkeypatch.setattr(patterns, "_right", lambda *_: compiled.append(not jax.config.jax_disable_jit) or True)
    with jax.disable_jit():
        assert patterns.wrong() == [] and all(compiled) and jax.config.jax_disable_jit


def test_patterns_tell_garbage():
    """A program whose result is off by a thousandth, or not a number, is wrong."""
    due = np.ones(3)
    assert patterns._right(lambda x: x, (np.ones(3, np.float32),), due)
    assert not patterns._right(lambda x: x * 1.001, (np.ones(3, np.float32),), due)
    assert not patterns._right(lambda x: x / 0, (np.ones(3, np.float32),), due)


@pytest.mark.parametrize("start",
                         ["import ls_jax", "import ls_jax; ls_jax.setup()", "import ls_jax; ls_jax.setup('resnet')",
                          "import jax, ls_jax; ls_jax.setup('inception_v4')"])
def test_every_entry_computes_right(start):
    printed, _ = child(f"{start}\n{PATTERNS}")
    assert printed == ["True"] * 3


def test_a_late_start_is_told_if_it_computes_wrong():
    printed, errors = child("import jax.numpy as jnp; jnp.ones(3) + 1\nimport ls_jax; ls_jax.setup()\n" + PATTERNS)
    assert ("RuntimeWarning" in errors) == (printed != ["True"] * 3) and errors.count("XLA computes wrong") <= 1


def test_beside_an_accelerator_nothing_is_tested(clean, monkeypatch, tmp_path):
    """The device would wait for it."""
    asked = computing(monkeypatch, lambda flags: True)
    monkeypatch.setattr(cpu, "ACCELERATORS", (str(tmp_path / "absent"), str(tmp_path)))
    monkeypatch.setattr(cpu.importlib.util, "find_spec", lambda module: module == "jax_plugins" or None)
    cpu.choose_flags()
    assert not asked and cpu.outcome()["patterns"] == "not tested"
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    cpu.choose_flags()
    assert asked and cpu.outcome()["patterns"] == "right"
