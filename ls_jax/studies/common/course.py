"""Whether a training had come to its end, from the rows of metrics.jsonl."""
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ls_jax.studies.common import records
from ls_jax.studies.common.claims import Finding

STILL_TRAINING = "still training"
FALLING = 0.02  # of its value: a training loss and a held-out NLL that fall by more over the last fifth still fall
Rows = Sequence[Mapping[str, Any]]  # of metrics.jsonl


class End(NamedTuple):
    """A number at the end of training, and its change over the last fifth of the steps."""
    value: float
    change: float

    @property
    def fall(self) -> float:
        """How much of what it was at the start of the fifth it has lost; negative where it rose."""
        before = abs(self.value - self.change)
        return -self.change / before if before else 0.0


def last_fifth(steps: Int[np.ndarray, " rows"] | Sequence[int],
               values: Float[np.ndarray, " rows"] | Sequence[float]) -> End | None:
    """The end of a course, by the least-squares line through its last fifth.

    Single rows are noisy: each is a mean over few steps. The line goes through the rows of the last fifth of the steps
    and the last row before them. None with fewer than two rows, or where a value is not finite.

    Args:
        steps: rising; the last is the end of training.
        values: one for each step.
    """
    steps, values = np.asarray(steps, float), np.asarray(values, float)
    if len(steps) < 2:
        return None
    start = max(0, min(np.searchsorted(steps, 0.8 * steps[-1], side="right") - 1, len(steps) - 2))
    if not np.isfinite(values[start:]).all():
        return None
    slope, value = np.polyfit(steps[start:] - steps[-1], values[start:], 1)
    return End(float(value), float(slope * steps[-1] / 5))


def ends(rows: Rows, split: str, name: str) -> dict[int, End]:
    """{member: the end of this number} for the members whose rows have it; `split` is "train" or the held-out one."""
    courses: dict[int, list[tuple[int, float]]] = {}
    for row in rows:
        if (row["split"] == "train") == (split == "train") and name in row:
            value = row[name]
            courses.setdefault(row["member"], []).append((row["step"], np.nan if value is None else value))
    found = {member: last_fifth(*zip(*course)) for member, course in courses.items()}
    return {member: end for member, end in found.items() if end is not None}


def still_training(rows: Rows, members: Sequence[records.Row],
                   left_out: frozenset[int] = frozenset()) -> list[records.Record]:
    """Records of "still training", 1 for a network whose training loss and held-out NLL both still fall, else 0.

    Their fields are `loss_falls` and `nll_falls`, by how much of itself each fell over the last fifth, one for each
    seed. Students of a teacher have none: their loss depends on the temperature, and they are judged by their agreement
    with the teacher.

    Args:
        rows: of metrics.jsonl.
        members: each member's hyper-parameters, seed, arm and baseline.
        left_out: members without a record.
    """
    losses, likelihoods = ends(rows, "train", "loss"), ends(rows, "held-out", "nll")
    chosen = [member for member, row in enumerate(members)
              if member not in left_out and row.get("teacher") is None and member in losses and member in likelihoods]
    if not chosen:
        return []
    falls = {member: (losses[member].fall, likelihoods[member].fall) for member in chosen}
    of = [members[member] for member in chosen]
    by_arm = {(records.key(records.hyper(row)), row["seed"]): falls[member] for member, row in zip(chosen, of)}
    made = records.summarize("training", STILL_TRAINING, "train", of,
                             [float(min(falls[member]) > FALLING) for member in chosen])
    return [record.having(**{name: [by_arm[records.key(record.hyper), seed][place] for seed in record.seeds]
                             for place, name in enumerate(("loss_falls", "nll_falls"))})
            for record in made if record.kind == records.VALUE]


def facts(finding: Finding, results: Sequence[records.Record]) -> list[str]:
    """What stands beside a verdict: which of the networks that it compares were still training."""
    found = []
    for record in records.select(results, study="training", quantity=STILL_TRAINING, kind=records.VALUE):
        if record.mean > 0 and record.hyper in (finding.hyper, finding.baseline):
            alpha = f"α = {record.hyper['alpha']:g}" if "alpha" in record.hyper else record.arm
            loss, nll = (np.mean(record.extra[name]) for name in ("loss_falls", "nll_falls"))
            found.append(f"still training: {alpha} (over the last fifth of the steps its training loss fell by "
                         f"{100 * loss:.0f} %, its held-out NLL by {100 * nll:.0f} %)")
    return found
