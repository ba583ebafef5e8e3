"""Calibration tables: the paper's Table 3 with this run's row beside the paper's, and every smoothing of a split.

A table is [caption, header row, rows...], all text, as `accuracy.tables.cells` gives.
"""
from collections.abc import Sequence
from typing import Any

from ls_jax import paper
from ls_jax.studies.common import records as results
from ls_jax.studies.common import tables

SCORES = ("classwise ece", "smooth ece", "nll", "brier", "aurc", "aurc of normalised logits")


def table_3(records: Sequence[results.Record], split: str, name: str) -> list[Any]:
    """The paper's Table 3: this run by an honest temperature, then by the paper's (same examples, ECE), then the paper's rows.

    Where more than smoothing varies, there are these rows for each setting of the rest.
    """
    here = _here(records, split)
    varying = results.others([record.hyper for record in here])
    rows = [("data, network", "hard, T = 1: ECE", "temperature scaling: ECE / T", "label smoothing: ECE / α")]
    for other, group in results.grouped(here):
        smoothed = min((record for record in results.select(group, quantity="ece") if record.hyper.get("alpha", 0.0) > 0),
                       key=lambda record: record.mean, default=None)
        hard = [record for record in group if results.is_plain(record.hyper)]
        named = f"{name}, {tables.label(other, varying)}" if varying else name
        for ece in results.select(hard, quantity="ece"):
            for scaled, fitted in zip(results.select(hard, quantity="scaled ece"), results.select(hard, quantity="temperature")):
                rows.append((f"{named}; T fitted on {scaled.extra['fitted_on']} by {scaled.extra['criterion'].upper()}",
                             tables.mean_std(ece), f"{tables.mean_std(scaled)} / {fitted.mean:.2f}",
                             f"{tables.mean_std(smoothed)} / {smoothed.hyper['alpha']:g}" if smoothed else ""))
    return [f"Table 3 on the {split} split, mean ± standard deviation over seeds; the smoothing of the smallest ECE is shown, as in "
            "the paper, which makes that column a little optimistic", *rows, *paper.table_3()]


def cells(records: Sequence[results.Record], split: str) -> list[Any]:
    """Every arm of one split: calibration error, regime and temperature.

    Raises:
        ValueError: two arms have one label.
    """
    here = _here(records, split)
    names = tables.names_of(here)
    named = lambda quantity, **fields: tables.by_label(results.select(here, quantity=quantity, **fields), names)
    fitted_on, criterion = (results.select(here, quantity="temperature")[0].extra[name] for name in ("fitted_on", "criterion"))
    honest = dict(fitted_on=fitted_on, criterion=criterion)
    fitted, scaled = named("temperature", **honest), named("scaled ece", **honest)
    debiased, over = named("debiased ece"), named("overconfidence")
    rows = [("smoothing", "ECE", "debiased [95 % over examples]", "confidence - accuracy", "T", "ECE at T")]
    for label, record in named("ece").items():
        rows.append((label, tables.mean_std(record), f"{debiased[label].mean:.4f} {_interval(debiased[label])}",
                     f"{over[label].mean:+.4f} ({over[label].extra['regime']})", f"{fitted[label].mean:.3f}" + _bounded(fitted[label]),
                     tables.mean_std(scaled[label])))
    return [f"{split} split, {here[0].extra['examples']:,} examples, {here[0].extra['bins']} bins; mean ± standard deviation over seeds; "
            f"T fitted on: {fitted_on}", *rows]


def scores(records: Sequence[results.Record], split: str) -> list[Any]:
    """Every arm of one split: other calibration errors, proper scores, and selective classification.

    Raises:
        ValueError: two arms have one label.
    """
    here = [record for record in _here(records, split) if record.quantity in SCORES]
    names = tables.names_of(here)
    found = tables.pivot(here, lambda record: tables.label(record, names), tables.mean_std)
    return ["Classwise: mean over the classes' own probabilities. Smooth: Błasiok and Nakkiran's, without bins. AURC: error rate of the "
            "most confident examples, averaged over how many are kept; also with Xia et al.'s normalised logits",
            ("smoothing", *(name.replace("ece", "ECE").replace("nll", "NLL").replace("aurc", "AURC") for name in SCORES)),
            *((label, *(of[quantity] for quantity in SCORES)) for label, of in found.items())]


def summary(records: Sequence[results.Record], split: str) -> str:
    """Which regime the hard network is in, and which smoothing is best calibrated, in a sentence or two."""
    here = _here(records, split)
    varying = results.others([record.hyper for record in here])
    at = lambda record: f" at {tables.label(record.hyper, varying)}" if varying else ""
    parts = []
    for record in results.select(here, quantity="overconfidence"):
        if results.is_plain(record.hyper):
            network = "Without smoothing the network" if record.hyper else "The network"
            parts.append(f"{network} is {record.extra['regime']} on the {split} split{at(record)}: confidence minus accuracy is "
                         f"{record.mean:+.4f} {_interval(record)}.")
    for record in results.select(here, quantity="best alpha"):
        low, high = record.interval
        draws = f"{record.extra['share'][f'{low:g}']:.0%} of draws" if low == high else f"{low:g} to {high:g} in 95 % of draws"
        parts.append(f"The best-calibrated smoothing{at(record)} is α = {record.hyper['alpha']:g} ({draws} of examples and seeds).")
    return " ".join(parts)


def _here(records, split):
    return results.select(records, study="calibration", split=split, kind=results.VALUE)


def _interval(record):
    low, high = record.extra["examples_interval"]
    return f"[{low:.4f}, {high:.4f}]"


def _bounded(record):
    stuck = sorted({status for status in record.extra["status"] if status != "converged"})
    return f" ({', '.join(stuck)})" if stuck else ""
