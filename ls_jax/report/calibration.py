"""The report's section on calibration: Table 3, Figure 2, the error against α, and what they say."""
import html
import pathlib
from collections.abc import Sequence

from ls_jax.report import sections
from ls_jax.studies.calibration import plots as calibration_plots
from ls_jax.studies.calibration import tables as calibration_tables
from ls_jax.studies.common import plots
from ls_jax.studies.common import records as results


def section(records: Sequence[results.Record], title: str, figures: pathlib.Path) -> str:
    """Tables and figures of every held-out split; leaves the figures in a folder. Empty without calibration records."""
    splits = dict.fromkeys(record.split for record in results.select(records, study="calibration"))
    return "".join(_split(records, split, title, figures) for split in splits)


def _split(records, split, title, figures):
    caption, header, *rows = calibration_tables.table_3(records, split, title)
    parts = [f"<h3>Calibration, {sections.SPLIT_NAMES[split]} split (Table 3 and Figure 2)</h3>",
             f"<p>{html.escape(calibration_tables.verdict(records, split))}</p>", sections.table(header, rows, caption)]
    for caption, header, *rows in (calibration_tables.cells(records, split), calibration_tables.scores(records, split)):
        parts.append(sections.table(header, rows, caption))
    drawn, _ = plots.save(calibration_plots.reliability_diagram(calibration_plots.curves(records, split), f"{split} split"),
                          figures / f"reliability_{split}")
    parts.append(sections.figure(drawn, "Reliability: thick lines are all seeds together, thin ones single seeds; bands are 95 % "
                                        f"intervals over examples; bins of fewer than {calibration_plots.FEW} examples are hollow."))
    smoothings = {record.hyper["alpha"] for record in results.select(records, study="calibration", split=split, quantity="ece")
                  if record.hyper}
    if len(smoothings) > 2:
        drawn, _ = plots.save(calibration_plots.error_against_alpha(records, split), figures / f"error_against_alpha_{split}")
        parts.append(sections.figure(drawn, "Points are seeds, lines their means; the band is the debiased error's 95 % interval over "
                                            "examples."))
    return "".join(parts)
