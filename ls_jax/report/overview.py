"""The opening of a report about the whole paper: its tables and figures, and its claims, each with a way to where it is shown."""
import html
from collections.abc import Mapping, Sequence
from typing import Any

from ls_jax.studies import registry as paper_claims
from ls_jax.studies.common import records as results

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


def section(plan: Sequence[Any], found: Mapping[str, Sequence[results.Record]], states: Mapping[str, str]) -> str:
    """Tables of the paper's results and of its claims as HTML, with links to the sections of the runs that show them.

    Args:
        plan: experiments with name and shows (`reproduce.Experiment`).
        found: the records of the runs on the page, by name, in the order of their sections.
        states: what became of each, by name.
    """
    place = {name: f"run{number}" for number, name in enumerate(found)}
    rows = "".join(
        f"<tr><td>{html.escape(item)}</td><td>{html.escape(what)}</td><td>"
        f"{_links([each.name for each in plan if item in each.shows], place)}</td></tr>" for item, what in PAPER.items())
    left_out = "".join(f"<li>{html.escape(name)}: {html.escape(state.removeprefix('left out: '))}</li>"
                       for name, state in states.items() if state.startswith("left out"))
    return ("<h2>The paper, result by result</h2><div class='wide'><table class='text'><tr><th>the paper's</th><th>what it shows</th>"
            f"<th>here</th></tr>{rows}</table></div>{_claims(found, place)}"
            + (f"<h3>Left out</h3><ul>{left_out}</ul>" if left_out else ""))


def _claims(found, place):
    """A row per claim: in which runs it holds, fails, or is undecided; a run that splits its verdict is in several columns."""
    verdicts = ("holds", "fails", "undecided")
    rows: dict[str, dict[str, list[str]]] = {}
    for run, records in found.items():
        for claim, findings in paper_claims.check(records).items():
            for verdict in dict.fromkeys(finding.verdict for finding in findings):
                rows.setdefault(claim, {}).setdefault(verdict, []).append(run)
    if not rows:
        return ""
    body = "".join(f"<tr><td>{html.escape(claim[0].upper() + claim[1:])}</td>"
                   + "".join(f"<td>{_links(rows[claim].get(verdict, []), place, '')}</td>" for verdict in verdicts) + "</tr>"
                   for claim in paper_claims.CLAIMS if claim in rows)
    return ("<h3>Its claims</h3><p class='soft'>Verdicts of the runs on this page; a run is named twice where splits or smoothings "
            f"differ. Claims of later work follow the paper's.</p><div class='wide'><table class='text'><tr><th>claim</th>"
            f"{_headings(verdicts)}</tr>{body}</table></div>")


def _links(names, place, nothing="<span class='soft'>not run</span>"):
    return ", ".join(f"<a href='#{place[name]}'>{html.escape(name)}</a>" for name in names if name in place) or nothing


def _headings(verdicts):
    return "".join(f"<th><span class='verdict {verdict}'>{verdict}</span></th>" for verdict in verdicts)
