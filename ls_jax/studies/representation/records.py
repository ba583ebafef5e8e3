"""The representation study's records: after training, at checkpoints, and of networks at equal collapse."""
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ls_jax.studies import representation
from ls_jax.studies.common import records
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.common.triples import Triple
from ls_jax.workdir import predictions

CKA = "cka with hard"
MATCHED = "at matched nc1"
Dynamics = Mapping[int, Mapping[int, Mapping[str, float]]]  # {step: {member: {quantity: value}}}


def collect(studied: Studied) -> list[records.Record]:
    """Records of a run; none for students, which have their own study."""
    return [] if studied.run.config.distill else run(studied.outputs, studied.rows)


def analyze(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[records.Record]:
    """Records of one network, for every measure that its arrays allow."""
    return [
        records.of_one("representation", quantity, value)
        for quantity, value in representation.measure_all(arrays).items()
    ]


def run(workdir: str | pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> list[records.Record]:
    """Records of every measure on every split, from the predictions on disk.

    They include each smoothed network's alignment (CKA) with its unsmoothed baseline of the same seed.
    """
    measured: dict[str, dict[int, dict[str, float]]] = {}
    for split, member, arrays in predictions.every(workdir, len(rows)):
        measured.setdefault(split, {})[member] = representation.measure_all(arrays)
    for split, of_members in measured.items():
        for member, unsmoothed in records.pairs(rows):
            if {member, unsmoothed} <= of_members.keys():
                own, other = (predictions.mapped(workdir, split, each).get("features") for each in (member, unsmoothed))
                if own is not None and other is not None:
                    of_members[member][CKA] = representation.linear_cka(own, other)
    return [record for split, of_members in measured.items() for record in summarize(of_members, rows, split)]


def summarize(measured: Mapping[int, Mapping[str, float]], rows: Sequence[Mapping[str, Any]],
              split: str) -> list[records.Record]:
    """Records of {member: {quantity: value}}."""
    results = []
    for quantity in dict.fromkeys(name for values in measured.values() for name in values):
        members = [member for member, values in measured.items() if quantity in values]
        results += records.summarize("representation", quantity, split, [rows[member] for member in members],
                                     [measured[member][quantity] for member in members])
    return [record for record in results if record.quantity != CKA or record.kind == records.VALUE]


def of_checkpoints(dynamics: Dynamics, rows: Sequence[Mapping[str, Any]], split: str = "train") -> list[records.Record]:
    """Records of the measures at each checkpoint (field `step`), then those of `matched`."""
    found = [
        record.having(step=step) for step, measured in dynamics.items() for record in summarize(measured, rows, split)
    ]
    return found + matched(dynamics, rows, split)


def matched(dynamics: Dynamics, rows: Sequence[Mapping[str, Any]], split: str = "train") -> list[records.Record]:
    """Differences, smoothed minus unsmoothed with the same seed, at the lowest NC1 that both networks reach.

    Guo et al. 2024 compare losses in this way: otherwise a network that collapses sooner is compared with one that has
    not collapsed yet. Between checkpoints, log NC1 and the quantities are interpolated linearly in the step. The
    quantities are "QUANTITY at matched nc1". Steps are not compared here: at a level that depends on where the two
    networks end, the one that collapses further is always the sooner. See `delays`.
    """
    rows = records.arms(rows)
    groups: dict[frozenset, tuple[records.Row, dict[int, dict[str, float]]]] = {}
    for member, unsmoothed in records.pairs(rows):
        curves = [{step: measured[each] for step, measured in dynamics.items() if "nc1" in measured.get(each, {})}
                  for each in (member, unsmoothed)]
        if min(map(len, curves)) < 2:
            continue
        level = max(min(values["nc1"] for values in curve.values()) for curve in curves)
        own, other = (_at(curve, level) for curve in curves)
        _, by_seed = groups.setdefault(records.key(records.hyper(rows[member])), (rows[member], {}))
        by_seed[rows[member]["seed"]] = {
            "nc1 level": level,
            **{name: own[name] - other[name] for name in own if name in other and name not in ("nc1", "steps")}}
    results = []
    for row, by_seed in groups.values():
        levels = [values["nc1 level"] for values in by_seed.values()]
        for quantity in [name for name in next(iter(by_seed.values())) if name != "nc1 level"]:
            differences = {seed: of[quantity] for seed, of in by_seed.items() if quantity in of}
            if len(differences) == len(by_seed):
                results += records.difference("representation", f"{quantity} {MATCHED}", split, records.hyper(row),
                                              row["baseline"], differences, row["arm"], terms=row.get("terms"),
                                              nc1_levels=levels)
    return results


def delays(results: Sequence[records.Record], of: records.Row, baseline: records.Row,
           level: float) -> tuple[dict[Any, float], int]:
    """({seed: steps until NC1 first falls to the level, less the baseline's}, number of seeds of which one never does).

    Negative: earlier than the baseline. NC1 is that of training examples at each checkpoint; between checkpoints log
    NC1 is interpolated linearly in the step.

    Args:
        results: records of a run, of `of_checkpoints`.
        of, baseline: the hyper-parameters of two arms.
        level: of NC1.
    """
    reached = []
    for arm in (of, baseline):
        courses: dict[Any, dict[int, dict[str, float]]] = {}
        for record in records.select(results, study="representation", quantity="nc1", split="train", kind=records.VALUE,
                                     hyper=arm):
            if "step" in record.extra:
                for seed, value in record.by_seed.items():
                    courses.setdefault(seed, {})[record.extra["step"]] = {"nc1": value}
        reached.append({seed: _at(course, level)["steps"]
                        if min(each["nc1"] for each in course.values()) <= level else None
                        for seed, course in courses.items()})
    both = [seed for seed in reached[0] if seed in reached[1]]
    found = {seed: reached[0][seed] - reached[1][seed] for seed in both
             if reached[0][seed] is not None and reached[1][seed] is not None}
    return found, len(both) - len(found)


def _at(curve, level):
    """The measures and the step at which NC1 first falls to the level."""
    steps = sorted(curve)
    after = next(step for step in steps if curve[step]["nc1"] <= level)
    if after == steps[0]:
        return {"steps": float(after), **curve[after]}
    before = steps[steps.index(after) - 1]
    high, low = (np.log(max(curve[step]["nc1"], np.finfo(float).tiny)) for step in (before, after))
    share = float(np.clip((high - np.log(max(level, np.finfo(float).tiny))) / (high - low), 0, 1))
    between = {
        name: (1 - share) * curve[before][name] + share * curve[after][name] for name in curve[after]
        if name in curve[before]
    }
    return {"steps": (1 - share) * before + share * after, **between}
