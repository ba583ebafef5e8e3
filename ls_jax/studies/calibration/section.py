"""The page's section on calibration: a summary, Table 3, Figure 2, and the error against α."""
from markupsafe import Markup

from ls_jax.studies.calibration import plots, tables
from ls_jax.studies.common import records
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, figure, render
from ls_jax.studies.common.plots import save
from ls_jax.studies.common.shown import Shown


def section(page: Shown) -> Markup:
    """Tables and figures of every held-out split; writes the figures to page.figures. Empty without records."""
    splits = dict.fromkeys(record.split for record in records.select(page.records, study="calibration"))
    return render("studies/calibration/section.html",
                  splits=[_split(page.records, split, page.title, page.figures) for split in splits])


def _split(results, split, title, figures):
    texts = [tables.table_3(results, split, title), tables.cells(results, split),
              tables.scores(results, split)]
    if len(compared := tables.differences(results, split)) > 2:
        texts.insert(2, compared)
    drawn, _ = save(plots.reliability_diagram(plots.curves(results, split), f"{split} split"),
                          figures / f"reliability_{split}")
    shown = [
        figure(
            drawn, "Reliability diagram. Thick lines: all seeds together; thin lines: single seeds; bands: 95 % "
            f"intervals over examples. Bins with fewer than {plots.FEW} examples are hollow.")
    ]
    chosen = plots.chosen(results, split)
    if all("smooth" in record.extra for record in chosen.values()):  # files of earlier versions have none
        drawn, _ = save(plots.smooth_diagram(chosen, f"{split} split"), figures / f"smooth_reliability_{split}")
        shown.append(figure(
            drawn,
            "The same without bins, smoothed by a kernel whose bandwidth is the smooth ECE (Błasiok and Nakkiran): the "
            "worse a network is calibrated, the wider the kernel. Lines: "
            "means over seeds; bands: 95 % intervals at each confidence, for new seeds and new examples."))
    smoothings = {
        record.hyper["alpha"] for record in records.select(results, study="calibration", split=split, quantity="ece")
        if record.hyper
    }
    if len(smoothings) > 2:
        drawn, _ = save(plots.error_against_alpha(results, split), figures / f"error_against_alpha_{split}")
        shown.append(
            figure(
                drawn, "Points are seeds, lines their means. The band is the debiased error's 95 % interval "
                "over examples."))
    return {"split": SPLIT_NAMES[split], "verdict": tables.summary(results, split),
            "tables": [Table(header, rows, caption) for caption, header, *rows in texts], "figures": shown}
