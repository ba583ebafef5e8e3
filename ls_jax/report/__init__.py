"""report.html: one self-contained file that shows what was run and what came out; no network needed to read it."""
import contextlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
from markupsafe import Markup

from ls_jax import data
from ls_jax.errors import UserError
from ls_jax.report import calibration, distillation, explorer, representation, sections, translation
from ls_jax.report.markup import figure, render
from ls_jax.studies import projection
from ls_jax.studies.common import plots, triples
from ls_jax.studies.common import records as results
from ls_jax.studies.projection import plots as projection_plot
from ls_jax.training import sweep
from ls_jax.workdir import files, lock, log, manifest, predictions, replace


class Run(NamedTuple):
    """What the report knows of a workdir: an experiment, or the analysis of a file of predictions (config is None)."""
    workdir: pathlib.Path
    title: str
    subtitle: str
    about: Markup                       # what was run
    config: Mapping[str, Any] | None
    records: Sequence[results.Record]
    rows: Sequence[Mapping[str, Any]]   # the members' hyper-parameters
    held_out: str
    triples: Sequence[triples.Triple]
    dataset: Any                        # a data.Dataset for its pictures, or None


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
              "sections": body_of(run, figures[i], 1 / len(runs))} for i, run in enumerate(runs)]
    return render("page.html", title="; ".join(run.title for run in runs), subtitle=subtitle, together=together,
                  opening=opening, runs=shown)


def load(workdir: pathlib.Path, dataset: Any = None) -> Run:
    """Read what a workdir holds.

    Raises:
        UserError: it holds no results, or a damaged file.
    """
    _check(workdir)
    records = results.read(workdir)
    if (workdir / "analysis.json").exists():
        analysis = files.read_json(workdir / "analysis.json", dict, "write it anew with --mode=analyze")
        return Run(workdir, analysis["file"], f"{analysis['examples']:,} examples of {analysis['classes']:,} classes",
                   sections.analysis_facts(analysis), None, records, [{}], "test", [tuple(t) for t in analysis["triples"]], None)
    config = files.read_config(workdir / "config.json")
    rows = sweep.members(ml_collections.ConfigDict(config))
    dataset = dataset or _dataset(config)
    subtitle = f"{_members(config, rows)}, {sections.steps_taken(config, records)} at batch {config['batch_size']}"
    sessions = manifest.read(workdir)
    about = sections.facts(config, {"sessions": sessions} if sessions else None, records)
    return Run(workdir, f"{config['data']['name']}, {config['model']['name']}", subtitle, about, config, records, rows,
               config["evaluate"]["split"], _triples(config, workdir, len(rows)), dataset)


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


def body_of(run: Run, figures: pathlib.Path, share: float = 1.0) -> list[Markup]:
    """The sections about one workdir, whose figures go to a folder; `share` is its part of the page's size."""
    parts = [run.about]
    for split in (run.held_out, *(split for split in ("test", "train") if split != run.held_out)):
        if results.select(run.records, study="accuracy", split=split):
            parts.append(sections.accuracy_table(run.records, split, run.config, run.held_out))
    parts += [sections.claims_section(run.records), _projection(run, figures, share), calibration.section(run.records, run.title, figures),
              translation.section(run.records, run.held_out, figures),
              distillation.section(run.records, run.config, figures), representation.section(run.records, figures)]
    rows = log.read_metrics(run.workdir)
    if rows:
        names = ("student",) if "student" in rows[0] else results.varying([results.hyper(row) for row in run.rows])
        drawn, _ = plots.save(plots.learning_curves(rows, run.held_out, names), figures / "learning_curves")
        caption = "Thin lines are members, thick ones their mean over seeds."
        parts.append(render("learning_curves.html", figure=figure(drawn, caption)))
    return parts


def _projection(run, figures, share):
    found = [projection_plot.row(run.workdir, run.rows, triple, run.held_out, run.title) for triple in run.triples]
    found = [row for row in found if row]
    embedded = explorer.data(run.workdir, run.rows, run.triples, run.dataset, share) if run.triples else None
    if not found and not embedded:
        return Markup()
    of_text = run.config is not None and run.config["data"].get("vocabulary")
    shown = None
    if found:
        drawn, _ = plots.save(projection_plot.figure(found), figures / "projection")
        seed = run.rows[projection_plot.chosen_members(run.workdir, run.rows, run.held_out)[0]].get("seed")
        shown = figure(drawn, f"At most {projection.EXAMPLES} examples a class on the plane through the three classes' "
                              "templates (bias included); axes are shared by each pair of columns"
                              f"{'' if seed is None else f'; seed {seed}'}.")
    return render("projection.html", number=7 if of_text else 1, figure=shown, data=embedded,
                  table=sections.projection_table(run.records))


def _dataset(config):
    if config["data"].get("vocabulary"):  # no pictures
        return None
    try:
        return data.load(ml_collections.ConfigDict(config["data"]))
    except UserError:  # a report can be written where the data is not
        return None


def _triples(config, workdir, members):
    if config.get("distill"):  # the projections of its teachers are in their reports
        return []
    for _, _, arrays in predictions.every(workdir, members):
        return triples.resolve(config.get("projection", {}).get("classes", ()), config["data"]["name"],
                               [str(name) for name in arrays["class_names"]])
    return []
