"""The arms of a sweep: what a config's section resolves to, who is compared with whom, and what is refused."""
import json

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax import losses
from ls_jax.errors import UserError
from ls_jax.losses import Scalar, Term
from ls_jax.modes import experiment
from ls_jax.training import arms, students, sweep
from ls_jax.workdir import log

ARMS = {"smoothed": {"alpha": 0.1}, "plain": {}}


@pytest.fixture
def config():
    config = configs.default()
    config.sweep.seed = (0, 1)
    return config


def settings(config):
    """Of each member what it is called, its alpha, learning rate and seed."""
    return [(row.get("arm"), row["alpha"], row["learning_rate"], row["seed"]) for row in sweep.members(config)]


def saved(config):
    """The config as another process reads it from the workdir."""
    return ml_collections.ConfigDict(json.loads(json.dumps(configs.plain(config))))


def test_named_arms_are_trained_with_all_seeds_and_rates(config):
    config.sweep.arms, config.sweep.learning_rate = ARMS, (0.1, 0.2)
    configs.validate(config)
    assert settings(config) == [(arm, alpha, rate, seed) for arm, alpha in (("plain", 0.0), ("smoothed", 0.1))
                                for rate in (0.1, 0.2)
                                for seed in (0, 1)]
    assert sweep.members(saved(config)) == sweep.members(config)
    grid = sweep.grid(config)
    np.testing.assert_array_equal(grid["alpha"], np.float32([0, 0, 0, 0, 0.1, 0.1, 0.1, 0.1]))
    assert grid["seed"].dtype == np.int32 and set(grid) == {"alpha", "learning_rate", "weight_decay", "seed"}


@pytest.mark.parametrize("baseline, expected", [
    (None, [None, None, 0, 1, 0, 1]), ({"alpha": 0.1}, [2, 3, None, None, 2, 3]), ("middle", [2, 3, None, None, 2, 3])])
def test_a_baseline_is_of_equal_seed(config, baseline, expected):
    config.sweep.arms = {"a": {"alpha": 0.0}, "middle": {"alpha": 0.1}, "z": {"alpha": 0.2}}
    config.sweep.baseline = baseline
    configs.validate(config)
    assert sweep.baselines(config) == sweep.baselines(saved(config)) == expected


@pytest.mark.parametrize("baseline", [None, "plain"])
def test_what_belongs_to_a_strength_follows_it(config, baseline):
    """A γ that is not named is the other, an end the start; a margin that has no weight is no difference."""
    config.sweep.seed, config.sweep.baseline = (0,), baseline
    config.sweep.arms = {"flsd": {"focal": 3.0, "focal_low": 5.0}, "focal": {"focal": 3.0},
                         "margin": {"margin_penalty": 0.1, "margin": 6.0}, "plain": {},
                         "rises": {"max_suppression": 0.1, "max_suppression_end": 0.2},
                         "stays": {"max_suppression": 0.1}}
    configs.validate(config)
    members = {row["arm"]: row for row in sweep.members(config)}
    assert [members[arm]["focal_low"] for arm in ("flsd", "focal", "plain")] == [5.0, 3.0, 0.0]
    assert [members[arm]["max_suppression_end"] for arm in ("rises", "stays", "plain")] == [0.2, 0.1, 0.0]
    assert [members[arm]["margin"] for arm in ("margin", "plain")] == [6.0, 10.0]
    np.testing.assert_array_equal(sweep.grid(config)["max_suppression_end"], np.float32([0, 0, 0, 0, 0.2, 0.1]))
    assert sweep.baselines(config) == sweep.baselines(saved(config)) == [3, 3, 3, None, 3, 3]
    config.sweep.update(arms=None, baseline=None, alpha=(0.0,), margin_penalty=(0.0, 0.1), margin=(6.0,))
    configs.validate(config)
    assert sweep.baselines(config) == [None, 0]


def test_all_else_is_equal_to_the_baseline(config):
    config.sweep.seed, config.sweep.learning_rate = (0,), (0.1, 0.2)
    assert sweep.baselines(config) == [None, None, 0, 1]
    config.sweep.alpha = (0.05, 0.1)  # without the baseline nobody is compared
    assert sweep.baselines(config) == [None] * 4
    config.sweep.arms = {"plain": {}, "slow": {"learning_rate": 0.01, "baseline": "plain"},
                         "smoothed": {"alpha": 0.1, "baseline": {"alpha": 0}}}
    config.sweep.learning_rate = (0.1,)
    configs.validate(config)
    assert sweep.baselines(config) == [None, 0, 0]


def test_students_are_arms_that_name_their_teacher(config):
    config.sweep.alpha, config.sweep.seed = (0.0,), (0, 1)
    teacher = config.copy_and_resolve_references()
    teacher.sweep.alpha = (0.0, 0.1)
    groups, named = config.copy_and_resolve_references(), config.copy_and_resolve_references()
    groups.distill = configs.distillation({"net": teacher}, {
        "alone": {}, "cold": {"teacher": "net", "teacher_alpha": (0.1,)},
        "warm": {"teacher": "net", "temperature": (4.0,), "alpha": (0.2,)}})
    named.distill = configs.distillation({"net": teacher})
    named.sweep.arms = {"alone": {}, "cold": {"teacher": "net", "teacher_alpha": 0.1},
                        "warm": {"teacher": "net", "temperature": 4.0, "alpha": 0.2, "baseline": "alone"}}
    for each in (groups, named):
        configs.validate(each)
    without_arm = [{name: value for name, value in row.items() if name != "arm"} for row in sweep.members(named)]
    assert without_arm == sweep.members(groups)
    assert [row["arm"] for row in sweep.members(named)][::2] == ["alone", "cold", "warm"]
    for name, values in sweep.grid(groups).items():
        np.testing.assert_array_equal(sweep.grid(named)[name], values)
    assert sweep.grid(named)["teacher"].tolist() == [-1, -1, 0, 1, 2, 3] and len(students.roster(named)) == 4
    assert sweep.baselines(named) == [None, None, None, None, 0, 1] and sweep.baselines(groups) == [None] * 6
    del named.sweep.arms["cold"], named.sweep.arms["warm"]  # nobody is taught: the teacher's term is not compiled
    assert not {"teacher", "beta"} & set(sweep.grid(named)) and losses.used(sweep.grid(named)) == ("label_smoothing",)


@pytest.mark.parametrize("fields, message", [
    (dict(alpha=(0.1, 0.10000000001)),
     r"config.sweep.alpha=\(0.1, 0.10000000001\) holds a value twice, as float32 has it"),
    (dict(alpha=(0.99999999999,)), r"alpha holds 0.99999999999: label smoothing must lie in \[0, 1\)"),
    (dict(alpha=(float("nan"),)), "alpha holds nan: label smoothing must be a number in"),
    (dict(alpha=("much",)), "alpha holds 'much': label smoothing must be a number in"),
    (dict(alpha=()), "config.sweep.alpha is empty"),
    (dict(learning_rate=(-0.1,)), "learning_rate holds -0.1: a learning rate must lie in"),
    (dict(learning_rate=(1e39,)), r"learning_rate holds 1e\+39: a learning rate must lie in"),
    (dict(seed=(0, 0.5)), "config.sweep.seed holds 0.5: a seed must be a whole number"),
    (dict(seed=(-1,)), "config.sweep.seed holds -1: a seed must lie in"),
    (dict(seed=(2**31,)), r"seed holds 2147483648: a seed must lie in \[0, 2147483648\)"),
    (dict(seed=(True,)), "seed holds True: a seed must be a number"),
    (dict(beta=(0.5,)), "config.sweep.beta is of students with a teacher"),
    (dict(arms={}), "config.sweep.arms={} must name settings"),
    (dict(arms={"x": 0.1}), "config.sweep.arms.x=0.1 must be settings"),
    (dict(arms={"x 0.1": {}}), "config.sweep.arms: the name 'x 0.1' has a dot"),
    (dict(arms={"x": {"alfa": 0.1}}), r"config.sweep.arms.x has no field 'alfa' \(did you mean 'alpha'\?\)"),
    (dict(arms={"x": {"alpha": (0.1, 0.2)}}), r"arms.x.alpha=\(0.1, 0.2\): an arm has one value"),
    (dict(arms={"x": {"alpha": 1.5}}), "arms.x.alpha holds 1.5"),
    (dict(arms={"x": {"seed": 1}}), "arms.x.seed: every arm is trained with all of config.sweep.seed"),
    (dict(arms={"x": {"alpha": 0.1}, "y": {"alpha": 0.10000000001}}), "the arms 'x' and 'y' have equal settings"),
    (dict(arms={"x": {"teacher": "net"}}), "arms.x has no field 'teacher'"),
    (dict(arms={"x": {"max_supression": 0.1}}),
     r"arms.x has no field 'max_supression' \(did you mean 'max_suppression'\?\)"),
    (dict(arms={"x": {"confidence_penalty": -0.1}}),
     r"confidence_penalty holds -0.1: the entropy's weight must lie in \[0, inf\)"),
    (dict(arms={"x": {"poly1": -1.5}}), r"arms.x.poly1 holds -1.5: Poly-1's ε must lie in \[-1, inf\)"),
    (dict(arms={"x": {"margin": 6.0}}), "arms.x.margin means nothing without margin_penalty: set margin_penalty too"),
    (dict(arms={"x": {"focal_low": 5.0}}), "arms.x.focal_low means nothing without focal: set focal too"),
    (dict(arms={"x": {"max_suppression_end": 0.2}}), "max_suppression_end means nothing without max_suppression"),
    (dict(arms={"x": {"max_suppression": 0.1, "max_suppression_end": -0.2}}),
     "MaxSup's weight at the end of training must lie in"),
    (dict(margin=(6.0,)), "config.sweep.margin means nothing without margin_penalty"),
    (dict(arms={"x": {}, "y": {"margin_penalty": 0.0, "margin": 6.0}}), "the arms 'x' and 'y' have equal settings"),
    (dict(arms={"x": {"focal": 3.0}, "y": {"focal": 3.0, "focal_low": 3}}), "the arms 'x' and 'y' have equal settings"),
    (dict(arms={"x": {"poly1": 1.0}, "y": {"poly1": 1.0, "poly1_end": 1.0}}),
     "the arms 'x' and 'y' have equal settings"),
    (dict(alpha=(0.0,), margin_penalty=(0.0, 0.1), margin=(6.0, 8.0)),
     "margin=6.0.* and .*margin=8.0.* have equal settings"),
    (dict(arms=ARMS, baseline="plane"), r"baseline='plane' names no arm \(did you mean 'plain'\?\)"),
    (dict(arms=ARMS | {"x": {"alpha": 0.3, "baseline": "nobody"}}), "the baseline of 'x'='nobody' names no arm"),
    (dict(baseline="plain"), "config.sweep.baseline='plain' names an arm, and the sweep has none"),
    (dict(baseline={"alpha": 0.2}), "config.sweep.baseline={'alpha': 0.2} is not in the sweep"),
    (dict(baseline={"alfa": 0.0}),
     r"config.sweep.baseline has 'alfa', which the sweep has not \(did you mean 'alpha'\?\)"),
    (dict(baseline=0.0), "config.sweep.baseline=0.0 must be an arm's name, or settings"),
])
def test_a_mistake_is_named_in_one_line(config, fields, message):
    config.sweep.update(fields)
    with pytest.raises(UserError, match=message) as caught:
        configs.validate(config)
    assert "\n" not in str(caught.value)


def test_seeds_that_float32_cannot_tell_apart_are_different(config):
    config.sweep.seed = (2**24, 2**24 + 1)
    configs.validate(config)
    assert sweep.grid(config)["seed"].tolist() == 2 * [2**24, 2**24 + 1]


def test_sweeps_of_students_are_checked_as_their_groups(config):
    config.distill = configs.distillation({"net": config.copy_and_resolve_references()}, {"a": {"teacher": "net"}},
                                          loss="logits")
    config.sweep.temperature = (1.0, 2.0)
    with pytest.raises(UserError, match="config.sweep.temperature: config.distill.loss='logits' makes no use of it"):
        configs.validate(config)
    config.distill.loss = "soft"
    configs.validate(config)
    assert [row["temperature"] for row in sweep.members(config)] == 4 * [1.0] + 4 * [2.0]
    config.sweep.arms = {"b": {"teacher": "net"}}
    with pytest.raises(UserError, match="config.sweep.arms and config.distill.students are both given"):
        configs.validate(config)


def poly(examples, strengths):
    """Poly-1 (Leng et al. 2022): ε (1 - p_y)."""
    return strengths["epsilon"] * -jnp.expm1(-examples.cross_entropy)


@pytest.fixture
def new_loss(monkeypatch):
    """What a newcomer adds to ls_jax/losses/terms.py."""
    monkeypatch.setitem(losses.LOSSES, "poly", Term(poly, {"epsilon": Scalar(0.0, -1.0, 10.0, what="Poly-1's weight")}))


def test_a_new_loss_is_swept_by_a_line_of_config(new_loss, request, tmp_path):
    tiny = request.getfixturevalue("tiny")
    tiny.sweep.update(alpha=(0.0,), epsilon=(0.0, 2.0))
    experiment.train(tiny, tmp_path)
    rows = [row for row in log.read_metrics(tmp_path) if row["split"] == "test"]
    assert [(row["alpha"], row["epsilon"]) for row in rows] == [(0.0, 0.0), (0.0, 2.0)]
    assert sweep.baselines(tiny) == [None, 0]
    excess = [row["loss"] - row["nll"] for row in rows]
    assert excess[0] == pytest.approx(0, abs=1e-6) and 0.5 < excess[1] < 2
    tiny.sweep.epsilon = (11.0,)
    with pytest.raises(UserError, match=r"config.sweep.epsilon holds 11.0: Poly-1's weight must lie in \[-1, 10\)"):
        configs.validate(tiny)
    tiny.sweep.update(epsilon=None, arms={"plain": {}, "poly": {"epsilon": 2.0}, "smoothed": {"alpha": 0.1}})
    assert [(row["alpha"], row["epsilon"]) for row in sweep.members(tiny)] == [(0.0, 0.0), (0.0, 2.0), (0.1, 0.0)]
    assert sweep.baselines(tiny) == [None, 0, 0]
    tiny.sweep.epsilon = (1.0,)
    with pytest.raises(UserError, match="config.sweep.epsilon and config.sweep.arms are both given"):
        configs.validate(tiny)


def test_a_loss_that_no_arm_names_is_not_compiled(monkeypatch, request, tmp_path):
    def never(examples, strengths):
        raise AssertionError("called")

    monkeypatch.setitem(losses.LOSSES, "never", Term(never, {"never": Scalar(0.0, 0.0, 1.0)}))
    tiny = request.getfixturevalue("tiny")
    assert all("never" not in row for row in sweep.members(tiny))
    experiment.train(tiny, tmp_path)
    tiny.sweep.never = (0.0,)
    with pytest.raises(AssertionError, match="called"):
        experiment.train(tiny, tmp_path / "named")


def test_every_scalar_has_one_term():
    names = [name for term in losses.LOSSES.values() for name in term.scalars]
    ends = [name for name, scalar in losses.scalars().items() if name.endswith("_end")]
    assert len(names) == len(set(names)) and len(arms.scalars()) == len(names) + len(ends) + 3
