"""report.html: one self-contained file that shows what was run and what came out; no network needed to read it."""
import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections
from markupsafe import Markup

from ls_jax import data
from ls_jax.errors import UserError
from ls_jax.report import sections
from ls_jax.studies import registry
from ls_jax.studies.common import plots
from ls_jax.studies.common import records as results
from ls_jax.studies.common.markup import figure, render
from ls_jax.studies.common.shown import Shown
from ls_jax.training import sweep
from ls_jax.workdir import files, lock, log, manifest, replace


def write(workdirs: pathlib.Path | Sequence[pathlib.Path], dataset: Any = None, page: pathlib.Path | None = None,
          opening: Markup | None = None) -> pathlib.Path:
    """Draw the figures and write report.html from the workdirs' files; returns its path.

    Of several workdirs each keeps its figures, and the one page about all is the first's report_together.html, or `page`.

    Args:
        workdirs: where experiments or analyses are.
        dataset: the data set of a single workdir, for the pictures in the explorer; None: it is loaded if it is at hand.
        page: where to write, instead.
        opening: a template's HTML that comes before the first run's sections; where there is one, they have the ids
            run0, run1, ...
    """
    workdirs = [workdirs] if isinstance(workdirs, pathlib.Path) else list({workdir.resolve(): workdir for workdir in workdirs}.values())
    for workdir in workdirs:
        _check(workdir)
    page = page or workdirs[0] / ("report_together.html" if len(workdirs) > 1 or opening is not None else "report.html")
    with lock.held(*workdirs), contextlib.ExitStack() as stack:
        figures = [stack.enter_context(replace.replacing_together(workdir, replace.FIGURES)) / "figures" for workdir in workdirs]
        files.write_text(page, _page([load(workdir, dataset) for workdir in workdirs], figures, opening))
    return page


def _page(runs, figures, opening):
    together = len(runs) > 1 or opening is not None
    subtitle = f"{len(runs)} experiments" if together else f"{runs[0].title}: {runs[0].subtitle}"
    shown = [{"name": run.workdir.name, "title": run.title, "subtitle": run.subtitle,
              "sections": body_of(dataclasses.replace(run, figures=where, share=1 / len(runs)))} for run, where in zip(runs, figures)]
    return render("report/templates/page.html", title="; ".join(run.title for run in runs), subtitle=subtitle, together=together,
                  opening=opening, runs=shown)


def load(workdir: pathlib.Path, dataset: Any = None) -> Shown:
    """Read what a workdir holds.

    Raises:
        UserError: it holds no results, or a damaged file.
    """
    _check(workdir)
    records = results.read(workdir)
    if (workdir / "analysis.json").exists():
        analysis = files.read_json(workdir / "analysis.json", dict, "write it anew with --mode=analyze")
        subtitle = f"{analysis['examples']:,} examples of {analysis['classes']:,} classes"
        return Shown(workdir, workdir / "figures", analysis["file"], subtitle, records, [{}], "test", analysis=analysis)
    config = files.read_config(workdir / "config.json")
    rows = sweep.members(ml_collections.ConfigDict(config))
    subtitle = f"{_members(config, rows)}, {sections.steps_taken(config, records)} at batch {config['batch_size']}"
    return Shown(workdir, workdir / "figures", f"{config['data']['name']}, {config['model']['name']}", subtitle, records, rows,
                 config["evaluate"]["split"], config, dataset=dataset or _dataset(config))


def _members(config, rows):
    """How many networks there are, in words: "2 smoothings × 3 seeds", or arms where more than smoothing varies."""
    if config.get("distill"):
        return f"{len(rows)} students in {len({row['student'] for row in rows})} groups"
    hypers = [results.hyper(row) for row in rows]
    arms = "arms" if results.others(hypers) else "smoothings"
    return f"{len({results.key(hyper) for hyper in hypers})} {arms} × {len({row['seed'] for row in rows})} seeds"


def _check(workdir):
    if not (workdir / "results.json").exists():
        raise UserError(f"{workdir} holds no results.json to report: run the experiment first (--mode=run)")


def body_of(run: Shown) -> list[Markup]:
    """The sections about one workdir: what was run, the first study and the claims, which all else is read beside, the other studies."""
    about = sections.analysis_facts(run.analysis) if run.analysis is not None else sections.facts(run.config, _manifest(run), run.records)
    first, *others = (section(run) for section in registry.papers_first("section").values())
    return [about, first, sections.claims_section(run.records), *others, _learning_curves(run)]


def _manifest(run):
    sessions = manifest.read(run.workdir)
    return {"sessions": sessions} if sessions else None


def _learning_curves(run):
    rows = log.read_metrics(run.workdir)
    if not rows:
        return Markup()
    names = ("student",) if "student" in rows[0] else results.varying([results.hyper(row) for row in run.rows])
    drawn, _ = plots.save(plots.learning_curves(rows, run.held_out, names), run.figures / "learning_curves")
    return render("report/templates/learning_curves.html", figure=figure(
        drawn, "Thin lines are members, thick ones their mean over seeds."))


def _dataset(config):
    if config["data"].get("vocabulary"):  # no pictures
        return None
    try:
        return data.load(ml_collections.ConfigDict(config["data"]))
    except UserError:  # a report can be written where the data is not
        return None
