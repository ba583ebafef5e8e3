"""Accuracy and hard-label negative log-likelihood, hard against smoothed (the paper's Table 2)."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Real
from scipy.special import logsumexp

from ls_jax import checked
from ls_jax.errors import InvalidArray
from ls_jax.studies.common import records as results
from ls_jax.studies.projection import blocks


def accuracy(logits: Real[np.ndarray, "*batch examples classes"],
             labels: Integer[np.ndarray, " examples"]) -> Float[np.ndarray, "*batch"] | float:
    """The share of examples whose largest logit is the label's; the first of equal logits counts.

    Raises:
        InvalidArray: logits hold NaN or +inf, or an example whose classes are all -inf; a label is none of the classes.
    """
    logits = checked.reals(logits)
    top = np.argmax(logits, axis=-1)  # also finds NaN
    _check_bounded(np.take_along_axis(logits, top[..., None], axis=-1))
    return np.mean(top == checked.class_ids(labels, logits.shape[-1]), axis=-1)


def negative_log_likelihood(logits: Real[np.ndarray, "*batch examples classes"],
                            labels: Integer[np.ndarray, " examples"]) -> Float[np.ndarray, "*batch"] | float:
    """Mean negative log-likelihood of the hard labels, in nats, summed in float64; inf where a label's logit is -inf.

    Raises:
        InvalidArray: as `accuracy`.
    """
    logits = checked.doubles(logits, "logits")
    labels = checked.class_ids(labels, logits.shape[-1])
    true = np.take_along_axis(logits, np.broadcast_to(labels, logits.shape[:-1])[..., None], axis=-1)[..., 0]
    with np.errstate(invalid="ignore"):
        total = logsumexp(logits, axis=-1)
    _check_bounded(total)
    return np.mean(total - true, axis=-1)


def _check_bounded(values):
    if not np.isfinite(values).all():
        raise InvalidArray("logits hold NaN or +inf, or an example whose classes are all -inf: mask such examples out")


# The hyper-parameters that tell a table's rows apart, where they vary; some are of a distillation's students alone.
SHOWN = {"student": "", "alpha": "α=", "teacher_alpha": "teacher's α=", "temperature": "T=", "beta": "β=", "control": "control=",
         "learning_rate": "learning_rate=", "weight_decay": "weight_decay="}
MEASURES = {"accuracy": accuracy, "nll": negative_log_likelihood}


def measure_all(logits: Any, labels: Integer[np.ndarray, " examples"]) -> dict[str, Any]:
    """Every measure of one member on one split, and the number of examples; logits [N, K] may be more than fits into memory."""
    logits, labels = checked.member(logits, labels)
    totals = dict.fromkeys(MEASURES, 0.0)
    for rows in blocks(*logits.shape):
        for name, f in MEASURES.items():
            totals[name] += float(f(logits[rows], labels[rows])) * len(labels[rows])
    return {**{name: total / len(labels) for name, total in totals.items()}, "examples": len(labels)}


def run(measured: Sequence[tuple[str, Mapping[str, Any], Mapping[str, float]]]) -> list[results.Record]:
    """Records from (split, a member's hyper-parameters, {measure: value, "examples": count}), grouped over seeds."""
    records = []
    for split in dict.fromkeys(split for split, _, _ in measured):
        here = [(row, values) for of, row, values in measured if of == split]
        for quantity in MEASURES:
            found = results.summarize("accuracy", quantity, split, [row for row, _ in here],
                                      [values[quantity] for _, values in here])
            records += [{**record, "examples": here[0][1]["examples"]} for record in found]
    return records


def table(records: Sequence[results.Record], split: str) -> str:
    """The accuracy table of one split as aligned text."""
    caption, *rows = cells(records, split)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([caption, *lines])


def cells(records: Sequence[results.Record], split: str) -> list[Any]:
    """The accuracy table of one split: a caption, a header row and a row per smoothing, all text."""
    here = [record for record in records if record["study"] == "accuracy" and record["split"] == split]
    varying = [name for name in SHOWN
               if name == "alpha" or len({record.get(name) for record in here}) > 1]
    value = lambda record, name: record[name] if isinstance(record[name], str) else f"{record[name]:g}"
    label = lambda record: ", ".join(f"{SHOWN[name]}{value(record, name)}" for name in varying
                                      if record[name] is not None and record[name] is not False)
    named = lambda quantity: {label(record): record for record in results.select(here, quantity=quantity)}
    likelihood, difference = named("nll"), named("accuracy difference")
    rows = [("smoothing", "accuracy %", "hard-label NLL", "paired difference in %-points [95 % interval]", "n")]
    against = lambda name, record: (_difference(difference[name]) if name in difference
                                    else "" if record.get("teacher") else "baseline")
    for name, record in named("accuracy").items():
        rows.append((name, _plus_minus(record, 100, 2), _plus_minus(likelihood[name], 1, 4),
                     against(name, record), str(record["n"])))
    examples = results.select(here, quantity="accuracy")[0]["examples"]
    return [f"{split} split, {examples:,} examples; mean ± standard deviation over n seeds", *rows]


def _plus_minus(record, scale, digits):
    spread = "" if record["std"] is None else f" ± {scale * record['std']:.{digits}f}"
    return f"{scale * record['mean']:.{digits}f}{spread}"


def _difference(record):
    interval = record["interval"]
    return f"{100 * record['mean']:+.2f}" + (f" [{100 * interval[0]:+.2f}, {100 * interval[1]:+.2f}]" if interval else "")
