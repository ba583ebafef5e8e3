"""Random overrides on the command line: each set is accepted, or refused in one line before anything is trained.

What is accepted trains.
"""
import itertools
import random

import pytest
from absl import flags

from ls_jax import config as configs
from ls_jax import main
from ls_jax.errors import UserError
from ls_jax.modes import experiment
from tests.runs import ROOT

DIGITS = f"--config={ROOT}/configs/digits_mlp.py:smoke"
NUMBERS = ("nan", "inf", "-1", "0", "1", "2", "3", "0.5", "-0.0", "1e-50", "1e40", "0.99999999", "2147483648")
TUPLES = ("()", "(0,)", "(1,)", "(0.1,0.3)", "(nan,)", "(1,2,3)", "('a','b')")
WORDS = ("True", "None", "''", "x", "test", "{}")


@pytest.fixture
def parsed(monkeypatch):
    """A function from arguments to the config that the command line would have; SystemExit: refused."""
    def parse(*overrides):
        flags.FLAGS.unparse_flags()
        for name in [name for name in flags.FLAGS if name.startswith("config.")]:
            delattr(flags.FLAGS, name)
        flags.FLAGS["config"].unparse()
        argv = ["ls_jax", DIGITS, *overrides, "--workdir=unused"]
        monkeypatch.setattr("sys.argv", argv)
        main.parse(argv)
        return flags.FLAGS.config

    return parse


def sets(seed):
    """Sets of one to three overrides of any fields, without end, and the same for the same seed."""
    chance, fields = random.Random(seed), configs.flat(configs.default().to_dict())

    def value(field):
        default = fields[field]
        likely = NUMBERS if isinstance(default, (int, float)) else WORDS if isinstance(default, str) else TUPLES
        return chance.choice(likely if chance.random() < 0.8 else NUMBERS + TUPLES + WORDS)

    while True:
        yield tuple(f"--config.{field}={value(field)}" for field in chance.sample(sorted(fields), chance.randint(1, 3)))


def accepted(overrides, parsed, capsys, workdir):
    """The config of a set that is accepted, up to the first step; None: it was refused, in one line."""
    capsys.readouterr()  # what the last set said while it trained
    try:
        config = parsed(*overrides)
    except SystemExit as stop:
        assert stop.code == 2 and capsys.readouterr().err.count("\n") == 1, overrides
        return None
    try:
        experiment.prepare(config, workdir)
    except UserError as error:
        assert "\n" not in str(error), overrides
        return None
    return config


def test_no_set_is_answered_with_a_traceback(parsed, capsys, tmp_path, unchecked):
    taken = [accepted(overrides, parsed, capsys, tmp_path / str(index))
             for index, overrides in enumerate(itertools.islice(sets(0), 300))]
    assert 20 < sum(config is not None for config in taken) < 280


@pytest.mark.slow
def test_what_is_accepted_trains(parsed, capsys, tmp_path, unchecked):
    """Six steps of thirty sets, at a size that ends; a training may diverge, which is then said."""
    size = ("--config.steps=6", "--config.evaluate.train_examples=100", "--config.log.writers=()")
    ran = 0
    for index, overrides in enumerate(sets(1)):
        config = accepted((*overrides, *size), parsed, capsys, tmp_path / str(index))
        if config is None or len(config.sweep.seed) * len(config.sweep.alpha or (0,)) > 4:
            continue
        try:
            assert experiment.measure(config, tmp_path / str(index)), overrides
        except UserError as error:
            raise AssertionError(f"{overrides} was refused after the training: {error}") from error
        ran += 1
        if ran == 30:
            return
