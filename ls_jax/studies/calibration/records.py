"""The calibration study's records: members' calibration, over seeds, and compared with the baseline.

A member is measured at temperature 1 and at fitted temperatures. `fitted_on` names the examples of the fit:
"validation" (reported on test), "other half" (each half of the split gets the temperature of the other half), or "same
split", as the paper seems to do.
"""
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from ls_jax import checked
from ls_jax.studies.calibration import binning, bootstrap, over_examples, scores, smooth, temperature
from ls_jax.studies.common import held_out, records, streaming
from ls_jax.studies.common.crossed import Sample, Units
from ls_jax.studies.common.held_out import Network
from ls_jax.studies.common.statistics import moments, paired
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.common.triples import Triple

BINS = 15
FLOOR = "ece of a calibrated network"
INTERVALS_OVER_EXAMPLES = {("debiased ece", records.VALUE), ("debiased ece", records.DIFFERENCE),
                           ("overconfidence", records.VALUE)}


class Fitted(NamedTuple):
    """One member's fitted temperature and the scores with it; for "other half", the geometric mean of the two."""
    fitted_on: str
    criterion: str
    temperature: float
    status: str
    ece: float
    nll: float
    squared: float          # debiased squared error
    confidence: Float[np.ndarray, " examples"]
    samples: Mapping[str, Sample] = {}  # how these depend on the examples; for the cross-fitted temperature


SCALED = {"ece": lambda fit: fit.ece, "nll": lambda fit: fit.nll, "debiased squared error": lambda fit: fit.squared}


BY_SCALING = "change by temperature scaling"
AGAINST_SCALING = "against temperature scaling"


class Measured(NamedTuple):
    """One member on one split."""
    row: Mapping[str, Any]  # its hyper-parameters
    split: str
    values: dict[str, float]
    fits: list[Fitted]      # the first is cross-fitted and minimises the NLL
    confidence: Float[np.ndarray, " examples"]
    correct: Bool[np.ndarray, " examples"]
    samples: Mapping[str, Sample]  # how the values depend on the examples, where that is known
    units: Units                   # what an interval draws anew


def collect(studied: Studied) -> list[records.Record]:
    """Records of a run; none for students, which have their own study."""
    return run([each for network in held_out.of_run(studied) for each in measure(*network)])


def analyze(arrays: Mapping[str, Any], triples: Sequence[Triple]) -> list[records.Record]:
    """Records of one network's logits and labels."""
    return held_out.of_unknown_training(run(list(measure(*held_out.of_arrays(arrays)))))


def measure(row: Mapping[str, Any], splits: Mapping[str, tuple[Any, Any]],
            ids: Mapping[str, Any] | None = None) -> Iterator[Measured]:
    """Measure one member on its held-out splits.

    Args:
        row: its hyper-parameters.
        splits: {name: (logits [examples, classes], labels [examples])}.
        ids: {name: [examples] numbers of what an interval draws anew, such as sentences}; None: the examples.
    """
    splits = {split: checked.member(*arrays) for split, arrays in splits.items()}
    units = Network(row, splits, ids).units()
    for split, (logits, labels) in splits.items():
        of = streaming.top_label(logits, labels)
        classes = binning.class_sums(logits, labels, BINS)
        cells, mass = (binning.cells(of.confidence, of.correct, binning.edges_of(of.confidence, BINS, scheme))
                       for scheme in ("equal_width", "equal_mass"))
        values = {
            "ece": binning.of_cells(cells),
            FLOOR: binning.floor(cells),
            "debiased ece": binning.of_cells(cells, debiased=True),
            "debiased squared error": binning.squared_error(cells),
            "rms calibration error": binning.of_cells(cells, "l2"),
            "maximum calibration error": binning.of_cells(cells, "max"),
            "equal-mass ece": binning.of_cells(mass),
            "classwise ece": binning.classwise_error(classes),
            "smooth ece": scores.smooth_error(of.confidence, of.correct),
            "overconfidence": np.mean(of.confidence) - np.mean(of.correct),
            "nll": np.mean(of.nll),
            "brier": classes.square / len(labels),
        }
        samples = {}
        if units[split].count > 1:
            samples = over_examples.at_one(over_examples.details(logits, labels), units[split], BINS)
        yield Measured(row, split, {name: float(value) for name, value in values.items()},
                       list(_fits(split, splits, units)), of.confidence, of.correct, samples, units[split])


def run(measured: Sequence[Measured], level: float = 0.95, draws: int = 1000, seed: int = 0) -> list[records.Record]:
    """Records of all measurements, with intervals for new seeds and new examples (`interval`).

    Some also have one over these networks' examples alone (`examples_interval`).

    Beside the measures, the quantities are: "temperature", "scaled ece" and "scaled nll"; "ece against temperature
    scaling", the error minus that of the baseline with the same seed at the baseline's temperature; "ece change by
    temperature scaling", of the network itself; both also of the NLL and the debiased squared error; "best alpha"; and
    "reliability", sums over bins. Records of "overconfidence" have the field `regime`.
    """
    measured = [each._replace(row=row) for each, row in zip(measured, records.arms([each.row for each in measured]))]
    results = []
    for split in dict.fromkeys(each.split for each in measured):
        here = [each for each in measured if each.split == split]
        base = {"bins": BINS, "examples": len(here[0].correct)}
        summarize = functools.partial(_summarize, here, base)
        of_split = []
        for quantity in here[0].values:
            of_split += summarize(quantity, [each.values[quantity] for each in here],
                                  [each.samples.get(quantity) for each in here])
        for place, fit in enumerate(here[0].fits):
            fits = [each.fits[place] for each in here]
            extra = {"fitted_on": fit.fitted_on, "criterion": fit.criterion}
            statuses = {(records.key(records.hyper(each.row)), each.row["seed"]): fit.status
                        for each, fit in zip(here, fits)}
            of_split += [record.having(status=[statuses[records.key(record.hyper), seed] for seed in record.seeds])
                         for record in summarize("temperature", [each.temperature for each in fits], **extra)
                         if record.kind == records.VALUE]
            for name, of_fit in SCALED.items():
                of_split += summarize(f"scaled {name}", [of_fit(fit) for fit in fits],
                                      [fit.samples.get(f"scaled {name}") for fit in fits], **extra)
            of_split += _against_scaling(here, place, **base, **extra)
            for name in SCALED:
                changes = summarize(f"{name} {BY_SCALING}",
                                    [_scaled_value(each, place, name) - each.values[name] for each in here],
                                    [_scaling_sample(each, place, name) for each in here], **extra)
                of_split += [record for record in changes if record.kind == records.VALUE]
        for group in _groups(here):
            of = bootstrap.joint(np.stack([each.confidence for each in group]),
                                 np.stack([each.correct for each in group]), BINS, level=level, draws=draws, seed=seed)
            of_split = [_with_examples_interval(record, group, of, level) for record in of_split]
        elsewhere = [each for each in measured if each.split == "validation"] if split == "test" else []
        best = list(_best(here, elsewhere))
        results += [*of_split, *best, *_diagrams(here)]
    return results


def _summarize(here, base, quantity, values, samples=None, **extra):
    return records.summarize("calibration", quantity, here[0].split, [each.row for each in here], values,
                             samples=samples, **base, **extra)


def _fits(split, splits, units):
    """The cross-fitted temperature by NLL first; then the paper's: on the same split, by NLL and by ECE on its grid."""
    logits, labels = splits[split]
    if split == "test" and "validation" in splits:
        found = temperature.minimise_nll(*splits["validation"])
        part = _part((logits, labels, units[split]), (*splits["validation"], units["validation"]), *found)
        yield _fitted("validation", "nll", logits, labels, [(slice(None), *found)])._replace(samples=_scaled([part]))
    elif len(labels) > 1:
        halves = slice(0, None, 2), slice(1, None, 2)
        found = [temperature.minimise_nll(streaming.Rows(logits, half), labels[half]) for half in halves]
        of = [(streaming.Rows(logits, half), labels[half], units[split].take(half)) for half in halves]
        samples = _scaled([_part(of[1 - k], of[k], *found[k]) for k in (0, 1)])
        temperatures = [(halves[1 - k], *found[k]) for k in (0, 1)]
        yield _fitted("other half", "nll", logits, labels, temperatures)._replace(samples=samples)
    yield _fitted("same split", "nll", logits, labels, [(slice(None), *temperature.minimise_nll(logits, labels))])
    yield _fitted("same split", "ece", logits, labels, [(slice(None), *temperature.minimise_ece(logits, labels, BINS))])


def _part(reported, fitted, temperature, status):
    """Both are (logits, labels, units): the examples that are scaled, and those that the temperature was fitted on."""
    details = [over_examples.details(logits, labels, temperature) for logits, labels, _ in (reported, fitted)]
    return over_examples.Part(*details, reported[2], fitted[2], status == "converged")


def _scaled(parts):
    return over_examples.scaled(parts, BINS) if parts[0].units.count > 1 else {}


def _fitted(fitted_on, criterion, logits, labels, parts):
    """The member's scores; `parts` are (examples, the temperature to use on them, its status)."""
    confidence, correct, nll = np.zeros(len(labels)), np.zeros(len(labels), bool), np.zeros(len(labels))
    for rows, each, _ in parts:
        confidence[rows], correct[rows], nll[rows] = streaming.top_label(streaming.Rows(logits, rows), labels[rows],
                                                                         each)
    cells = binning.cells(confidence, correct, binning.equal_width(BINS))
    mean = float(np.exp(np.mean([np.log(each) for _, each, _ in parts])))
    status = next((status for _, _, status in parts if status != "converged"), "converged")
    return Fitted(fitted_on, criterion, mean, status, float(binning.of_cells(cells)), float(nll.mean()),
                  float(binning.squared_error(cells)), confidence)


def _diagrams(here):
    """Records of reliability diagrams: sums over bins, [seeds, bins], and the smooth curve; their values are the
    errors.

    Every arm has one at T = 1. Networks trained with cross-entropy alone also have one at their temperature.
    """
    for members in _arms(here):
        yield _diagram(members, [(each.confidence, each.correct) for each in members], temperature=1.0)
        if records.is_plain(members[0].row):
            fits = [each.fits[0] for each in members]
            mean = float(np.exp(np.mean([np.log(fit.temperature) for fit in fits])))
            yield _diagram(members, [(fit.confidence, each.correct) for fit, each in zip(fits, members)],
                           temperature=mean, fitted_on=fits[0].fitted_on)


def _diagram(members, networks, **extra):
    """The diagram of one arm; `networks` are its members' (confidence, correct)."""
    cells, row = [binning.cells(confidence, correct, binning.equal_width(BINS))
                  for confidence, correct in networks], members[0].row
    sums = {"count": [each.count.sum(axis=1).tolist() for each in cells],
            "confidence": [each.confidence.sum(axis=1).tolist() for each in cells],
            "correct": [each.count[:, 1].tolist() for each in cells],
            "smooth": smooth.curve(*map(np.stack, zip(*networks)), members[0].units.group,
                                   members[0].units.count)._asdict()}
    return records.Record("calibration", "reliability", members[0].split,
                          **moments([binning.of_cells(each) for each in cells]), **records.of_arm(row),
                          seeds=[each.row["seed"] for each in members],
                          extra={"bins": BINS, **extra, **sums})


def _arms(here):
    """The members of each arm."""
    found = {}
    for each in here:
        found.setdefault(records.key(records.hyper(each.row)), []).append(each)
    return list(found.values())


def _groups(here):
    """The members in groups such that each arm is in one group with its baseline and with other smoothings.

    Members of a group are equal in all other hyper-parameters.
    """
    compared = {"alpha"} | {
        name for each in here for name, value in (each.row["baseline"] or {}).items() if each.row[name] != value
    }
    found = {}
    for each in here:
        found.setdefault(
            records.key({name: value for name, value in records.hyper(each.row).items() if name not in compared}),
            []).append(each)
    return list(found.values())


def _against_scaling(here, place, **extra):
    """Calibration errors and the NLL minus those of the baseline with the same seed at the baseline's temperature."""
    found = {records.key(records.hyper(members[0].row)): members for members in _arms(here)}
    for arm, members in found.items():
        row = members[0].row
        baseline = None if row["baseline"] is None else records.key(row["baseline"])
        if baseline in found and baseline != arm:
            fits = {each.row["seed"]: each.fits[place] for each in found[baseline]}
            for quantity in SCALED:
                values = {each.row["seed"]: each.values[quantity] for each in members}
                samples = {each.row["seed"]: each.samples.get(_sampled(quantity)) for each in members}
                scaled = {seed: SCALED[quantity](fit) for seed, fit in fits.items()}
                scaled_samples = {seed: fit.samples.get(f"scaled {quantity}") for seed, fit in fits.items()}
                yield from records.difference(
                    "calibration", f"{quantity} {AGAINST_SCALING}", here[0].split, records.hyper(row),
                    row["baseline"], paired(values, scaled), row["arm"],
                    records.paired_samples(samples, scaled_samples), row.get("terms"), **extra)


def _sampled(quantity):
    """The name of the sample at T = 1 from which that of a scaled network can be subtracted."""
    return over_examples.IN_GROUPS if quantity == "nll" else quantity


def _scaled_value(each, place, quantity):
    return SCALED[quantity](each.fits[place])


def _scaling_sample(each, place, quantity):
    """How a network's change by its own temperature depends on the examples; None where that is not known."""
    scaled, own = each.fits[place].samples.get(f"scaled {quantity}"), each.samples.get(_sampled(quantity))
    return None if scaled is None or own is None else scaled - own


def _with_examples_interval(record, group, of, level):
    """The record with an interval over examples, if it is "debiased ece" or "overconfidence" of this group."""
    if (record.quantity, record.kind) not in INTERVALS_OVER_EXAMPLES:
        return record

    def share(hyper: records.Row) -> np.ndarray:
        return np.array([records.hyper(each.row) == hyper and each.row["seed"] in record.seeds
                         for each in group]) / record.n

    mean = share(record.hyper)
    if not mean.any():
        return record  # it belongs to another group
    if record.quantity == "overconfidence":
        residual = mean @ np.stack([each.confidence - each.correct for each in group])
        deviation = np.std(residual, ddof=min(1, len(residual) - 1))
        half = special.ndtri((1 + level) / 2) * deviation / np.sqrt(len(residual))
        regime = ("over-confident" if record.mean > half else "under-confident" if record.mean < -half
                  else "neither over- nor under-confident")
        return record.having(examples_interval=[float(record.mean - half), float(record.mean + half)], regime=regime)
    found = bootstrap.contrast(of, mean - share(record.baseline) if record.baseline is not None else mean)
    return record.having(examples_interval=[found.low, found.high])


def _best(here, validation):
    """Records of the smoothing with the smallest debiased squared error, all else equal, and of that error.

    It is never chosen on the examples that tell its error: it is chosen on validation, else on each half of the
    examples, and its error is the other half's. `values` are the chosen α, one, or one for each half; `error` is their
    mean error; `chosen_on` is "validation" or "other half".
    """
    halves = slice(0, None, 2), slice(1, None, 2)
    for members in _alike(here):
        by_alpha = {alpha: [each for each in members if each.row["alpha"] == alpha]
                    for alpha in sorted({each.row["alpha"] for each in members})}
        if len(by_alpha) < 2 or len(here[0].correct) < 2:
            continue
        if validation:
            same = {alpha: [each for each in validation if any(each.row == other.row for other in of)]
                    for alpha, of in by_alpha.items()}
            chosen = [_smallest(same, slice(None))]
            errors = [_squared_error(by_alpha[chosen[0]], slice(None))]
        else:
            chosen = [_smallest(by_alpha, half) for half in halves]
            errors = [_squared_error(by_alpha[alpha], other) for alpha, other in zip(chosen, halves[::-1])]
        of_arm = records.of_arm(members[0].row)
        yield records.Record(
            "calibration", "best alpha", here[0].split, **moments(chosen),
            **{**of_arm, "hyper": records.without_alpha(of_arm["hyper"]), "arm": ""}, seeds=[],
            extra={"chosen_on": "validation" if validation else "other half", "error": float(np.mean(errors)),
                   "networks": len(by_alpha[chosen[0]]), "bins": BINS})


def _alike(here):
    """The members in groups that are equal in all but α."""
    found = {}
    for each in here:
        found.setdefault(records.key(records.without_alpha(records.hyper(each.row))), []).append(each)
    return list(found.values())


def _smallest(by_alpha, rows):
    return min(by_alpha, key=lambda alpha: _squared_error(by_alpha[alpha], rows))


def _squared_error(members, rows):
    """The mean over members of the debiased squared error of these examples."""
    return float(np.mean([binning.squared_error(binning.cells(each.confidence[rows], each.correct[rows],
                                                              binning.equal_width(BINS))) for each in members]))
