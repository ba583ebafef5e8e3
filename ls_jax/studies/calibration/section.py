"""The page's section on calibration: Table 3, Figure 2, the error against α, and what they say."""
from markupsafe import Markup

from ls_jax.studies.calibration import plots as calibration_plots
from ls_jax.studies.calibration import tables as calibration_tables
from ls_jax.studies.common import plots
from ls_jax.studies.common import records as results
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, figure, render
from ls_jax.studies.common.shown import Shown


def section(page: Shown) -> Markup:
    """Tables and figures of every held-out split; leaves the figures in a folder. Empty without calibration records."""
    splits = dict.fromkeys(record.split for record in results.select(page.records, study="calibration"))
    return render("studies/calibration/section.html", splits=[_split(page.records, split, page.title, page.figures) for split in splits])


def _split(records, split, title, figures):
    tables = [calibration_tables.table_3(records, split, title), calibration_tables.cells(records, split),
              calibration_tables.scores(records, split)]
    drawn, _ = plots.save(calibration_plots.reliability_diagram(calibration_plots.curves(records, split), f"{split} split"),
                          figures / f"reliability_{split}")
    shown = [figure(drawn, "Reliability: thick lines are all seeds together, thin ones single seeds; bands are 95 % "
                           f"intervals over examples; bins of fewer than {calibration_plots.FEW} examples are hollow.")]
    smoothings = {record.hyper["alpha"] for record in results.select(records, study="calibration", split=split, quantity="ece")
                  if record.hyper}
    if len(smoothings) > 2:
        drawn, _ = plots.save(calibration_plots.error_against_alpha(records, split), figures / f"error_against_alpha_{split}")
        shown.append(figure(drawn, "Points are seeds, lines their means; the band is the debiased error's 95 % "
                                   "interval over examples."))
    return {"split": SPLIT_NAMES[split], "verdict": calibration_tables.summary(records, split),
            "tables": [Table(header, rows, caption) for caption, header, *rows in tables], "figures": shown}
