"""CPU flags: kept if the user set them, left out where unknown, and accepted by the installed jaxlib."""

import os
import subprocess
import sys

import pytest

from ls_jax import xla_flags

NAME = xla_flags.FUSION_TYPE


def test_user_flags_are_kept(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--{NAME}=LIBRARY_FUSION_TYPE_DOT --xla_dump_to=/tmp/x")
    xla_flags.set_cpu_flags()
    assert os.environ["XLA_FLAGS"] == f"--{NAME}=LIBRARY_FUSION_TYPE_DOT --xla_dump_to=/tmp/x"


def test_flags_are_appended_once(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/tmp/x")
    xla_flags.set_cpu_flags()
    once = os.environ["XLA_FLAGS"]
    xla_flags.set_cpu_flags()
    assert os.environ["XLA_FLAGS"] == once and once.startswith("--xla_dump_to=/tmp/x")


def test_unknown_flags_are_left_out(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(xla_flags, "RESIDUAL", ("NO_SUCH_WORD",))
    xla_flags.set_cpu_flags()
    assert os.environ["XLA_FLAGS"] == ""
    monkeypatch.undo()
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(xla_flags, "FUSION_TYPE", "xla_cpu_no_such_flag")
    xla_flags.set_cpu_flags()
    assert os.environ["XLA_FLAGS"] == ""


@pytest.mark.parametrize("network, kinds", [("resnet", ["DOT", "ELTWISE", "REDUCE"]), ("a_users_own", ["DOT", "ELTWISE", "REDUCE"]),
                                            ("inception_v4", ["DOT", "REDUCE"])])
def test_flags_of_a_network(monkeypatch, network, kinds):
    monkeypatch.setenv("XLA_FLAGS", "")
    xla_flags.set_cpu_flags(network)
    assert os.environ["XLA_FLAGS"] == f"--{NAME}=" + ",".join(f"LIBRARY_FUSION_TYPE_{kind}" for kind in kinds)


@pytest.mark.parametrize("network", ["mlp", "transformer"])
def test_other_networks_keep_the_defaults(monkeypatch, network):
    monkeypatch.setenv("XLA_FLAGS", "")
    xla_flags.set_cpu_flags(network)
    assert os.environ["XLA_FLAGS"] == ""


def test_jax_starts_with_the_flags():
    """A flag that jaxlib does not know would abort this process."""
    code = (
        "from ls_jax import xla_flags; xla_flags.set_cpu_flags(); xla_flags.reuse_freed_memory()\n"
        "import jax; print(float(jax.numpy.arange(4.0).sum()))"
    )
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stdout.strip() == "6.0", done.stderr
