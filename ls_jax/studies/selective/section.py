"""The page's section on selective classification: measures, differences, and the risk-coverage figure."""
from markupsafe import Markup

from ls_jax.studies.common import records
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, figure, render
from ls_jax.studies.common.plots import save
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.selective import plots, tables


def section(page: Shown) -> Markup:
    """Tables and a figure of every held-out split; writes the figures to page.figures. Empty without records."""
    splits = dict.fromkeys(record.split for record in records.select(page.records, study="selective"))
    return render("studies/selective/section.html",
                  splits=[_split(page.records, split, page.figures) for split in splits])


def _split(results, split, figures):
    texts = [tables.values(results, split), tables.differences(results, split), tables.change(results, split)]
    drawn, _ = save(plots.risk_coverage(results, split), figures / f"risk_coverage_{split}")
    shown = figure(drawn,
                   "Risk against coverage. Lines: means over seeds; bands: 95 % intervals at each coverage, for new "
                   "seeds and new examples. Dotted: 80 % coverage, and 5 % risk where the axis reaches it.")
    return {"split": SPLIT_NAMES[split], "figure": shown,
            "tables": [Table(header, rows, caption) for caption, header, *rows in texts if rows]}
