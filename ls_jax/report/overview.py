"""The opening of a report about the whole paper: its tables and figures, and its claims, each with a way to where it is shown."""
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ls_jax.report.sections import VERDICTS
from ls_jax.studies import registry as paper_claims
from ls_jax.studies.common import records as results
from ls_jax.studies.common.markup import render

PAPER = {
    "Table 1": "accuracies of networks in the literature that were trained with smoothing: a survey, nothing to run",
    "Table 2": "accuracy with and without smoothing",
    "Table 3": "calibration: temperature scaling and smoothing",
    "Figure 1": "penultimate-layer projections of three classes",
    "Figure 2": "reliability diagrams, image classification",
    "Figure 3": "reliability diagram, English-German translation",
    "Figure 4": "temperature against BLEU, calibration and likelihood, translation",
    "Figure 5": "distillation: teachers and students against the equivalent smoothing γ",
    "Figure 6": "information about the example that is left in the logits",
    "Figure 7": "projections of the translation network",
    "Section 4": "distillation on MNIST",
    "Beyond the paper": "label noise, and what the features are good for otherwise",
}


def section(plan: Sequence[Any], found: Mapping[str, Sequence[results.Record]], states: Mapping[str, str]) -> Markup:
    """Tables of the paper's results and of its claims as HTML, with links to the sections of the runs that show them.

    Args:
        plan: experiments with name and shows (`reproduce.Experiment`).
        found: the records of the runs on the page, by name, in the order of their sections.
        states: what became of each, by name.
    """
    place = {name: f"run{number}" for number, name in enumerate(found)}
    items = [{"name": name, "shows": what, "runs": _links([each.name for each in plan if name in each.shows], place)}
             for name, what in PAPER.items()]
    left_out = [{"name": name, "why": state.removeprefix("left out: ")}
                for name, state in states.items() if state.startswith("left out")]
    return render("report/templates/overview.html", items=items, verdicts=VERDICTS, claims=_claims(found, place), left_out=left_out)


def _claims(found, place):
    """A row per claim: in which runs it holds, fails, or is undecided; a run that splits its verdict is in several columns."""
    rows: dict[str, dict[str, list[str]]] = {}
    for run, records in found.items():
        for claim, findings in paper_claims.check(records).items():
            for verdict in dict.fromkeys(finding.verdict for finding in findings):
                rows.setdefault(claim, {}).setdefault(verdict, []).append(run)
    return [{"name": claim[0].upper() + claim[1:],
             "runs": [_links(rows[claim].get(verdict, []), place) for verdict in VERDICTS]}
            for claim in paper_claims.claims() if claim in rows]


def _links(names, place):
    """Of the runs of these names those on the page."""
    return [{"name": name, "place": place[name]} for name in names if name in place]
