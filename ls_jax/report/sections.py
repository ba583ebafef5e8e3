"""The report's own sections: what was run or analyzed, and the claims. Notebooks show some of them."""
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ls_jax import paper
from ls_jax.studies import registry
from ls_jax.studies.common import claims, families, records, tables
from ls_jax.studies.common.markup import SPLIT_NAMES, render

VERDICTS = ("holds", "fails", "undecided", claims.NOT_JUDGED)
FINISHED = {"measured": "finished"}  # the measurements are complete when a page is written


def facts(config: Mapping[str, Any], manifest: Mapping[str, Any] | None, results: Sequence[records.Record]) -> Markup:
    """What was run, as HTML: config, commit, hardware and time in short, with the full config and manifest folded."""
    examples = {record.split: record.extra["examples"] for record in results if "examples" in record.extra}
    arms = config["sweep"].get("arms")
    shown = {
        "data": f"{config['data']['name']}; predictions for " + ", ".join(f"{count:,} {SPLIT_NAMES[split]} examples"
                                                                          for split, count in examples.items()),
        "network": ", ".join([
            config["model"]["name"],
            *(f"{name.replace('_', ' ')} {value}"
              for name, value in config["model"].items() if name != "name" and value is not None)
        ]),
        "training": f"{steps_taken(config, results)} at batch {config['batch_size']}",
        "sweep": "; ".join(f"{'α' if name == 'alpha' else name.replace('_', ' ')} {', '.join(f'{v:g}' for v in values)}"
                           for name, values in config["sweep"].items()
                           if isinstance(values, (list, tuple)) and not (arms and name == "alpha")),
    }
    for title, groups in {"arms": arms, "students": (config.get("distill") or {}).get("students")}.items():
        if groups:
            shown[title] = "; ".join(
                f"{name}: {', '.join(f'{field} {value}' for field, value in group.items()) or 'as the sweep'}"
                for name, group in sorted(groups.items()))
    damaged = records.select(results, study="data", quantity="damaged pictures")
    if damaged:
        shown["damaged"] = "; ".join(f"{record.mean:,.0f} {SPLIT_NAMES[record.split]} pictures, shown as grey"
                                     for record in damaged)
    diverged = records.select(results, study="training", quantity="diverged at step")
    if diverged:
        names = tables.names_of(results)
        shown["diverged"] = "; ".join(
            f"{tables.label(record, names, ' ')}, seed {record.seeds[0]}: at step {record.mean}" for record in diverged)
    sessions = (manifest or {}).get("sessions", [])
    if sessions:
        shown |= _session_facts(sessions)
    in_full = {"Config": config, **({"Manifest": manifest} if manifest else {})}
    folds = {title: json.dumps(content, indent=1, ensure_ascii=False) for title, content in in_full.items()}
    return render("report/templates/about.html", title="What was run", facts=shown, note="", folds=folds)


def steps_taken(config: Mapping[str, Any], results: Sequence[records.Record]) -> str:
    """The number of training steps in words: "1,000 steps", or "500 of 1,000 steps, unfinished,"."""
    unfinished = records.select(results, quantity=records.UNFINISHED)
    if unfinished:
        return f"{unfinished[0].mean:,.0f} of {config['steps']:,} steps, unfinished,"
    return f"{config['steps']:,} steps"


def analysis_facts(analysis: Mapping[str, Any]) -> Markup:
    """What was analyzed, as HTML: the file, its arrays, time and commit."""
    commit = analysis["git"] and analysis["git"]["commit"][:12]
    several = analysis.get("networks")
    saved = "all predictions" if several else f"{analysis['kept']:,} examples, for the figure and the explorer"
    shown = {"networks" if several else "file": _networks(several) if several else analysis["file"],
             **({"files": ", ".join(analysis["files"])} if several else {}),
             **({"note": " ".join(analysis["notes"])} if several and analysis["notes"] else {}),
             "arrays": ", ".join(f"{name} {shape}" for name, shape in analysis["arrays"].items()),
             "saved": saved,
             "time": _duration(analysis["seconds"]),
             "versions": f"ls_jax {analysis['version']}{f', commit {commit}' if commit else ''}"}
    missing = "" if "kernel" in analysis["arrays"] else (
        "Projections need the arrays features, kernel and bias, which the file does not have.")
    return render("report/templates/about.html", title="What was analyzed", facts=shown, note=missing, folds={})


def _networks(rows):
    """The arms and their seeds, "α = 0: seeds 0, 1, 2; α = 0.1: seeds 0, 1, 2"."""
    seeds: dict[str, list[str]] = {}
    for row in rows:
        seeds.setdefault(row["arm"].replace("alpha=", "α = "), []).append(str(row["seed"]))
    return "; ".join(f"{arm or 'as given'}: seed{'s' if len(of) > 1 else ''} {', '.join(of)}"
                     for arm, of in seeds.items())


def _session_facts(sessions):
    last, seconds = sessions[-1], sum(session.get("seconds", 0) for session in sessions)
    device, cpu, xla = last["devices"], last["cpu"], last.get("xla_on_cpu")
    commit = last["git"] and last["git"]["commit"][:12] + (" with uncommitted changes" if last["git"]["dirty"] else "")
    return {
        "commit": commit or "unknown (no git history)",
        "hardware": f"{device['count']} × {device['kind']} ({device['platform']}), {device['processes']} process"
                    f"{'es' if device['processes'] > 1 else ''}; {cpu['model']}, {cpu['cores']} cores",
        "time": f"{_duration(seconds)} in {len(sessions)} session{'s' if len(sessions) > 1 else ''}, "
                f"last started {last['start'].replace('T', ' ')}, {FINISHED.get(last['outcome'], last['outcome'])}",
        "versions": ", ".join(f"{name} {version}" for name, version in last["versions"].items() if version),
        **({"XLA on the CPU": f"self-test {xla['patterns']} with XLA_FLAGS={xla['XLA_FLAGS']}"} if xla else {}),
    }


def claims_section(results: Sequence[records.Record], experiment: paper.Key | None = None) -> Markup:
    """Every tested claim as HTML, with its source, the measured differences and the verdicts.

    The paper's primary findings come first, then its secondary ones, then those on claims of later work.

    Args:
        results: the records of a run.
        experiment: its `paper.key`.
    """
    found, known = registry.check(results, experiment), registry.claims()
    groups = [{"rank": rank, "summary": _counts(of),
               "claims": [_claim(name, known[name], each) for name, each in of.items()]}
              for rank in claims.RANKS if (of := families.of_rank(found, rank))]
    return render("report/templates/claims.html", groups=groups)


def _counts(found):
    """How many claims have which verdict: "3 hold, 1 fails"."""
    verdicts = [families.verdict(findings) for findings in found.values()]
    counts = {verdict: verdicts.count(verdict) for verdict in (*VERDICTS, families.MIXED) if verdict in verdicts}
    return ", ".join(f"{count} {verdict.rstrip('s') if count > 1 else verdict}" for verdict, count in counts.items())


def _claim(name, claim, findings):
    return {"name": name[0].upper() + name[1:], "statement": claim.statement, "quote": claim.quote,
            "place": claim.place, "findings": [_finding(finding, claim.unit) for finding in findings]}


def _finding(finding, unit):
    where = ", ".join([SPLIT_NAMES[finding.split], finding.smoothing,
                       *(f"{name.replace('_', ' ')} {value if isinstance(value, str) else format(value, 'g')}"
                         for name, value in finding.where.items())])
    value = claims.with_interval(finding.difference, finding.interval, unit)
    if finding.interval and finding.covers == records.SEEDS and finding.split != "train":
        value += ", seeds alone"
    return {
        "where": where, "value": value, "strip": _strip(finding), "verdict": finding.verdict,
        "sentence": claims.in_full(finding)
    }


def _strip(finding, size=200):
    """Positions of the claim's range, zero, the interval and the mean, from 0 to `size`."""
    low, high = finding.range
    ends = [end for end in (low, high) if end is not None]
    values = [0.0, *ends, finding.difference, *(finding.interval or ())]
    reach = max(max(values) - min(values), 1e-12)
    start, stop = min(values) - 0.15 * reach, max(values) + 0.15 * reach

    def x(value: float) -> float:
        return round(size * (value - start) / (stop - start), 1)

    left, right = 0 if low is None else x(low), size if high is None else x(high)
    return {"size": size, "left": left, "width": round(right - left, 1), "zero": x(0), "mean": x(finding.difference),
            "interval": [x(end) for end in finding.interval] if finding.interval else None}


def _duration(seconds):
    hours, minutes, seconds = int(seconds // 3600), int(seconds // 60 % 60), seconds % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {math.floor(seconds)} s" if minutes else f"{seconds:.0f} s"
