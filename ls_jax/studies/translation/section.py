"""The page's section on translation: BLEU of every held-out file, Figure 4, and beams."""
from markupsafe import Markup

from ls_jax.studies.common import plots, tables
from ls_jax.studies.common import records as results
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, figure, render
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.translation import plots as translation_plots

SCORES = {"bleu": "BLEU", "uncased bleu": "BLEU, uncased", "chrf": "chrF", "length ratio": "length over the references'"}


def section(page: Shown) -> Markup:
    """Table and figures; leaves the figures in a folder. Empty without translations."""
    records, split, figures = page.records, page.held_out, page.figures
    found = results.select(records, study="translation", temperature=1.0)
    if not results.select(found, quantity="bleu"):
        return Markup()
    scored = [record for record in results.select(found, kind=results.VALUE) if record.quantity in SCORES]
    names = tables.names_of(scored)
    key = lambda record: (f"{record.extra['file']}, {record.extra['sentences']:,} sentences", tables.label(record, names, " = "),
                          str(record.extra["beams"]))
    rows = tables.pivot(scored, key, lambda record: tables.mean_std(record, ".2f"))
    signature = results.select(found, quantity="bleu")[0].extra["signature"]
    table = Table(("sentences", "smoothing", "beams", *SCORES.values()),
                  [(*key, *(cells.get(name, "") for name in SCORES)) for key, cells in sorted(rows.items())],
                  f"Beam search at temperature 1; mean ± standard deviation over seeds. sacrebleu: {signature}")
    drawn, _ = plots.save(translation_plots.temperature(records, split), figures / f"temperature_{split}")
    temperature = figure(drawn, f"{SPLIT_NAMES[split].capitalize()} split. BLEU by beam search at the "
                                "temperature; ECE (15 bins) and NLL of the next token, the correct ones before it "
                                "given. Lines are means over seeds, bands their range.")
    beams = None
    if len({record.extra["beams"] for record in results.select(found, quantity="bleu")}) > 1:
        drawn, _ = plots.save(translation_plots.beams(records, split), figures / f"beams_{split}")
        beams = figure(drawn, "Wider beams find likelier translations, which may be shorter and worse.")
    return render("studies/translation/section.html", table=table, temperature=temperature, beams=beams)
