"""Calibration tables: Table 3 with this run's rows above the paper's, and one row for every arm of a split.

A table is [caption, header row, rows...], all text.
"""
from collections.abc import Sequence
from typing import Any

from ls_jax import paper
from ls_jax.studies.calibration.records import FLOOR
from ls_jax.studies.common import records, tables

SCORES = ("classwise ece", "smooth ece", "nll", "brier")
COMPARED = ("debiased squared error", "nll", "scaled nll", "ece")


def table_3(results: Sequence[records.Record], split: str, name: str) -> list[Any]:
    """Table 3: this run with the cross-fitted temperature, then with T fitted on the same split, then the paper's rows.

    Where more than smoothing varies, each setting of the rest has its rows.
    """
    here = records.of_smoothing(_here(results, split))
    varying = records.others([record.hyper for record in here])
    rows = [("data, network", "unsmoothed, T = 1: ECE", "temperature scaling: ECE / T", "label smoothing: ECE / α")]
    for other, group in records.grouped(here):
        smoothed = "; ".join(f"{tables.mean_std(record)} / {record.hyper['alpha']:g}"
                             for record in records.select(group, quantity="ece") if record.hyper.get("alpha", 0.0) > 0)
        unsmoothed = [record for record in group if record.plain]
        named = f"{name}, {tables.label(other, varying)}" if varying else name
        for ece in records.select(unsmoothed, quantity="ece"):
            for scaled, fitted in zip(records.select(unsmoothed, quantity="scaled ece"),
                                      records.select(unsmoothed, quantity="temperature")):
                rows.append((f"{named}; T fitted on {scaled.extra['fitted_on']} by {scaled.extra['criterion'].upper()}",
                             tables.mean_std(ece), f"{tables.mean_std(scaled)} / {fitted.mean:.2f}",
                             smoothed))
    return [
        f"Table 3 on the {split} split, mean ± standard deviation over seeds. Every smoothing is shown: the "
        "one with the smallest ECE would be chosen on the examples that judge it.", *rows, *paper.table_3()
    ]


def cells(results: Sequence[records.Record], split: str) -> list[Any]:
    """One row for every arm of a split: calibration errors, regime and temperature.

    Raises:
        ValueError: two arms have the same label.
    """
    here = _here(results, split)
    names = tables.names_of(here)

    def named(quantity: str, **fields: str) -> dict[str, records.Record]:
        return tables.by_label(records.select(here, quantity=quantity, **fields), names)

    fitted_on, criterion = (records.select(here, quantity="temperature")[0].extra[name]
                            for name in ("fitted_on", "criterion"))
    cross_fitted = dict(fitted_on=fitted_on, criterion=criterion)
    fitted, scaled = named("temperature", **cross_fitted), named("scaled ece", **cross_fitted)
    debiased, over = named("debiased ece"), named("overconfidence")
    floors = named(FLOOR)  # files of earlier versions have none
    rows = [("smoothing", "ECE", *(("of a calibrated network",) if floors else ()),
             "debiased [95 % over examples]", "confidence - accuracy", "T", "ECE at T")]
    for label, record in named("ece").items():
        floor = (f"{floors[label].mean:.4f}",) if floors else ()
        rows.append((label, tables.mean_std(record), *floor, f"{debiased[label].mean:.4f} {_interval(debiased[label])}",
                     f"{over[label].mean:+.4f} ({over[label].extra['regime']})",
                     f"{fitted[label].mean:.3f}" + _bounded(fitted[label]), tables.mean_std(scaled[label])))
    return [
        f"{split} split, {here[0].extra['examples']:,} examples, {here[0].extra['bins']} bins; mean ± standard "
        f"deviation over seeds; "
        f"T fitted on: {fitted_on}", *rows
    ]


def differences(results: Sequence[records.Record], split: str) -> list[Any]:
    """One row for every arm that has a baseline: its paired differences from it; the caption alone without any.

    Raises:
        ValueError: two arms have the same label.
    """
    here = [record for record in records.select(results, study="calibration", split=split, kind=records.DIFFERENCE)
            if record.quantity in COMPARED and record.extra.get("fitted_on") != "same split"]
    names = tables.names_of(here)
    found = tables.pivot(here, lambda record: tables.label(record, names), lambda record: (
        tables.difference(record, "+.4f") + (f"; {of}" if (of := tables.sources(record, ".4f")) else "")))
    caption = ("Paired differences from the baseline; standard errors by their source. "
               "The plain ECE is biased where a network is calibrated: judge by the debiased squared error and the NLL")
    covering = tables.covering(here)
    return [f"{caption}; {covering}" if covering else caption, ("smoothing", *COMPARED),
            *((label, *(of.get(quantity, "") for quantity in COMPARED)) for label, of in found.items())]


def scores(results: Sequence[records.Record], split: str) -> list[Any]:
    """One row for every arm of a split: other calibration errors and proper scores.

    Raises:
        ValueError: two arms have the same label.
    """
    here = [record for record in _here(results, split) if record.quantity in SCORES]
    names = tables.names_of(here)
    found = tables.pivot(here, lambda record: tables.label(record, names), tables.mean_std)
    return [
        "Classwise ECE: mean over classes of the error of each class's probability. Smooth ECE: by Błasiok and "
        "Nakkiran, without bins.",
        ("smoothing", *(name.replace("ece", "ECE").replace("nll", "NLL") for name in SCORES)),
        *((label, *(of[quantity] for quantity in SCORES)) for label, of in found.items())
    ]


def summary(results: Sequence[records.Record], split: str) -> str:
    """Sentences on whether the unsmoothed network is over-confident, and which smoothing is best calibrated."""
    here = records.of_smoothing(_here(results, split))
    varying = records.others([record.hyper for record in here])

    def at(record: records.Record) -> str:
        return f" at {tables.label(record.hyper, varying)}" if varying else ""

    parts = []
    for record in records.select(here, quantity="overconfidence"):
        if record.plain:
            network = "Without smoothing the network" if record.hyper else "The network"
            parts.append(
                f"{network} is {record.extra['regime']} on the {split} split{at(record)}: confidence minus accuracy is "
                f"{record.mean:+.4f} {_interval(record)}.")
    for record in records.select(here, quantity="best alpha"):
        if "chosen_on" not in record.extra:  # of earlier versions, which chose on the same examples
            continue
        alphas = " and ".join(f"{alpha:g}" for alpha in dict.fromkeys(record.values))
        where = ("Chosen on validation" if record.extra["chosen_on"] == "validation" else
                 "Chosen on each half of the examples and judged on the other")
        networks = record.extra["networks"]
        parts.append(
            f"{where}, the best-calibrated smoothing{at(record)} is α = {alphas}; its debiased squared error is "
                     f"{1e4 * record.extra['error']:.2f} points²"
                     f" ({networks} seed{'s' if networks > 1 else ''}).")
    return " ".join(parts)


def _here(results, split):
    return records.select(results, study="calibration", split=split, kind=records.VALUE)


def _interval(record):
    low, high = record.extra["examples_interval"]
    return f"[{low:.4f}, {high:.4f}]"


def _bounded(record):
    stuck = sorted({status for status in record.extra["status"] if status != "converged"})
    return f" ({', '.join(stuck)})" if stuck else ""
