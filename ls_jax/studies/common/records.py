"""Findings as records: one per study, quantity, split and smoothing, over the seeds of the sweep.

A record is {study, quantity, split, <hyper-parameters>, n, mean, std, values, seeds}; std is the sample's (n - 1), and null
for one seed. A paired difference is a record too: {..., quantity: "accuracy difference", baseline_alpha, interval}.
"""
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special  # scipy.stats takes a second to import

Record = dict[str, Any]
UNFINISHED = "studied at step"  # of a training that was to go on


def summarize(study: str, quantity: str, split: str, rows: Sequence[Mapping[str, Any]],
              values: Sequence[float]) -> list[Record]:
    """One record per combination of hyper-parameters other than the seed, and one per paired difference.

    `rows` are the members' hyper-parameters, `values` what was measured on each. Differences are to the smallest α
    with all else equal, seed by seed: members of equal seed saw the same examples in the same order.
    """
    groups = _by_hyper(rows, values)
    base = {"study": study, "split": split}
    records = [{**base, "quantity": quantity, **dict(hyper), **moments(by_seed.values()), "seeds": list(by_seed)}
               for hyper, by_seed in groups.items()]
    for hyper, by_seed in groups.items():
        baseline = min((other for other in groups if _without_alpha(other) == _without_alpha(hyper)),
                       key=lambda other: dict(other)["alpha"])
        shared = [seed for seed in by_seed if seed in groups[baseline]]
        if baseline != hyper and shared:
            differences = [by_seed[seed] - groups[baseline][seed] for seed in shared]
            records.append({**base, "quantity": f"{quantity} difference", **dict(hyper),
                            "baseline_alpha": dict(baseline)["alpha"], **moments(differences),
                            "interval": t_interval(differences), "seeds": shared})
    return records


def moments(values: Sequence[float]) -> dict[str, Any]:
    """{"n", "mean", "std", "values"} of a few numbers; std is None for fewer than two."""
    values = [float(value) for value in values]
    return {"n": len(values), "mean": float(np.mean(values)),
            "std": float(np.std(values, ddof=1)) if len(values) > 1 else None, "values": values}


def t_interval(values: Sequence[float], level: float = 0.95) -> list[float] | None:
    """Student's interval for the mean of a few independent values; None for fewer than two."""
    if len(values) < 2:
        return None
    half = special.stdtrit(len(values) - 1, (1 + level) / 2) * np.std(values, ddof=1) / np.sqrt(len(values))
    return [float(np.mean(values) - half), float(np.mean(values) + half)]


def select(records: Sequence[Record], **fields: Any) -> list[Record]:
    """The records that have all these fields with these values."""
    return [record for record in records if all(record.get(name) == value for name, value in fields.items())]


def read(workdir: str | pathlib.Path) -> list[Record]:
    """The records of a workdir's results.json."""
    return json.loads((pathlib.Path(workdir) / "results.json").read_text())


def final(workdir: str | pathlib.Path) -> bool:
    """Whether a workdir has results, of networks whose training had ended."""
    return (pathlib.Path(workdir) / "results.json").exists() and not select(read(workdir), quantity=UNFINISHED)


def _by_hyper(rows, values):
    """{hyper-parameters without the seed: {seed: value}}, in the order of the sweep."""
    groups: dict[tuple, dict[int, float]] = {}
    for row, value in zip(rows, values):
        hyper = tuple((name, setting) for name, setting in row.items() if name != "seed")
        groups.setdefault(hyper, {})[row["seed"]] = value
    return groups


def _without_alpha(hyper):
    return tuple(item for item in hyper if item[0] != "alpha")
