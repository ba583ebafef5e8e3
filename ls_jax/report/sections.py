"""The report's sections as HTML: what was run, accuracy, claims, the projection's numbers, figures, the explorer."""
import base64
import html
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from ls_jax.studies import projection
from ls_jax.studies import registry as paper_claims
from ls_jax.studies.accuracy import tables as accuracy_tables
from ls_jax.studies.common import claims, tables
from ls_jax.studies.common import records as results

# Table 2 in %, on 10,000 held-out training examples (ImageNet: its validation set), by data set and model.
PAPER_ACCURACY = {
    ("cifar10", "alexnet"): {0.0: "86.8 ± 0.2", 0.1: "86.7 ± 0.3"},
    ("cifar100", "resnet"): {0.0: "72.1 ± 0.3", 0.1: "72.7 ± 0.3"},
    ("imagenet2012", "inception"): {0.0: "80.9", 0.1: "80.9"},
}
SPLIT_NAMES = {"train": "training", "validation": "validation", "test": "test"}
SCREEN_PIXELS = 1.4  # a figure's pixels for one of the page's: fine print on a fine screen
VERDICTS = ("holds", "fails", "undecided")


def facts(config: Mapping[str, Any], manifest: Mapping[str, Any] | None, records: Sequence[results.Record]) -> str:
    """What was run: config, commit, hardware and time in short, and in full behind a fold."""
    examples = {record.split: record.extra["examples"] for record in records if "examples" in record.extra}
    shown = {
        "data": f"{config['data']['name']}: predicted are "
                + ", ".join(f"{count:,} {SPLIT_NAMES[split]} examples" for split, count in examples.items()),
        "network": ", ".join([config["model"]["name"], *(f"{name.replace('_', ' ')} {value}" for name, value
                                                         in config["model"].items() if name != "name" and value is not None)]),
        "training": f"{steps_taken(config, records)} at batch {config['batch_size']}",
        "sweep": "; ".join(f"{'α' if name == 'alpha' else name.replace('_', ' ')} {', '.join(f'{v:g}' for v in values)}"
                           for name, values in config["sweep"].items()),
    }
    if config.get("distill"):
        shown["students"] = "; ".join(f"{name}: {', '.join(f'{field} {value}' for field, value in group.items()) or 'as the sweep'}"
                                      for name, group in sorted(config["distill"]["students"].items()))
    damaged = results.select(records, study="data", quantity="damaged pictures")
    if damaged:
        shown["damaged"] = "; ".join(f"{record.mean:,.0f} {SPLIT_NAMES[record.split]} pictures, shown as grey" for record in damaged)
    diverged = results.select(records, study="training", quantity="diverged at step")
    if diverged:
        names = tables.names_of(records)
        shown["left out"] = "; ".join(f"{tables.label(record, names, ' ')}, seed {record.seeds[0]}: diverged at step {record.mean}"
                                      for record in diverged)
    sessions = (manifest or {}).get("sessions", [])
    if sessions:
        shown |= _session_facts(sessions)
    parts = [_definitions(shown), _fold("Config", config)]
    return "<h3>What was run</h3>" + "".join(parts) + (_fold("Manifest", manifest) if manifest else "")


def steps_taken(config: Mapping[str, Any], records: Sequence[results.Record]) -> str:
    """After how many steps the networks were studied: "1,000 steps", or "500 of 1,000 steps, unfinished"."""
    unfinished = results.select(records, quantity=results.UNFINISHED)
    return f"{unfinished[0].mean:,.0f} of {config['steps']:,} steps, unfinished," if unfinished else f"{config['steps']:,} steps"


def analysis_facts(analysis: Mapping[str, Any]) -> str:
    """What was analyzed: the file, its arrays, time and commit."""
    commit = analysis["git"] and analysis["git"]["commit"][:12]
    shown = {"file": analysis["file"],
             "arrays": ", ".join(f"{name} {shape}" for name, shape in analysis["arrays"].items()),
             "kept": f"{analysis['kept']:,} examples, for the figure and the explorer",
             "time": _duration(analysis["seconds"]),
             "versions": f"ls_jax {analysis['version']}{f', commit {commit}' if commit else ''}"}
    missing = "" if "kernel" in analysis["arrays"] else (
        "<p class='soft'>The projections need the arrays features, kernel and bias, which the file does not have.</p>")
    return "<h3>What was analyzed</h3>" + _definitions(shown) + missing


def _session_facts(sessions):
    last, seconds = sessions[-1], sum(session.get("seconds", 0) for session in sessions)
    device, cpu, xla = last["devices"], last["cpu"], last.get("xla_on_cpu")
    commit = last["git"] and f"{last['git']['commit'][:12]}{' with uncommitted changes' if last['git']['dirty'] else ''}"
    return {
        "commit": commit or "unknown: run from a copy without its history",
        "hardware": f"{device['count']} × {device['kind']} ({device['platform']}), {device['processes']} process"
                    f"{'es' if device['processes'] > 1 else ''}; {cpu['model']}, {cpu['cores']} cores",
        "time": f"{_duration(seconds)} in {len(sessions)} session{'s' if len(sessions) > 1 else ''}, "
                f"last started {last['start'].replace('T', ' ')}, {last['outcome']}",
        "versions": ", ".join(f"{name} {version}" for name, version in last["versions"].items() if version),
        **({"XLA on the CPU": f"test programs {xla['patterns']} under XLA_FLAGS={xla['XLA_FLAGS']}"} if xla else {}),
    }


def accuracy_table(records: Sequence[results.Record], split: str, config: Mapping[str, Any] | None, held_out: str) -> str:
    """The accuracy table of a split; with a column of the paper's Table 2 on the reported split of a network that it has."""
    if config is None:
        found = {record.quantity: record.mean for record in results.select(records, study="accuracy", split=split)}
        return "<h3>Accuracy</h3>" + _definitions({"accuracy": f"{100 * found['accuracy']:.2f} %",
                                                   "hard-label NLL": f"{found['nll']:.4f}"})
    caption, header, *rows = accuracy_tables.cells(records, split)
    paper = _paper_accuracy(config) if split == held_out else None
    if paper:
        alphas = [record.hyper["alpha"] for record in results.select(
            records, study="accuracy", quantity="accuracy", split=split, kind=results.VALUE)]
        header = (*header, "paper's Table 2, %")
        rows = [(*row, paper.get(alpha, "")) for row, alpha in zip(rows, alphas)]
    return f"<h3>Accuracy, {SPLIT_NAMES[split]} split</h3>" + table(header, rows, caption)


def _paper_accuracy(config):
    if config is None or config["model"].get("blocks", 9) != 9:  # ResNet-56 has 9 blocks a group
        return None
    return PAPER_ACCURACY.get((config["data"]["name"], config["model"]["name"]))


def claims_section(records: Sequence[results.Record]) -> str:
    """Every claim with its sentence in the paper, what was found, and the verdict."""
    found = paper_claims.check(records)
    if not found:
        return ("<h3>The paper's claims</h3><p class='soft'>None can be checked: they compare networks trained with smoothing "
                "and without (α = 0 in the sweep).</p>")
    verdicts = [finding.verdict for findings in found.values() for finding in findings]
    counts = {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}
    summary = ", ".join(f"{count} {verdict.rstrip('s') if count > 1 else verdict}" for verdict, count in counts.items())
    return (f"<h3>The paper's claims: {summary}</h3><p class='soft'>A claim is a range (shaded) for a mean over seeds, mostly of the "
            "difference “with smoothing minus without, same seed”. It holds if the 95 % interval over seeds (bar) "
            "lies in the range, fails if the interval lies outside, and is undecided otherwise.</p>"
            + "".join(_claim(name, paper_claims.CLAIMS[name], findings) for name, findings in found.items()))


def _claim(name, claim, findings):
    return (f"<section class='claim'><h4>{_capital(name)}</h4><p>{html.escape(claim.statement)}</p>"
            + "".join(_finding(finding, claim.unit) for finding in findings)
            + f"<details><summary>the paper</summary><blockquote>“{html.escape(claim.quote)}” ({html.escape(claim.place)})"
              "</blockquote></details></section>")


def _finding(finding, unit):
    scaled = lambda value: f"{value / unit:+.{2 if unit < 1 else 3}f}".replace("-", "−")
    suffix = " points" if unit < 1 else ""
    interval = finding.interval
    where = ", ".join([SPLIT_NAMES[finding.split], finding.smoothing,
                       *(f"{name.replace('_', ' ')} {value if isinstance(value, str) else format(value, 'g')}"
                         for name, value in finding.where.items())])
    value = scaled(finding.difference) + (f" [{scaled(interval[0])}, {scaled(interval[1])}]" if interval else "") + suffix
    return (f"<div class='finding'><span>{where}</span><span class='value'>{value}</span>{_strip(finding)}"
            f"<span class='verdict {finding.verdict}'>{claims.sentence(finding)}</span></div>")


def _strip(finding, width=200, height=24):
    """A picture of the claim's range, zero, and the interval."""
    low, high = finding.range
    ends = [end for end in (low, high) if end is not None]
    values = [0.0, *ends, finding.difference, *(finding.interval or ())]
    reach = max(max(values) - min(values), 1e-12)
    start, stop = min(values) - 0.15 * reach, max(values) + 0.15 * reach
    x = lambda value: round(width * (value - start) / (stop - start), 1)
    left, right = 0 if low is None else x(low), width if high is None else x(high)
    bar = (f"<line x1='{x(finding.interval[0])}' x2='{x(finding.interval[1])}' y1='12' y2='12' stroke='#1b1f24' "
           "stroke-width='2.5'/>") if finding.interval else ""
    return (f"<svg viewBox='0 0 {width} {height}' preserveAspectRatio='none' aria-hidden='true'>"
            f"<rect x='{left}' width='{right - left}' y='2' height='20' fill='#cfe6f3'/>"
            f"<line x1='{x(0)}' x2='{x(0)}' y1='0' y2='24' stroke='#5b6570' stroke-dasharray='2 2'/>{bar}"
            f"<circle cx='{x(finding.difference)}' cy='12' r='4' fill='#1b1f24'/></svg>")


def projection_table(records: Sequence[results.Record]) -> str:
    """The projection's numbers: mean ± standard deviation over seeds by classes, split and arm."""
    here = [record for record in results.select(records, study="projection", kind=results.VALUE)
            if record.quantity in projection.QUANTITIES]
    names = tables.names_of(here)
    classes = lambda of: of if of == projection.ALL else ", ".join(of)
    key = lambda record: (classes(record.extra["classes"]), SPLIT_NAMES[record.split], tables.label(record, names, " = "))
    cells = tables.pivot(here, key, lambda record: tables.mean_std(record, ".3f"))
    rows = [(*key, *(values.get(quantity, "") for quantity in projection.QUANTITIES))
            for key, values in sorted(cells.items(), key=lambda item: item[0][0] != projection.ALL)]
    note = ("Spread ratio: within-class spread over the distance between class centroids. Centroid variation: coefficient of "
            "variation of a triple's three centroid distances, 0 for a regular triangle. Wrong-class spread: how unequal the "
            "squared distances to the wrong classes' templates are, 0 for equidistant. Centroid distance: the picture's size. "
            "All triples at once are measured in the span of all templates, of more than two dimensions, so their rows compare "
            "with each other only.")
    return table(("classes", "split", "smoothing", *projection.QUANTITIES), rows, note) if rows else ""


def explorer(data: Mapping[str, Any]) -> str:
    """The projection explorer's place in the page, with its data."""
    embedded = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    return ("<h3>Explore the projection</h3><p>Any three classes on the plane through their templates, computed in this page. "
            f"Point at an example to see it. <span class='soft'>{html.escape(data['note'])}</span></p>"
            "<div class='explorer'><form></form><div><div class='plot'><svg role='img' aria-label='Projection of the chosen "
            "classes'></svg><div class='card'></div></div><output></output></div>"
            f"<script type='application/json'>{embedded}</script></div>"
            "<noscript><p>The explorer needs JavaScript, which is off here.</p></noscript>")


def figure(path: pathlib.Path, caption: str) -> str:
    """A PNG in the page; on a narrow screen it scrolls sideways."""
    data = base64.b64encode(path.read_bytes()).decode()
    width = round(Image.open(path).width / SCREEN_PIXELS)
    return (f"<figure><div class='wide'><img alt='{html.escape(caption)}' src='data:image/png;base64,{data}' "
            f"style='max-width: {width}px; min-width: {'44rem' if width > 720 else 0}'></div>"
            f"<figcaption>{html.escape(caption)}</figcaption></figure>")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """An HTML table of text; where the first column repeats, a new value in it starts a group."""
    groups = len({row[0] for row in rows}) < len(rows)
    cell = lambda tag, values: "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values)
    starts = lambda above, row: groups and above and above[0] != row[0]
    body = "".join(f"<tr{' class=group' if starts(above, row) else ''}>{cell('td', row)}</tr>"
                   for above, row in zip([None, *rows], rows))
    return (f"<p class='soft'>{html.escape(caption)}</p>"
            f"<div class='wide'><table><tr>{cell('th', header)}</tr>{body}</table></div>")


def _definitions(pairs):
    return "<dl class='facts'>" + "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
                                          for name, value in pairs.items()) + "</dl>"


def _fold(title, content):
    text = html.escape(json.dumps(content, indent=1, ensure_ascii=False))
    return f"<details><summary>{title}</summary><pre>{text}</pre></details>"


def _duration(seconds):
    hours, minutes, seconds = int(seconds // 3600), int(seconds // 60 % 60), seconds % 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {math.floor(seconds)} s" if minutes else f"{seconds:.0f} s"


def _capital(text):
    return html.escape(text[0].upper() + text[1:])
