"""Writes report.html: one self-contained file with a run's settings and results, readable offline."""
import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections
from markupsafe import Markup

from ls_jax import data, paper
from ls_jax.errors import UserError
from ls_jax.report import answer, contents, sections
from ls_jax.studies import registry
from ls_jax.studies.common import plots, records
from ls_jax.studies.common.markup import figure, render
from ls_jax.studies.common.shown import Shown
from ls_jax.training import sweep
from ls_jax.workdir import files, lock, log, manifest, replace


def write(workdirs: pathlib.Path | Sequence[pathlib.Path], dataset: Any = None, page: pathlib.Path | None = None,
          opening: Markup | None = None, say: Callable[[str], None] = lambda stage: None) -> pathlib.Path:
    """Draw the figures and write report.html from the workdirs' files; returns the page's path.

    Several workdirs share one page, the first one's report_together.html or `page`; each keeps its own figures. Each
    gets its own answer.json.

    Args:
        workdirs: folders of experiments or analyses.
        dataset: the data set of a single workdir, for the explorer's pictures; None: it is loaded if available.
        page: the file to write; None: in the first workdir.
        opening: HTML from a template, shown before the first run. The runs then have the ids run0, run1, ...
        say: is told what is being drawn.

    Raises:
        UserError: a workdir holds no results, or a damaged file.
    """
    workdirs = [workdirs] if isinstance(workdirs, pathlib.Path) else list(
        {workdir.resolve(): workdir for workdir in workdirs}.values())
    for workdir in workdirs:
        _check(workdir)
    page = page or workdirs[0] / ("report_together.html" if len(workdirs) > 1 or opening is not None else "report.html")
    with lock.held(*workdirs), contextlib.ExitStack() as stack:
        figures = [
            stack.enter_context(replace.replacing_together(workdir, replace.FIGURES)) / "figures"
            for workdir in workdirs
        ]
        runs = [load(workdir, dataset) for workdir in workdirs]
        answers = {run.workdir: answer.of(run.records) for run in runs}
        files.write_text(page, _page(runs, figures, opening, answers, say))
        for workdir, each in answers.items():
            log.write_json(workdir / answer.FILE, each.as_json())
    return page


def _page(runs, figures, opening, answers, say):
    together = len(runs) > 1 or opening is not None
    compared = answer.together({run.workdir.name: answers[run.workdir] for run in runs}) if len(runs) > 1 else None
    subtitle = f"{len(runs)} experiments" if together else ""
    shown = []
    for place, (run, where) in enumerate(zip(runs, figures)):
        body = body_of(dataclasses.replace(run, figures=where, share=1 / len(runs)), say)
        html, entries = contents.numbered(Markup("\n").join([answers[run.workdir].box(), *body]), f"run{place}")
        shown.append({"name": run.workdir.name, "title": run.title, "subtitle": run.subtitle, "sections": html,
                      "contents": entries})
    return render("report/templates/page.html", title="; ".join(run.title for run in runs), subtitle=subtitle,
                  together=together, opening=opening, answers=compared, runs=shown)


def load(workdir: pathlib.Path, dataset: Any = None) -> Shown:
    """A workdir's contents, as the sections need them.

    Raises:
        UserError: it holds no results, or a damaged file.
    """
    _check(workdir)
    results = records.read(workdir)
    if (workdir / "analysis.json").exists():
        analysis = files.read_json(workdir / "analysis.json", dict, "write it anew with --mode=analyze")
        subtitle = f"{analysis['examples']:,} examples of {analysis['classes']:,} classes"
        held_out = "test" if any(record.split == "test" for record in results) else "validation"
        return Shown(workdir, workdir / "figures", analysis["file"], subtitle, results,
                     analysis.get("networks", [{}]), held_out, analysis=analysis)
    config = files.read_whole_config(workdir / "config.json")
    rows = sweep.members(ml_collections.ConfigDict(config))
    subtitle = f"{_members(config, rows)}, {sections.steps_taken(config, results)} at batch {config['batch_size']}"
    return Shown(workdir, workdir / "figures", f"{config['data']['name']}, {config['model']['name']}", subtitle,
                 results, rows, config["evaluate"]["split"], config, dataset=dataset or _dataset(config))


def _members(config, rows):
    """The number of networks in words: "2 smoothings × 3 seeds", or "arms" where more than smoothing varies."""
    if config.get("distill"):
        return f"{len(rows)} students in {len({row['student'] for row in rows})} groups"
    hypers = [records.hyper(row) for row in rows]
    arms = "arms" if records.others(hypers) else "smoothings"
    return f"{len({records.key(hyper) for hyper in hypers})} {arms} × {len({row['seed'] for row in rows})} seeds"


def _check(workdir):
    if not (workdir / "results.json").exists():
        raise UserError(f"{workdir} holds no results.json to report: run the experiment first (--mode=run)")


def body_of(run: Shown, say: Callable[[str], None] = lambda stage: None) -> list[Markup]:
    """The sections of one workdir: what was run, the first study, the claims, the other studies, learning curves."""
    about = sections.analysis_facts(run.analysis) if run.analysis is not None else sections.facts(
        run.config, _manifest(run), run.records)
    drawn = []
    for study, section in registry.papers_first("section").items():
        say(f"drawing: {study.name}")
        drawn.append(section(run))
    first, *others = drawn
    return [about, first, sections.claims_section(run.records, _experiment(run)), *others, _learning_curves(run)]


def _experiment(run):
    """The experiment of the paper that the run is, if any: it says which claims are primary."""
    return None if run.config is None else paper.key(run.config)


def _manifest(run):
    sessions = manifest.read(run.workdir)
    return {"sessions": sessions} if sessions else None


def _learning_curves(run):
    rows = log.read_metrics(run.workdir)
    if not rows:
        return Markup()
    names = ("student",) if "student" in rows[0] else records.varying([records.hyper(row) for row in run.rows])
    drawn, _ = plots.save(plots.learning_curves(rows, run.held_out, names), run.figures / "learning_curves")
    return render("report/templates/learning_curves.html", figure=figure(
        drawn, "Thin lines: members. Thick lines: their mean over seeds."))


def _dataset(config):
    if config["data"].get("vocabulary"):  # text has no pictures
        return None
    try:
        return data.load(ml_collections.ConfigDict(config["data"]))
    except UserError:  # a report can be written without the data
        return None
