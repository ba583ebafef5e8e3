"""The calibration study of a run: its members' predictions measured, summarised over seeds and compared across smoothings.

A member is measured at temperature 1 and at temperatures fitted to it. `fitted_on` says on what: "validation" (reported on
test), "other half" (of the split itself, each half under the other's temperature), or "same split", as the paper seems to.
"""
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from ls_jax import checked
from ls_jax.studies import selective
from ls_jax.studies.calibration import binning, bootstrap, scores, temperature
from ls_jax.studies.common import records as results
from ls_jax.studies.common import streaming
from ls_jax.workdir import predictions

BINS = 15
SPLITS = ("validation", "test")


class Fitted(NamedTuple):
    """One member's temperature and what it does; of "other half" the geometric mean of the two."""
    fitted_on: str
    criterion: str
    temperature: float
    status: str
    ece: float
    nll: float
    confidence: Float[np.ndarray, " examples"]


class Measured(NamedTuple):
    """One member on one split."""
    row: Mapping[str, Any]  # its hyper-parameters
    split: str
    values: dict[str, float]
    fits: list[Fitted]      # the first is the honest one, and by NLL
    confidence: Float[np.ndarray, " examples"]
    correct: Bool[np.ndarray, " examples"]


def of_workdir(workdir: str | pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[Measured]:
    """Measure the held-out predictions that a workdir holds of its members; a block of logits is in memory at a time."""
    for member, row in enumerate(rows):
        held = {split: predictions.mapped(workdir, split, member) for split in SPLITS
                if predictions.file(workdir, split, member).exists()}
        yield from measure(row, {split: (arrays["logits"], arrays["labels"]) for split, arrays in held.items()})


def measure(row: Mapping[str, Any], splits: Mapping[str, tuple[Any, Any]]) -> Iterator[Measured]:
    """Measure one member on its held-out splits, {name: (logits [examples, classes], labels [examples])}."""
    splits = {split: checked.member(*arrays) for split, arrays in splits.items()}
    for split, (logits, labels) in splits.items():
        of = streaming.top_label(logits, labels)
        classes = binning.class_sums(logits, labels, BINS)
        cells, mass = (binning.cells(of.confidence, of.correct, binning.edges_of(of.confidence, BINS, scheme))
                       for scheme in ("equal_width", "equal_mass"))
        selecting = splits["validation"] if split == "test" and "validation" in splits else (logits, labels)
        values = {
            "ece": binning.of_cells(cells), "debiased ece": binning.of_cells(cells, debiased=True),
            "rms calibration error": binning.of_cells(cells, "l2"), "maximum calibration error": binning.of_cells(cells, "max"),
            "equal-mass ece": binning.of_cells(mass), "classwise ece": binning.classwise_error(classes),
            "smooth ece": scores.smooth_error(of.confidence, of.correct),
            "overconfidence": np.mean(of.confidence) - np.mean(of.correct),
            "nll": np.mean(of.nll), "brier": classes.square / len(labels),
            "aurc": selective.risk_coverage_area(of.confidence, of.correct),
            "aurc of normalised logits": selective.risk_coverage_area(
                selective.normalised_logits(logits, (selective.best_norm(*selecting),))[:, 0], of.correct),
        }
        yield Measured(row, split, {name: float(value) for name, value in values.items()},
                       list(_fits(split, splits)), of.confidence, of.correct)


def run(measured: Sequence[Measured], level: float = 0.95, draws: int = 1000, seed: int = 0) -> list[results.Record]:
    """Records of everything measured, with intervals over seeds (`interval`) and over examples (`examples_interval`).

    Beside the measures: "temperature", "scaled ece", "scaled nll"; "ece against temperature scaling difference", a smoothed
    network's error less that of the hard one of equal seed at its temperature; "best alpha"; the sums over bins of "reliability"
    diagrams; and in "overconfidence" the regime.
    """
    records = []
    for split in dict.fromkeys(each.split for each in measured):
        here = [each for each in measured if each.split == split]
        base = {"bins": BINS, "examples": len(here[0].correct)}
        summarize = lambda quantity, values, **extra: [{**record, **base, **extra} for record in results.summarize(
            "calibration", quantity, split, [each.row for each in here], values)]
        for quantity in here[0].values:
            records += summarize(quantity, [each.values[quantity] for each in here])
        for place, fit in enumerate(here[0].fits):
            fits = [each.fits[place] for each in here]
            extra = {"fitted_on": fit.fitted_on, "criterion": fit.criterion}
            found = summarize("temperature", [each.temperature for each in fits], **extra)
            statuses = {(_key(each.row), each.row["seed"]): fit.status for each, fit in zip(here, fits)}
            records += [{**record, "status": [statuses[_key(record, here), of] for of in record["seeds"]]}
                        for record in found if "baseline_alpha" not in record]
            records += summarize("scaled ece", [each.ece for each in fits], **extra)
            records += summarize("scaled nll", [each.nll for each in fits], **extra)
            records += [{**record, **base, **extra} for record in _against_scaling(here, place)]
        for group in _groups(here):
            records += _compare(records, group, level, draws, seed)
        records += _diagrams(here)
    return records


def _fits(split, splits):
    """The honest fit by NLL first; then the paper's choices, on the same split by NLL and by ECE on its grid."""
    logits, labels = splits[split]
    if split == "test" and "validation" in splits:
        found = temperature.minimise_nll(*splits["validation"])
        yield _fitted("validation", "nll", logits, labels, [(slice(None), *found)])
    elif len(labels) > 1:
        halves = slice(0, None, 2), slice(1, None, 2)
        found = [temperature.minimise_nll(streaming.Rows(logits, half), labels[half]) for half in halves]
        yield _fitted("other half", "nll", logits, labels, [(halves[1 - k], *found[k]) for k in (0, 1)])
    yield _fitted("same split", "nll", logits, labels, [(slice(None), *temperature.minimise_nll(logits, labels))])
    yield _fitted("same split", "ece", logits, labels, [(slice(None), *temperature.minimise_ece(logits, labels, BINS))])


def _fitted(fitted_on, criterion, logits, labels, parts):
    """`parts` are (examples, the temperature to use on them, its status)."""
    confidence, correct, nll = np.zeros(len(labels)), np.zeros(len(labels), bool), np.zeros(len(labels))
    for rows, each, _ in parts:
        confidence[rows], correct[rows], nll[rows] = streaming.top_label(streaming.Rows(logits, rows), labels[rows], each)
    cells = binning.cells(confidence, correct, binning.equal_width(BINS))
    mean = float(np.exp(np.mean([np.log(each) for _, each, _ in parts])))
    status = next((status for _, _, status in parts if status != "converged"), "converged")
    return Fitted(fitted_on, criterion, mean, status, float(binning.of_cells(cells)), float(nll.mean()), confidence)


def _diagrams(here):
    """Reliability diagrams as sums over bins, [seeds, bins]: of every smoothing at T = 1, and of hard networks at their temperature.

    Their values are the calibration errors.
    """
    for group in _groups(here):
        for alpha in sorted({each.row["alpha"] for each in group}):
            members = [each for each in group if each.row["alpha"] == alpha]
            base = {"study": "calibration", "quantity": "reliability", "split": here[0].split, **dict(_key(members[0].row)),
                    "seeds": [each.row["seed"] for each in members], "bins": BINS}
            yield {**base, "temperature": 1.0, **_bin_sums([(each.confidence, each.correct) for each in members])}
            if alpha == 0:
                fits = [each.fits[0] for each in members]
                mean = float(np.exp(np.mean([np.log(fit.temperature) for fit in fits])))
                yield {**base, "temperature": mean, "fitted_on": fits[0].fitted_on,
                       **_bin_sums([(fit.confidence, each.correct) for fit, each in zip(fits, members)])}


def _bin_sums(networks):
    cells = [binning.cells(confidence, correct, binning.equal_width(BINS)) for confidence, correct in networks]
    return {**results.moments([binning.of_cells(each) for each in cells]), "count": [each.count.sum(axis=1).tolist() for each in cells],
            "confidence": [each.confidence.sum(axis=1).tolist() for each in cells],
            "correct": [each.count[:, 1].tolist() for each in cells]}


def _key(row, here=None):
    """Hyper-parameters other than the seed, as a key."""
    names = [name for name in (here[0].row if here else row) if name != "seed"]
    return tuple((name, row[name]) for name in names)


def _groups(here):
    """Members that differ by smoothing and seed alone."""
    groups = {}
    for each in here:
        groups.setdefault(tuple(item for item in _key(each.row) if item[0] != "alpha"), []).append(each)
    return groups.values()


def _against_scaling(here, place):
    """The calibration error of smoothed networks less that of the hard one of equal seed under its temperature."""
    for group in _groups(here):
        hard = {each.row["seed"]: each.fits[place].ece for each in group if each.row["alpha"] == 0}
        for alpha in sorted({each.row["alpha"] for each in group} - {0}):
            pairs = [(each, hard[each.row["seed"]]) for each in group if each.row["alpha"] == alpha and each.row["seed"] in hard]
            if pairs:
                values = [each.values["ece"] - scaled for each, scaled in pairs]
                yield {"study": "calibration", "quantity": "ece against temperature scaling difference", "split": here[0].split,
                       **dict(_key(pairs[0][0].row)), "baseline_alpha": 0.0, **results.moments(values),
                       "interval": results.t_interval(values), "seeds": [each.row["seed"] for each, _ in pairs]}


def _compare(records, group, level, draws, seed):
    """Adds intervals over examples to the group's records of "debiased ece" and "overconfidence"; returns that of "best alpha"."""
    of = bootstrap.joint(np.stack([each.confidence for each in group]), np.stack([each.correct for each in group]), BINS,
                         level=level, draws=draws, seed=seed)
    z = special.ndtri((1 + level) / 2)
    for record in records:
        if record["quantity"] not in ("debiased ece", "debiased ece difference", "overconfidence") or record["split"] != group[0].split:
            continue
        share = lambda alpha: np.array([_key(record, group) == _key({**each.row, "alpha": record["alpha"]}) and each.row["alpha"] == alpha
                                        and each.row["seed"] in record["seeds"] for each in group]) / record["n"]
        mean = share(record["alpha"])
        if not mean.any():
            continue  # of another group
        if record["quantity"] == "overconfidence":
            residual = mean @ np.stack([each.confidence - each.correct for each in group])
            half = z * np.std(residual, ddof=min(1, len(residual) - 1)) / np.sqrt(len(residual))
            record["examples_interval"] = [float(record["mean"] - half), float(record["mean"] + half)]
            record["regime"] = ("over-confident" if record["mean"] > half else "under-confident" if record["mean"] < -half
                                else "neither over- nor under-confident")
        else:
            found = bootstrap.contrast(of, mean - share(record["baseline_alpha"]) if "baseline_alpha" in record else mean)
            record["examples_interval"] = [found.low, found.high]
    return [_best(of, group, level, seed)] if len({each.row["alpha"] for each in group}) > 1 else []


def _best(of, group, level, seed):
    """Which smoothing has the smallest debiased error, over draws of the examples and of the seeds."""
    rng = np.random.default_rng(seed)
    values = np.array([each.value for each in of.estimates])[:, None] - of.errors
    alphas = np.array([each.row["alpha"] for each in group])
    smoothings = np.unique(alphas)
    means, drawn = [], []
    for alpha in smoothings:
        members = np.flatnonzero(alphas == alpha)
        means.append(np.mean([of.estimates[member].value for member in members]))
        picks = rng.choice(members, (len(members), values.shape[1]))
        drawn.append(values[picks, np.arange(values.shape[1])].mean(axis=0))
    best = smoothings[np.argmin(drawn, axis=0)]
    hyper = {name: value for name, value in _key(group[0].row) if name != "alpha"}
    return {"study": "calibration", "quantity": "best alpha", "split": group[0].split, **hyper,
            "alpha": float(smoothings[np.argmin(means)]), **results.moments([smoothings[np.argmin(means)]]),
            "interval": [float(end) for end in np.quantile(best, [(1 - level) / 2, (1 + level) / 2], method="nearest")],
            "share": {f"{alpha:g}": float(np.mean(best == alpha)) for alpha in smoothings}, "bins": BINS}
