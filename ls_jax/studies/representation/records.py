"""The representation study of a run: its members' predictions, at the end and at checkpoints, and networks at equal collapse."""
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ls_jax.studies import representation
from ls_jax.studies.common import records as results
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.common.triples import Triple
from ls_jax.workdir import predictions

CKA = "cka with hard"
MATCHED = "at matched nc1"
Course = Mapping[int, Mapping[int, Mapping[str, float]]]  # {step: {member: {quantity: value}}}


def collect(studied: Studied) -> list[results.Record]:
    """Records of a run; none of students, which are studied as such."""
    return [] if studied.run.config.distill else run(studied.outputs, studied.rows)


def analyze(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[results.Record]:
    """Records of one network's arrays, of what they allow to measure."""
    return [results.of_one("representation", quantity, value) for quantity, value in representation.measure_all(arrays).items()]


def run(workdir: str | pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> list[results.Record]:
    """Records of every measure on every split from the predictions on disk, and of each smoothed network's alignment (CKA) with the
    hard one of equal seed and other hyper-parameters."""
    measured: dict[str, dict[int, dict[str, float]]] = {}
    for split, member, arrays in predictions.every(workdir, len(rows)):
        measured.setdefault(split, {})[member] = representation.measure_all(arrays)
    for split, of_members in measured.items():
        for member, hard in results.pairs(rows):
            if {member, hard} <= of_members.keys():
                own, other = (predictions.mapped(workdir, split, each).get("features") for each in (member, hard))
                if own is not None and other is not None:
                    of_members[member][CKA] = representation.linear_cka(own, other)
    return [record for split, of_members in measured.items() for record in summarize(of_members, rows, split)]


def summarize(measured: Mapping[int, Mapping[str, float]], rows: Sequence[Mapping[str, Any]], split: str) -> list[results.Record]:
    """Records of {member: {quantity: value}}."""
    records = []
    for quantity in dict.fromkeys(name for values in measured.values() for name in values):
        members = [member for member, values in measured.items() if quantity in values]
        records += results.summarize("representation", quantity, split, [rows[member] for member in members],
                                     [measured[member][quantity] for member in members])
    return [record for record in records if record.quantity != CKA or record.kind == results.VALUE]


def of_course(course: Course, rows: Sequence[Mapping[str, Any]], split: str = "train") -> list[results.Record]:
    """Records with the field `step` of the measures at checkpoints, then those of smoothed and hard networks at equal collapse."""
    found = [record.having(step=step) for step, measured in course.items() for record in summarize(measured, rows, split)]
    return found + matched(course, rows, split)


def matched(course: Course, rows: Sequence[Mapping[str, Any]], split: str = "train") -> list[results.Record]:
    """Differences, smoothed less hard of equal seed, where both networks' NC1 first reaches the deepest level that both reach.

    Guo et al. 2024 compare losses so, as one that collapses sooner is otherwise compared with one that has not yet collapsed.
    Between checkpoints log NC1 and the quantities are taken for linear in the step. Quantities: "QUANTITY at matched nc1", and "steps at
    matched nc1": by how many steps the smoothed network is later (negative: sooner).
    """
    rows = results.arms(rows)
    groups: dict[frozenset, tuple[results.Row, dict[int, dict[str, float]]]] = {}
    for member, hard in results.pairs(rows):
        curves = [{step: measured[each] for step, measured in course.items() if "nc1" in measured.get(each, {})} for each in (member, hard)]
        if min(map(len, curves)) < 2:
            continue
        level = max(min(values["nc1"] for values in curve.values()) for curve in curves)
        own, other = (_at(curve, level) for curve in curves)
        _, by_seed = groups.setdefault(results.key(results.hyper(rows[member])), (rows[member], {}))
        by_seed[rows[member]["seed"]] = {
            "nc1 level": level, **{name: own[name] - other[name] for name in own if name in other and name != "nc1"}}
    records = []
    for row, by_seed in groups.values():
        levels = [values["nc1 level"] for values in by_seed.values()]
        for quantity in [name for name in next(iter(by_seed.values())) if name != "nc1 level"]:
            differences = {seed: of[quantity] for seed, of in by_seed.items() if quantity in of}
            if len(differences) == len(by_seed):
                records += results.difference("representation", f"{quantity} {MATCHED}", split, results.hyper(row), row["baseline"],
                                              differences, row["arm"], nc1_levels=levels)
    return records


def _at(curve, level):
    """The measures, and the step, where NC1 first comes down to the level."""
    steps = sorted(curve)
    after = next(step for step in steps if curve[step]["nc1"] <= level)
    if after == steps[0]:
        return {"steps": float(after), **curve[after]}
    before = steps[steps.index(after) - 1]
    high, low = (np.log(max(curve[step]["nc1"], np.finfo(float).tiny)) for step in (before, after))
    share = float(np.clip((high - np.log(max(level, np.finfo(float).tiny))) / (high - low), 0, 1))
    between = {name: (1 - share) * curve[before][name] + share * curve[after][name] for name in curve[after] if name in curve[before]}
    return {"steps": (1 - share) * before + share * after, **between}
