"""Fields: what a declaration checks, that it says so, and that every model's and source's are whole."""
import inspect

import ml_collections
import pytest

from ls_jax import config as configs
from ls_jax import data, fields, models
from ls_jax.data import sources
from ls_jax.errors import InvalidField, UserError
from ls_jax.fields import Field
from ls_jax.studies import registry


@pytest.mark.parametrize("check, good, bad, must", [
    (fields.whole(1), [1, 7], [0, 1.5, True, "a", None, (1,)], "be a whole number of at least 1"),
    (fields.between(0, 1), [0, 0.5], [1, -0.1, "a", float("nan"), True], r"lie in \[0, 1\)"),
    (fields.above(0), [0.1, 3], [0, float("inf"), float("nan"), "a"], "be above 0"),
    (fields.share(), [1, 0.2], [0, 1.1, True], "be above 0 and at most 1"),
    (fields.boolean(), [True, False], [0, 1, "yes"], "be True or False"),
    (fields.choice("he", "me"), ["he"], ["the", 3], "be one of he, me"),
    (fields.several(fields.whole(1)), [(), (1, 2), [3]], [(0,), 3, "ab", (1, "a")],
     "be a tuple, each of which must be a whole number"),
    (fields.several(fields.whole(0), count=3), [(0, 0, 0)], [(0, 0), (0, 0, -1)],
     "be a tuple of 3, each of which must"),
    (fields.optional(fields.above(0)), [None, 1], [0, "a"], "be None, or be above 0"),
    (fields.section(side=fields.share()), [{"side": 1}], [{"side": 2}], "have side that must be above 0 and at most 1"),
])
def test_checks(check, good, bad, must):
    field = Field(None, "made up", check)
    for value in good:
        field.refuse("config.made.up", value)
    for value in bad:
        with pytest.raises(InvalidField, match=f"^config.made.up=.* must {must}") as error:
            field.refuse("config.made.up", value)
        assert "\n" not in str(error.value)


def test_a_choice_is_guessed():
    with pytest.raises(InvalidField, match=r"must be one of large, small \(did you mean 'small'\?\)"):
        Field("large", "size", fields.choice("large", "small")).refuse("x", "smal")


def test_a_field_of_a_kind_may_be_unset():
    field = Field(None, "many", fields.whole(1), kind=int)
    field.refuse("x", None)
    assert ml_collections.ConfigDict({"x": field.initial()}).x is None


def test_a_section_is_the_configs_own():
    field = Field({"a": 1}, "many")
    first, second = field.initial(), field.initial()
    first.a = 2
    assert second.a == field.default["a"] == 1


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_declares_what_its_constructor_takes(name):
    """Names, meanings, and defaults that pass the checks; the constructor has no defaults of its own beside them."""
    model = models._load(name)
    taken = inspect.signature(model.__init__).parameters
    own = {field for field in taken if field not in ("self", "num_classes", "image_shape", "rngs", "axis_name",
                                                     "dtype")}
    assert own == set(model.FIELDS) and all(taken[field].default is inspect.Parameter.empty for field in own)
    for field, declared in model.FIELDS.items():
        declared.refuse(field, declared.default)
        assert declared.meaning and declared.check


@pytest.mark.parametrize("source", sources.every(), ids=lambda source: source.__name__)
def test_every_source_has_what_the_protocol_says(source):
    assert isinstance(source.NAMES, str) and source.__doc__
    for name, parameters in {"owns": ["data"], "check": ["data"], "load": ["data", "workdir"]}.items():
        assert list(inspect.signature(getattr(source, name)).parameters) == parameters
    for name, field in source.FIELDS.items():
        field.refuse(name, field.default)
        assert field.meaning and field.check and name in configs.default().data


@pytest.mark.parametrize("name", registry.fields())
def test_every_study_declares_its_section(name):
    assert set(configs.default()[name]) == set(registry.fields()[name])
    for field, declared in registry.fields()[name].items():
        declared.refuse(field, declared.default)
        assert declared.meaning and declared.check


@pytest.mark.parametrize("field, value, message", [
    ("information.draws", 1, "config.information.draws=1 must be a whole number of at least 2"),
    ("information.draws", 51, "config.information.draws=51 must be from 2 to config.information.views=50"),
    ("information.examples", 0, "config.information.examples=0 must be a whole number of at least 1"),
    ("transfer.examples", 0, "config.transfer.examples=0 must be"),
    ("translation.beams", (0,), r"config.translation.beams=\(0,\) must be a tuple, each of which must be a whole "
                                r"number of at least 1"),
    ("projection.classes", (0.5,), "config.projection.classes=.* must be a tuple, each of which must be a triple of "
                                   "classes, or a class"),
])
def test_a_studys_field_is_checked_before_the_training(field, value, message):
    config = configs.default()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=message):
        configs.validate(config)


def test_a_studys_fields_may_change_when_a_run_is_resumed():
    old, new = configs.plain(configs.default()), configs.default()
    new.information.examples, new.transfer.data, new.steps = 10, ("digits",), 7
    assert configs.differences(old, configs.plain(new)) == ["steps: 1000 -> 7"]


@pytest.mark.parametrize("name, more, source", [
    ("digits", {}, "digits"), ("folder:there", {"image_size": 3}, "folder"), ("npz:there.npz", {}, "npz"),
    ("text:there", {}, "bitext"),
    ("wmt14_translate/de-en", {"vocabulary": 600}, "bitext"), ("mnist", {}, "tfds"),
    ("imagenet2012", {"image_size": 75}, "stream"),
    ("imagenet2012:5.1.0", {"image_size": 75}, "stream"), ("mnist:3.0.1", {}, "tfds"),
])
def test_a_data_set_has_its_source(name, more, source):
    assert sources.of(ml_collections.ConfigDict({"name": name, **more})).__name__.endswith(f".{source}")


@pytest.mark.parametrize("name, more, message", [
    ("digits", {"vocabulary": 600}, "config.data.vocabulary=600 is for text:PATH: leave it unset for "
                                    "data.name='digits'"),
    ("npz:there.npz", {"image_size": 3}, "config.data.image_size=3 is for folder:PATH and a TFDS name: leave it unset"),
    ("text:there", {"vocabulary": 600, "image_size": 3}, "config.data.image_size=3 is for"),
])
def test_a_field_of_another_source_is_refused(name, more, message):
    with pytest.raises(UserError, match=message):
        data.check(ml_collections.ConfigDict({"name": name, "dir": None, **more}))


def test_a_model_without_fields_and_a_module_that_is_no_source_are_told(monkeypatch):
    monkeypatch.setitem(models.MODELS, "mine", Field)
    with pytest.raises(InvalidField, match="model 'mine': Field has no FIELDS; declare there what it takes of "
                                           "config.model"):
        models.fields("mine")
    monkeypatch.setattr(sources, "SOURCES", ("ls_jax.data.noise", *sources.SOURCES))
    with pytest.raises(TypeError, match="ls_jax.data.noise is no Source: it lacks NAMES, FIELDS, owns, check, load"):
        sources.every()


def test_two_sources_cannot_mean_two_things_by_one_field(monkeypatch):
    monkeypatch.setattr(sources.every()[0], "FIELDS", {"image_size": Field(3, "another thing")})
    with pytest.raises(ValueError, match="config.data.image_size is declared twice, and differently"):
        sources.fields()
