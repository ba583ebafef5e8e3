"""Distillation's tables: errors of teachers and students, beside the paper's where the run is its MNIST experiment, and the measures.

A table is [caption, header row, rows...], all text, as `accuracy.tables.cells` gives.
"""
from collections.abc import Sequence
from typing import Any

import numpy as np

from ls_jax.paper import ERRORS
from ls_jax.studies.common import records as results
from ls_jax.studies.distillation import records as of


def errors(records: Sequence[results.Record], split: str, mnist: bool) -> list[Any]:
    """Errors of every teacher and of the students that match logits, or of those at every α and T; with the paper's on MNIST."""
    here = of.students(records, split)
    paper = lambda role, alpha: ERRORS["mnist", "mlp"].get((role, alpha), ("", "")) if mnist else ()
    rows = []
    for record in results.select(records, study="distillation", quantity="teacher accuracy", split=split):
        alpha = record["teacher_alpha"]
        rows.append((f"teacher {record['teacher']}, α = {alpha:g}", *_error(record["values"]), *paper("teacher", alpha)))
    for alpha, values in of.baseline(here).items():
        rows.append((f"student without a teacher, α = {alpha:g}", *_error(values.values()), *paper("alone", alpha)))
    for control in (False, True):
        for (alpha, temperature), values in of.distilled(here, control).items():
            name = "student" + (" of the control" if control else "") + f" of the teacher with α = {alpha:g}"
            rows.append((name + (f", T = {temperature:g}" if temperature else ""), *_error(values.values()), *paper("student", alpha)))
    header = ("network", "error %", "n", *(("paper, %", "replication, %") if mnist else ()))
    return [f"errors on the {split} split, mean ± standard deviation over n seeds", header, *rows]


def measures(records: Sequence[results.Record]) -> list[Any]:
    """What the teachers' outputs are like at each α and T, and how far students diffuse."""
    here = results.select(records, study="distillation")
    named = lambda quantity, **fields: next(iter(results.select(here, quantity=quantity, **fields)), None)
    cell = lambda record: "" if record is None else f"{record['mean']:.4f}" + ("" if record["std"] is None else f" ± {record['std']:.4f}")
    rows = []
    for record in results.select(here, quantity="equivalent smoothing"):
        fields = {name: record[name] for name in ("teacher", "teacher_alpha", "temperature")}
        rows.append((record["teacher"], f"{record['teacher_alpha']:g}", f"{record['temperature']:g}", cell(record),
                     cell(named("stability", **fields)), cell(named("diffusion", **fields))))
    examples = {record["examples"] for record in results.select(here, quantity="equivalent smoothing")}
    return [f"γ and stability over {', '.join(f'{n:,}' for n in sorted(examples))} training examples; diffusion of students' classes "
            "towards similar ones, from T = 1; mean ± standard deviation over seeds",
            ("teacher", "α", "T", "equivalent smoothing γ", "stability (Shen et al.)", "diffusion"), *rows]


def _error(values):
    values = 100 * (1 - np.fromiter(values, float))
    return f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""), str(len(values))
