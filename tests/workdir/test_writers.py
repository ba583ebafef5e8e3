"""The writers beside metrics.jsonl: the calls that Weights & Biases and MLflow get, and what is refused."""
import sys
import types

import pytest

from ls_jax import config as configs
from ls_jax.errors import UserError
from ls_jax.workdir import writers

RUNS = {"alpha=0,seed=1": {"alpha": 0.0, "seed": 1}, "alpha=0.1,seed=1": {"alpha": 0.1, "seed": 1}}


class Recorder:
    """Keeps the arguments of every method's calls."""

    def __init__(self, **returns):
        self.calls, self.returns = [], returns

    def __getattr__(self, name):
        def call(*arguments, **named):
            self.calls.append((name, arguments, named))
            return self.returns.get(name, lambda *_, **__: None)(*arguments, **named)
        return call

    def of(self, name):
        return [(arguments, named) for each, arguments, named in self.calls if each == name]


@pytest.fixture
def wandb(monkeypatch):
    opened = {}
    module = Recorder(init=lambda **named: opened.setdefault(named["name"], Recorder()))
    module.opened = opened
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_each_member_is_a_wandb_run_that_a_resumed_run_goes_on(wandb, tmp_path):
    first = writers.WeightsAndBiases(tmp_path, RUNS)
    first.write("alpha=0.1,seed=1", 10, {"train/loss": 0.5})
    first.close()
    writers.WeightsAndBiases(tmp_path, RUNS, first_step=10)
    given = [named for _, named in wandb.of("init")]
    assert [each["config"] for each in given[:2]] == list(RUNS.values())
    assert given[0]["id"] != given[1]["id"] and [each["id"] for each in given[:2]] == [each["id"] for each in given[2:]]
    assert all(each["group"] == tmp_path.name and each["resume"] == "allow" for each in given)
    assert wandb.opened["alpha=0.1,seed=1"].of("log") == [(({"train/loss": 0.5},), {"step": 10})]
    assert all(len(run.of("finish")) == 1 for run in wandb.opened.values())


def test_wandb_without_a_login_is_one_line(wandb, tmp_path):
    def refuse(**_):
        raise RuntimeError("api_key not configured\n(no-tty)")
    wandb.returns["init"] = refuse
    with pytest.raises(UserError, match="wandb: api_key not configured .no-tty.*WANDB_MODE=offline"):
        writers.WeightsAndBiases(tmp_path, RUNS)


def test_each_member_is_an_mlflow_run(monkeypatch, tmp_path):
    made = []

    def create_run(experiment, run_name, tags):
        made.append(tags)
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=f"run of {run_name}"))

    def search_runs(experiments, condition):
        return [types.SimpleNamespace(info=types.SimpleNamespace(run_id="the one before"))
                for tags in made if condition == f"tags.ls_jax = '{tags['ls_jax']}'"]

    client = Recorder(create_experiment=lambda name: "7", create_run=create_run, search_runs=search_runs)
    module = types.ModuleType("mlflow")
    module.MlflowClient = lambda: client
    module.entities = types.ModuleType("mlflow.entities")
    module.entities.Metric = lambda *values: values
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", module.entities)
    first = writers.MLflow(tmp_path, RUNS)
    first.write("alpha=0,seed=1", 10, {"train/loss": 0.5})
    first.close()
    (run, [metric]), _ = client.of("log_batch")[0]
    assert run == "run of alpha=0,seed=1" and metric[:2] == ("train/loss", 0.5) and metric[3] == 10
    assert [arguments[1:] for arguments, _ in client.of("log_param")] == [
        ("alpha", 0.0), ("seed", 1), ("alpha", 0.1), ("seed", 1)]
    assert len(client.of("set_terminated")) == 2
    writers.MLflow(tmp_path, RUNS, first_step=10).write("alpha=0,seed=1", 20, {"train/loss": 0.25})
    assert len(made) == 2 and client.of("log_batch")[1][0][0] == "the one before"


@pytest.mark.parametrize("names, match", [
    ("tensorboard", "must be a tuple of some of tensorboard, wandb, mlflow"),
    (("tensorbord",), "must be a tuple of some of"),
    (("mlflow",), r"'mlflow', which is not installed: pip install 'ls_jax\[mlflow\]'")])
def test_other_names_and_missing_libraries_are_told(names, match, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "mlflow" else name)
    with pytest.raises(UserError, match=match):
        writers.check(names)


def test_the_default_is_checked_with_the_config():
    config = configs.default()
    config.log.writers = ("nowhere",)
    with pytest.raises(UserError, match="config.log.writers"):
        configs.validate(config)
