"""Calibration tables: the paper's Table 3 with this run's row beside the paper's, and every smoothing of a split.

A table is [caption, header row, rows...], all text, as `accuracy.cells` gives.
"""
from collections.abc import Sequence
from typing import Any

from ls_jax import results

PAPER = (("CIFAR-100, ResNet-56 (paper)", "0.150", "0.021 / 1.9", "0.024 / 0.05"),
         ("ImageNet, Inception-v4 (paper)", "0.071", "0.022 / 1.4", "0.035 / 0.1"),
         ("EN-DE, Transformer (paper)", "0.056", "0.018 / 1.13", "0.019 / 0.1"))
COLUMNS = ("classwise ece", "smooth ece", "nll", "brier", "aurc", "aurc of normalised logits")


def table_3(records: Sequence[results.Record], split: str, name: str) -> list[Any]:
    """The paper's Table 3: this run by an honest temperature, then by the paper's (same examples, ECE), then the paper's rows."""
    here = _here(records, split)
    hard = [record for record in here if record["alpha"] == 0 and "baseline_alpha" not in record]
    smoothed = min((record for record in results.select(here, quantity="ece") if record["alpha"] > 0),
                   key=lambda record: record["mean"], default=None)
    rows = [("data, network", "hard, T = 1: ECE", "temperature scaling: ECE / T", "label smoothing: ECE / α")]
    for ece in results.select(hard, quantity="ece"):
        for scaled, fitted in zip(results.select(hard, quantity="scaled ece"), results.select(hard, quantity="temperature")):
            rows.append((f"{name}; T fitted on {scaled['fitted_on']} by {scaled['criterion'].upper()}", _cell(ece),
                         f"{_cell(scaled)} / {fitted['mean']:.2f}", f"{_cell(smoothed)} / {smoothed['alpha']:g}" if smoothed else ""))
    return [f"Table 3 on the {split} split, mean ± standard deviation over seeds; the smoothing of the smallest ECE is shown, as in "
            "the paper, which makes that column a little optimistic", *rows, *PAPER]


def cells(records: Sequence[results.Record], split: str) -> list[Any]:
    """Every smoothing of one split: errors, regime, temperature, and scores."""
    here = _here(records, split)
    named = lambda quantity, alpha, **fields: next(iter(
        record for record in results.select(here, quantity=quantity, alpha=alpha, **fields) if "baseline_alpha" not in record))
    rows = [("smoothing", "ECE", "debiased [95 % over examples]", "confidence - accuracy", "T", "ECE at T", *COLUMNS)]
    for record in results.select(here, quantity="ece"):
        alpha = record["alpha"]
        fitted = named("temperature", alpha)
        debiased, over = named("debiased ece", alpha), named("overconfidence", alpha)
        rows.append((f"α={alpha:g}", _cell(record), f"{debiased['mean']:.4f} {_interval(debiased)}",
                     f"{over['mean']:+.4f} ({over['regime']})", f"{fitted['mean']:.3f}" + _bounded(fitted),
                     _cell(named("scaled ece", alpha, fitted_on=fitted["fitted_on"], criterion=fitted["criterion"])),
                     *(_cell(named(quantity, alpha)) for quantity in COLUMNS)))
    fitted_on = results.select(here, quantity="temperature")[0]["fitted_on"]
    return [f"{split} split, {here[0]['examples']:,} examples, {here[0]['bins']} bins; mean ± standard deviation over seeds; "
            f"T fitted on: {fitted_on}", *rows]


def verdict(records: Sequence[results.Record], split: str) -> str:
    """Which regime the hard network is in, and which smoothing is best calibrated, in a sentence or two."""
    here = _here(records, split)
    parts = []
    for record in results.select(here, quantity="overconfidence", alpha=0):
        if "baseline_alpha" not in record:
            parts.append(f"Without smoothing the network is {record['regime']} on the {split} split: confidence minus accuracy is "
                         f"{record['mean']:+.4f} {_interval(record)}.")
    for record in results.select(here, quantity="best alpha"):
        parts.append(f"The best-calibrated smoothing is α = {record['alpha']:g} (95 % of draws of examples and seeds: "
                     f"{record['interval'][0]:g} to {record['interval'][1]:g}).")
    return " ".join(parts)


def _here(records, split):
    return results.select(records, study="calibration", split=split)


def _cell(record, digits=4):
    return f"{record['mean']:.{digits}f}" + ("" if record["std"] is None else f" ± {record['std']:.{digits}f}")


def _interval(record):
    low, high = record["examples_interval"]
    return f"[{low:.4f}, {high:.4f}]"


def _bounded(record):
    stuck = sorted({status for status in record["status"] if status != "converged"})
    return f" ({', '.join(stuck)})" if stuck else ""
