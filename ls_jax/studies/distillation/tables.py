"""Distillation's tables: errors of teachers and students, beside the paper's where the run is its MNIST experiment, and the measures.

A table is [caption, header row, rows...], all text, as `accuracy.tables.cells` gives.
"""
from collections.abc import Mapping, Sequence
from typing import Any

from ls_jax.paper import ERRORS
from ls_jax.studies.common import records as results
from ls_jax.studies.common import tables
from ls_jax.studies.common.statistics import moments
from ls_jax.studies.distillation import records as of


def errors(records: Sequence[results.Record], split: str, mnist: bool) -> list[Any]:
    """Errors of every teacher and of the students that match logits, or of those at every α and T; with the paper's on MNIST."""
    paper = lambda role, alpha: ERRORS["mnist", "mlp"].get((role, alpha), ("", "")) if mnist else ()
    rows = []
    for record in results.select(records, study="distillation", quantity="teacher accuracy", split=split):
        alpha = record.hyper["teacher_alpha"]
        rows.append((f"teacher {record.hyper['teacher']}, α = {alpha:g}", *_error(record.values), *paper("teacher", alpha)))
    for where, of_family in of.families(records):
        here, suffix = of.students(of_family, split), _suffix(where)
        for alpha, values in of.baseline(here).items():
            rows.append((f"student without a teacher, α = {alpha:g}{suffix}", *_error(values.values()), *paper("alone", alpha)))
        for control in (False, True):
            for (alpha, temperature), values in of.distilled(here, control).items():
                name = "student" + (" of the control" if control else "") + f" of the teacher with α = {alpha:g}"
                rows.append((name + (f", T = {temperature:g}" if temperature else "") + suffix, *_error(values.values()),
                             *paper("student", alpha)))
    header = ("network", "error %", "n", *(("paper, %", "replication, %") if mnist else ()))
    return [f"errors on the {split} split, mean ± standard deviation over n seeds", header, *rows]


def measures(records: Sequence[results.Record]) -> list[Any]:
    """What the teachers' outputs are like at each α and T, and how far students diffuse."""
    here = results.select(records, study="distillation")
    rows = []
    for record in results.select(here, quantity="equivalent smoothing"):
        fields = {name: record.hyper[name] for name in ("teacher", "teacher_alpha", "temperature")}
        stability, moved = (results.select(here, quantity=quantity, **fields) for quantity in ("stability", "diffusion"))
        others = [name for name in results.varying([each.hyper for each in moved], ()) if name not in fields]
        rows += [(record.hyper["teacher"], f"{record.hyper['teacher_alpha']:g}", f"{record.hyper['temperature']:g}",
                  tables.mean_std(record), *([tables.mean_std(each) for each in stability] or [""]),
                  tables.mean_std(each) + _suffix({name: each.hyper[name] for name in others}) if each else "") for each in moved or [None]]
    examples = {record.extra["examples"] for record in results.select(here, quantity="equivalent smoothing")}
    return [f"γ and stability over {', '.join(f'{n:,}' for n in sorted(examples))} training examples; diffusion of students' classes "
            "towards similar ones, from T = 1; mean ± standard deviation over seeds",
            ("teacher", "α", "T", "equivalent smoothing γ", "stability (Shen et al.)", "diffusion"), *rows]


def family(settings: Mapping[str, Any]) -> str:
    """What tells a family of students from others: "β = 0.5, student's α = 0.1"; "" of the only one."""
    named = {"student's α" if name == "alpha" else name: value for name, value in settings.items()}
    return tables.label(named, list(named), " = ") if named else ""


def _suffix(settings):
    return f", {family(settings)}" if settings else ""


def _error(accuracies):
    error = results.Record("distillation", "error", "", **moments([100 * (1 - value) for value in accuracies]))
    return tables.mean_std(error, ".2f"), str(error.n)
