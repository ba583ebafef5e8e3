"""The opening of a report about the whole paper: its tables, figures and claims, with links to the runs."""
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ls_jax import paper
from ls_jax.report.sections import VERDICTS
from ls_jax.studies import registry
from ls_jax.studies.common import records
from ls_jax.studies.common.claims import RANKS
from ls_jax.studies.common.markup import render

PAPER = {
    "Table 1": "a survey of the literature: accuracies of networks trained with smoothing; nothing to run",
    "Table 2": "accuracy with and without smoothing",
    "Table 3": "calibration: temperature scaling and smoothing",
    "Figure 1": "penultimate-layer projections of three classes",
    "Figure 2": "reliability diagrams, image classification",
    "Figure 3": "reliability diagram, English-German translation",
    "Figure 4": "temperature against BLEU, calibration and likelihood, translation",
    "Figure 5": "distillation: teachers and students against the equivalent smoothing γ",
    "Figure 6": "information about the example in the logits",
    "Figure 7": "projections of the translation network",
    "Section 4": "distillation on MNIST",
    "Beyond the paper": "label noise, transfer of the features to other tasks, and rivals of label smoothing",
}


def section(plan: Sequence[Any], found: Mapping[str, Sequence[records.Record]], states: Mapping[str, str],
            experiments: Mapping[str, paper.Key | None]) -> Markup:
    """HTML tables of the paper's results and claims, with links to the runs that show them.

    Args:
        plan: experiments with `name` and `shows` (`reproduce.Experiment`).
        found: {run: records} of the runs on the page, in the order of their sections.
        states: {experiment: its state}, such as "left out: its data are not available".
        experiments: {run: its `paper.key`}.
    """
    place = {name: f"run{number}" for number, name in enumerate(found)}
    items = [{"name": name, "shows": what, "runs": _links([each.name for each in plan if name in each.shows], place)}
             for name, what in PAPER.items()]
    left_out = [{"name": name, "why": state.removeprefix("left out: ")}
                for name, state in states.items() if state.startswith("left out")]
    return render("report/templates/overview.html", items=items, verdicts=VERDICTS,
                  claims=_claims(found, experiments, place),
                  left_out=left_out)


def _claims(found, experiments, place):
    """A row for each rank and claim: the runs in which it holds, fails or is undecided. A run may be in several
    columns."""
    rows: dict[tuple[str, str], dict[str, list[str]]] = {}
    for run, results in found.items():
        for claim, findings in registry.check(results, experiments[run]).items():
            for rank, verdict in dict.fromkeys((finding.rank, finding.verdict) for finding in findings):
                rows.setdefault((rank, claim), {}).setdefault(verdict, []).append(run)
    return [{"rank": rank, "name": claim[0].upper() + claim[1:],
             "runs": [_links(rows[rank, claim].get(verdict, []), place) for verdict in VERDICTS]}
            for rank in RANKS for claim in registry.claims() if (rank, claim) in rows]


def _links(names, place):
    """The runs of these names that are on the page."""
    return [{"name": name, "place": place[name]} for name in names if name in place]
