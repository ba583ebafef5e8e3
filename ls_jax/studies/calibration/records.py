"""The calibration study of a run: its members' predictions measured, summarised over seeds and compared with their baseline.

A member is measured at temperature 1 and at temperatures fitted to it. `fitted_on` says on what: "validation" (reported on
test), "other half" (of the split itself, each half under the other's temperature), or "same split", as the paper seems to.
"""
import dataclasses
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
from ls_jax.studies.common.statistics import moments, paired
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.common.triples import Triple
from ls_jax.workdir import predictions

BINS = 15
SPLITS = ("validation", "test")
INTERVALS_OVER_EXAMPLES = {("debiased ece", results.VALUE), ("debiased ece", results.DIFFERENCE), ("overconfidence", results.VALUE)}


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


def collect(studied: Studied) -> list[results.Record]:
    """Records of a run; none of students, which are studied as such."""
    return [] if studied.run.config.distill else run(list(of_workdir(studied.outputs, studied.rows)))


def analyze(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[results.Record]:
    """Records of one network's logits and labels."""
    measured = measure({"alpha": 0.0, "seed": 0}, {"test": (arrays["logits"], arrays["labels"])})
    return [dataclasses.replace(record, hyper={}, arm="", seeds=[]) for record in run(list(measured))]  # it is unknown how it was trained


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

    Beside the measures: "temperature", "scaled ece", "scaled nll"; "ece against temperature scaling", a difference, of the error less that
    of the baseline of equal seed at the baseline's temperature; "best alpha"; the sums over bins of "reliability" diagrams; and in
    "overconfidence" the regime.
    """
    measured = [each._replace(row=row) for each, row in zip(measured, results.arms([each.row for each in measured]))]
    records = []
    for split in dict.fromkeys(each.split for each in measured):
        here = [each for each in measured if each.split == split]
        base = {"bins": BINS, "examples": len(here[0].correct)}
        summarize = lambda quantity, values, **extra: results.summarize(
            "calibration", quantity, split, [each.row for each in here], values, **base, **extra)
        of_split = []
        for quantity in here[0].values:
            of_split += summarize(quantity, [each.values[quantity] for each in here])
        for place, fit in enumerate(here[0].fits):
            fits = [each.fits[place] for each in here]
            extra = {"fitted_on": fit.fitted_on, "criterion": fit.criterion}
            statuses = {(results.key(results.hyper(each.row)), each.row["seed"]): fit.status for each, fit in zip(here, fits)}
            of_split += [record.having(status=[statuses[results.key(record.hyper), seed] for seed in record.seeds])
                         for record in summarize("temperature", [each.temperature for each in fits], **extra)
                         if record.kind == results.VALUE]
            of_split += summarize("scaled ece", [each.ece for each in fits], **extra)
            of_split += summarize("scaled nll", [each.nll for each in fits], **extra)
            of_split += _against_scaling(here, place, **base, **extra)
        best = []
        for group in _groups(here):
            of = bootstrap.joint(np.stack([each.confidence for each in group]), np.stack([each.correct for each in group]), BINS,
                                 level=level, draws=draws, seed=seed)
            of_split = [_with_examples_interval(record, group, of, level) for record in of_split]
            best += _best(of, group, level, seed)
        records += [*of_split, *best, *_diagrams(here)]
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
    """Reliability diagrams as sums over bins, [seeds, bins]: of every arm at T = 1, and of networks trained with cross-entropy alone at
    their temperature.

    Their values are the calibration errors.
    """
    for members in _arms(here):
        yield _diagram(members, [(each.confidence, each.correct) for each in members], temperature=1.0)
        if results.is_plain(members[0].row):
            fits = [each.fits[0] for each in members]
            mean = float(np.exp(np.mean([np.log(fit.temperature) for fit in fits])))
            yield _diagram(members, [(fit.confidence, each.correct) for fit, each in zip(fits, members)], temperature=mean,
                           fitted_on=fits[0].fitted_on)


def _diagram(members, networks, **extra):
    """The record of one arm; `networks` are its members' (confidence, correct)."""
    cells, row = [binning.cells(confidence, correct, binning.equal_width(BINS)) for confidence, correct in networks], members[0].row
    sums = {"count": [each.count.sum(axis=1).tolist() for each in cells],
            "confidence": [each.confidence.sum(axis=1).tolist() for each in cells],
            "correct": [each.count[:, 1].tolist() for each in cells]}
    return results.Record("calibration", "reliability", members[0].split, **moments([binning.of_cells(each) for each in cells]),
                          hyper=results.hyper(row), arm=row["arm"], seeds=[each.row["seed"] for each in members],
                          extra={"bins": BINS, **extra, **sums})


def _arms(here):
    """The members of each arm."""
    found = {}
    for each in here:
        found.setdefault(results.key(results.hyper(each.row)), []).append(each)
    return list(found.values())


def _groups(here):
    """The members in groups that hold all that is compared: they are equal in what no arm and its baseline, and no two smoothings, differ
    in."""
    compared = {"alpha"} | {name for each in here for name, value in (each.row["baseline"] or {}).items() if each.row[name] != value}
    found = {}
    for each in here:
        found.setdefault(results.key({name: value for name, value in results.hyper(each.row).items() if name not in compared}),
                         []).append(each)
    return list(found.values())


def _against_scaling(here, place, **extra):
    """The calibration error of networks less that of their baseline of equal seed under the baseline's temperature."""
    found = {results.key(results.hyper(members[0].row)): members for members in _arms(here)}
    for arm, members in found.items():
        row = members[0].row
        baseline = None if row["baseline"] is None else results.key(row["baseline"])
        if baseline in found and baseline != arm:
            scaled = {each.row["seed"]: each.fits[place].ece for each in found[baseline]}
            yield from results.difference(
                "calibration", "ece against temperature scaling", here[0].split, results.hyper(row), row["baseline"],
                paired({each.row["seed"]: each.values["ece"] for each in members}, scaled), row["arm"], **extra)


def _with_examples_interval(record, group, of, level):
    """The record with an interval over examples, where it is of "debiased ece" or "overconfidence" of this group's members."""
    if (record.quantity, record.kind) not in INTERVALS_OVER_EXAMPLES:
        return record
    share = lambda hyper: np.array([results.hyper(each.row) == hyper and each.row["seed"] in record.seeds for each in group]) / record.n
    mean = share(record.hyper)
    if not mean.any():
        return record  # of another group
    if record.quantity == "overconfidence":
        residual = mean @ np.stack([each.confidence - each.correct for each in group])
        half = special.ndtri((1 + level) / 2) * np.std(residual, ddof=min(1, len(residual) - 1)) / np.sqrt(len(residual))
        regime = ("over-confident" if record.mean > half else "under-confident" if record.mean < -half
                  else "neither over- nor under-confident")
        return record.having(examples_interval=[float(record.mean - half), float(record.mean + half)], regime=regime)
    found = bootstrap.contrast(of, mean - share(record.baseline) if record.baseline is not None else mean)
    return record.having(examples_interval=[found.low, found.high])


def _best(of, group, level, seed):
    """Which smoothing, all else equal, has the smallest debiased error, over draws of the examples and of the seeds; of one, none."""
    values = np.array([each.value for each in of.estimates])[:, None] - of.errors
    others = [results.key(results.without_alpha(results.hyper(each.row))) for each in group]
    for other in dict.fromkeys(others):
        alphas = np.array([each.row["alpha"] if own == other else np.nan for each, own in zip(group, others)])
        smoothings, rng = np.unique(alphas[~np.isnan(alphas)]), np.random.default_rng(seed)
        if len(smoothings) < 2:
            continue
        means, drawn = [], []
        for alpha in smoothings:
            members = np.flatnonzero(alphas == alpha)
            means.append(np.mean([of.estimates[member].value for member in members]))
            picks = rng.choice(members, (len(members), values.shape[1]))
            drawn.append(values[picks, np.arange(values.shape[1])].mean(axis=0))
        best, chosen = smoothings[np.argmin(drawn, axis=0)], float(smoothings[np.argmin(means)])
        row = next(each.row for each, alpha in zip(group, alphas) if alpha == chosen)
        yield results.Record(
            "calibration", "best alpha", group[0].split, **moments([chosen]), hyper=results.hyper(row), arm=row["arm"],
            interval=[float(end) for end in np.quantile(best, [(1 - level) / 2, (1 + level) / 2], method="nearest")],
            extra={"share": {f"{alpha:g}": float(np.mean(best == alpha)) for alpha in smoothings}, "bins": BINS})
