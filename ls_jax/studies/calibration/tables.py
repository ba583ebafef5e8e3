"""Calibration tables: the paper's Table 3 with this run's row beside the paper's, and every smoothing of a split.

A table is [caption, header row, rows...], all text, as `accuracy.tables.cells` gives.
"""
from collections.abc import Sequence
from typing import Any

from ls_jax import paper
from ls_jax.studies.common import records as results

SCORES = ("classwise ece", "smooth ece", "nll", "brier", "aurc", "aurc of normalised logits")


def table_3(records: Sequence[results.Record], split: str, name: str) -> list[Any]:
    """The paper's Table 3: this run by an honest temperature, then by the paper's (same examples, ECE), then the paper's rows."""
    here = _here(records, split)
    hard = [record for record in here if record.get("alpha", 0.0) == 0 and "baseline_alpha" not in record]
    smoothed = min((record for record in results.select(here, quantity="ece") if record.get("alpha", 0.0) > 0),
                   key=lambda record: record["mean"], default=None)
    rows = [("data, network", "hard, T = 1: ECE", "temperature scaling: ECE / T", "label smoothing: ECE / α")]
    for ece in results.select(hard, quantity="ece"):
        for scaled, fitted in zip(results.select(hard, quantity="scaled ece"), results.select(hard, quantity="temperature")):
            rows.append((f"{name}; T fitted on {scaled['fitted_on']} by {scaled['criterion'].upper()}", _cell(ece),
                         f"{_cell(scaled)} / {fitted['mean']:.2f}", f"{_cell(smoothed)} / {smoothed['alpha']:g}" if smoothed else ""))
    return [f"Table 3 on the {split} split, mean ± standard deviation over seeds; the smoothing of the smallest ECE is shown, as in "
            "the paper, which makes that column a little optimistic", *rows, *paper.table_3()]


def cells(records: Sequence[results.Record], split: str) -> list[Any]:
    """Every smoothing of one split: calibration error, regime and temperature."""
    here = _here(records, split)
    named = lambda quantity, alpha, **fields: _named(here, quantity, alpha, **fields)
    rows = [("smoothing", "ECE", "debiased [95 % over examples]", "confidence - accuracy", "T", "ECE at T")]
    for record in results.select(here, quantity="ece"):
        alpha = record.get("alpha")  # a network that was not trained here has none
        fitted = named("temperature", alpha)
        debiased, over = named("debiased ece", alpha), named("overconfidence", alpha)
        rows.append((_smoothing(alpha), _cell(record), f"{debiased['mean']:.4f} {_interval(debiased)}",
                     f"{over['mean']:+.4f} ({over['regime']})", f"{fitted['mean']:.3f}" + _bounded(fitted),
                     _cell(named("scaled ece", alpha, fitted_on=fitted["fitted_on"], criterion=fitted["criterion"]))))
    fitted_on = results.select(here, quantity="temperature")[0]["fitted_on"]
    return [f"{split} split, {here[0]['examples']:,} examples, {here[0]['bins']} bins; mean ± standard deviation over seeds; "
            f"T fitted on: {fitted_on}", *rows]


def scores(records: Sequence[results.Record], split: str) -> list[Any]:
    """Every smoothing of one split: other calibration errors, proper scores, and selective classification."""
    here = _here(records, split)
    alphas = [record.get("alpha") for record in results.select(here, quantity="ece")]
    return ["Classwise: mean over the classes' own probabilities. Smooth: Błasiok and Nakkiran's, without bins. AURC: error rate of the "
            "most confident examples, averaged over how many are kept; also with Xia et al.'s normalised logits",
            ("smoothing", *(name.replace("ece", "ECE").replace("nll", "NLL").replace("aurc", "AURC") for name in SCORES)),
            *((_smoothing(alpha), *(_cell(_named(here, quantity, alpha)) for quantity in SCORES)) for alpha in alphas)]


def verdict(records: Sequence[results.Record], split: str) -> str:
    """Which regime the hard network is in, and which smoothing is best calibrated, in a sentence or two."""
    here = _here(records, split)
    parts = []
    for record in results.select(here, quantity="overconfidence"):
        if record.get("alpha", 0.0) == 0 and "baseline_alpha" not in record:
            network = "Without smoothing the network" if "alpha" in record else "The network"
            parts.append(f"{network} is {record['regime']} on the {split} split: confidence minus accuracy is "
                         f"{record['mean']:+.4f} {_interval(record)}.")
    for record in results.select(here, quantity="best alpha"):
        low, high = record["interval"]
        draws = f"{record['share'][f'{low:g}']:.0%} of draws" if low == high else f"{low:g} to {high:g} in 95 % of draws"
        parts.append(f"The best-calibrated smoothing is α = {record['alpha']:g} ({draws} of examples and seeds).")
    return " ".join(parts)


def _here(records, split):
    return results.select(records, study="calibration", split=split)


def _named(here, quantity, alpha, **fields):
    fields |= {} if alpha is None else {"alpha": alpha}
    return next(record for record in results.select(here, quantity=quantity, **fields) if "baseline_alpha" not in record)


def _smoothing(alpha):
    return "as given" if alpha is None else f"α={alpha:g}"


def _cell(record, digits=4):
    return f"{record['mean']:.{digits}f}" + ("" if record["std"] is None else f" ± {record['std']:.{digits}f}")


def _interval(record):
    low, high = record["examples_interval"]
    return f"[{low:.4f}, {high:.4f}]"


def _bounded(record):
    stuck = sorted({status for status in record["status"] if status != "converged"})
    return f" ({', '.join(stuck)})" if stuck else ""
