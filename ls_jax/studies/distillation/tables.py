"""Distillation's tables: errors of teachers and students, on MNIST with the paper's errors, and teachers' measures.

A table is [caption, header row, rows...], all text.
"""
from collections.abc import Mapping, Sequence
from typing import Any

from ls_jax.paper import ERRORS
from ls_jax.studies.common import records, tables
from ls_jax.studies.common.statistics import moments
from ls_jax.studies.distillation import conditions


def errors(results: Sequence[records.Record], split: str, mnist: bool) -> list[Any]:
    """Errors of every teacher and of all students; `mnist` adds columns with the paper's errors."""
    rows, agreed = [], bool(records.select(results, study="distillation", quantity=conditions.AGREEMENT))

    def agreement(of_family: Sequence[records.Record], *place: Any) -> tuple[str, ...]:
        share = conditions.agreements(of_family).get(place) if agreed else None
        told = "" if share is None else f"{100 * share:.1f}" + (", not trained"
                                                                if place in conditions.untrained(of_family) else "")
        return (told,) if agreed else ()

    def paper(role: str, alpha: float) -> tuple[str, ...]:
        return ERRORS["mnist", "mlp"].get((role, alpha), ("", "")) if mnist else ()

    for record in records.select(results, study="distillation", quantity="teacher accuracy", split=split):
        alpha = record.hyper["teacher_alpha"]
        rows.append(
            (f"teacher {record.hyper['teacher']}, α = {alpha:g}", *_error(record.values), *agreement([]),
             *paper("teacher", alpha)))
    for where, of_family in conditions.families(results):
        here, suffix = conditions.students(of_family, split), _suffix(where)
        for alpha, values in conditions.baseline(here).items():
            rows.append(
                (f"student without a teacher, α = {alpha:g}{suffix}", *_error(values.values()), *agreement([]),
                 *paper("alone", alpha)))
        for control in (False, True):
            for (alpha, temperature), values in conditions.distilled(here, control).items():
                name = "student" + (" of the control" if control else "") + f" of the teacher with α = {alpha:g}"
                rows.append((name + (f", T = {temperature:g}" if temperature else "") + suffix,
                             *_error(values.values()), *agreement(of_family, alpha, temperature, control),
                             *paper("student", alpha)))
    header = ("network", "error %", "n", *(("agrees with its teacher in training, %",) if agreed else ()),
              *(("paper, %", "replication, %") if mnist else ()))
    return [f"errors on the {split} split, mean ± standard deviation over n seeds", header, *rows]


def measures(results: Sequence[records.Record]) -> list[Any]:
    """γ and stability of the teachers' outputs at each α and T, and the diffusion of their students."""
    here = records.select(results, study="distillation")
    rows = []
    for record in records.select(here, quantity="equivalent smoothing"):
        fields = {name: record.hyper[name] for name in ("teacher", "teacher_alpha", "temperature")}
        stability, moved = (records.select(here, quantity=quantity, **fields)
                            for quantity in ("stability", "diffusion"))
        others = [name for name in records.varying([each.hyper for each in moved], ()) if name not in fields]
        rows += [(record.hyper["teacher"], f"{record.hyper['teacher_alpha']:g}", f"{record.hyper['temperature']:g}",
                  tables.mean_std(record), *([tables.mean_std(each) for each in stability] or [""]),
                  tables.mean_std(each) + _suffix({name: each.hyper[name] for name in others}) if each else "")
                 for each in moved or [None]]
    examples = {record.extra["examples"] for record in records.select(here, quantity="equivalent smoothing")}
    return [
        f"γ and stability over {', '.join(f'{n:,}' for n in sorted(examples))} training examples; diffusion of the "
        "students' classes towards similar ones, relative to T = 1; mean ± standard deviation over seeds",
        ("teacher", "α", "T", "equivalent smoothing γ", "stability (Shen et al.)", "diffusion"), *rows
    ]


def family(settings: Mapping[str, Any]) -> str:
    """The label of a family of students, "β = 0.5, student's α = 0.1"; "" if there is only one."""
    named = {"student's α" if name == "alpha" else name: value for name, value in settings.items()}
    return tables.label(named, list(named), " = ") if named else ""


def _suffix(settings):
    return f", {family(settings)}" if settings else ""


def _error(accuracies):
    error = records.Record("distillation", "error", "", **moments([100 * (1 - value) for value in accuracies]))
    return tables.mean_std(error, ".2f"), str(error.n)
