"""Statistics over the seeds of a sweep: moments, Student's interval, paired differences."""
from collections.abc import Collection, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
from scipy import special  # scipy.stats takes a second to import

BySeed = Mapping[Hashable, float]
Value = TypeVar("Value")  # what can be subtracted: a number, or a `crossed.Sample`


def moments(values: Collection[float]) -> dict[str, Any]:
    """{"n", "mean", "std", "values"} of a few numbers; std is the sample's (n - 1), and None for fewer than two."""
    values = [float(value) for value in values]
    return {"n": len(values), "mean": float(np.mean(values)),
            "std": float(np.std(values, ddof=1)) if len(values) > 1 else None, "values": values}


def t_interval(values: Collection[float], level: float = 0.95) -> list[float] | None:
    """Student's interval for the mean of a few independent values; None for fewer than two."""
    if len(values) < 2:
        return None
    half = special.stdtrit(len(values) - 1, (1 + level) / 2) * np.std(values, ddof=1) / np.sqrt(len(values))
    return [float(np.mean(values) - half), float(np.mean(values) + half)]


def paired(values: Mapping[Hashable, Value], baseline: Mapping[Hashable, Value]) -> dict[Hashable, Value]:
    """{seed: value less the baseline's} for the seeds that both have, in the order of `values`."""
    return {seed: values[seed] - baseline[seed] for seed in values if seed in baseline}
