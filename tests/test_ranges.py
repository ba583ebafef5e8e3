"""Ranges of a config's numbers: every field is in the table, and a value that makes no sense gets one line."""
import pytest

from ls_jax import config as configs
from ls_jax import ranges
from ls_jax.data import sources
from ls_jax.errors import UserError
from ls_jax.studies import registry

ELSEWHERE = {"data": sources.fields(), **registry.fields()}  # fields that are declared where they are read


def test_every_number_of_a_config_has_a_range():
    """Fields of studies and sources are declared with theirs, and a sweep's scalars have their own."""
    default = configs.default()
    fields = [name for name, value in configs.flat(default.to_dict()).items()
              if not isinstance(value, str) and name.split(".")[0] not in ("sweep", "model", "log")]
    left = [name for name in fields if name not in ranges.RANGES
            and name.rpartition(".")[2] not in ELSEWHERE.get(name.partition(".")[0], {})]
    words = {"data.dir", "distill", "optimizer.decay_layers", "optimizer.layer_rates.head"}  # the last in a section
    assert {name for name in left if not name.startswith("data.crop.")} == words
    ranges.check(lambda name: configs.get(default, name))


@pytest.mark.parametrize("name", ranges.RANGES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 2**31, 1e40, "one", True, (0,), (float("nan"),)])
def test_what_makes_no_sense_is_refused(name, value):
    """For most fields; a flag may be True."""
    due = ranges.RANGES[name]
    values = {each: configs.get(configs.default(), each) for each in ranges.RANGES}
    try:
        ranges.check({**values, name: value}.__getitem__)
    except UserError as error:
        assert f"config.{name}={value!r} must {due.must}" in str(error) and "\n" not in str(error)
    else:
        large = ("loss.multiplier", "loss.auxiliary", "optimizer.factor", "optimizer.factor_every", "optimizer.clip",
                 "optimizer.epsilon")
        assert (name, value) == ("optimizer.decay_norm", True) or (name in large and value == 2**31)


@pytest.mark.parametrize("name, value", [("optimizer.ema", 0.99999999), ("optimizer.warmup", 0.99999999),
                                         ("optimizer.epsilon", 1e-50), ("data.label_noise", 1 - 1e-9)])
def test_numbers_are_checked_as_float32_has_them(name, value):
    values = {each: configs.get(configs.default(), each) for each in ranges.RANGES}
    with pytest.raises(UserError, match=f"config.{name}="):
        ranges.check({**values, name: value}.__getitem__)
