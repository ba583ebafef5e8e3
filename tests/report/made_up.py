"""A workdir with predictions, made up in seconds."""
import json

import ml_collections
import numpy as np

from ls_jax import config as configs
from ls_jax.data.sources import digits
from ls_jax.studies import accuracy
from ls_jax.studies.accuracy import records as accuracy_records
from ls_jax.studies.common import records
from ls_jax.studies.projection import records as projection_records
from ls_jax.training import sweep
from ls_jax.workdir import log, predictions
from ls_jax.workdir.predictions import Predictions


def experiment(workdir, class_names):
    """A workdir as `--mode=run` leaves it, with made-up activations of the real digits."""
    workdir.mkdir(parents=True, exist_ok=True)
    config = configs.default()
    config.model = dict(name="mlp", hidden=(16,), init_std=None)
    config.sweep.seed = (0, 1, 2)
    config.unlock()
    config.projection = ml_collections.ConfigDict(dict(classes=((3, 8, 9),)))
    rows, measured = sweep.members(config), []
    for member, row in enumerate(rows):
        rng = np.random.default_rng(member)
        kernel, bias = rng.normal(size=(16, 10)).astype(np.float32), rng.normal(size=10).astype(np.float32)
        for name, split in digits.load().splits.items():
            features = (kernel.T[split.labels] +
                        (1 - 5 * row["alpha"]) * rng.normal(size=(len(split), 16))).astype(np.float32)
            predicted = Predictions(features @ kernel + bias, features, split.labels,
                                    np.arange(len(split), dtype=np.int32))
            predictions.save(workdir, name, member, predicted, {"kernel": kernel, "bias": bias}, class_names)
            measured.append((name, row, accuracy.measure_all(predicted.logits, predicted.labels)))
    log.write_json(workdir / "config.json", configs.plain(config))
    records.write(workdir, accuracy_records.run(measured) + projection_records.run(workdir, rows, [(3, 8, 9)]))
    (workdir / "metrics.jsonl").write_text("".join(
        json.dumps({"step": step, "member": m, "split": split, **row, "loss": 1 / step, "accuracy": 0.5, "nll": 1})
        + "\n" for step in (1, 2) for m, row in enumerate(rows) for split in ("train", "test")))
    log.write_json(workdir / "manifest.json", {"sessions": [{
        "start": "2026-01-01T00:00:00+00:00", "outcome": "finished", "seconds": 3723.0,
        "git": {"commit": 40 * "a", "dirty": True}, "versions": {"jax": "0.0"},
        "devices": {"platform": "cpu", "kind": "abacus", "count": 1, "processes": 1},
        "cpu": {"model": "<wood>", "cores": 2}}]})
    return workdir
