"""The page's section on translation: BLEU of every held-out file, Figure 4, and beam widths."""
from markupsafe import Markup

from ls_jax.studies.common import records, tables
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, figure, render
from ls_jax.studies.common.plots import save
from ls_jax.studies.common.shown import Shown
from ls_jax.studies.translation import plots

SCORES = {
    "bleu": "BLEU", "uncased bleu": "BLEU, uncased", "chrf": "chrF", "length ratio": "length ratio to the references"
}


def section(page: Shown) -> Markup:
    """Table and figures; writes the figures to page.figures. Empty without translations."""
    results, split, figures = page.records, page.held_out, page.figures
    found = records.select(results, study="translation", temperature=1.0)
    if not records.select(found, quantity="bleu"):
        return Markup()
    scored = [record for record in records.select(found, kind=records.VALUE) if record.quantity in SCORES]
    names = tables.names_of(scored)

    def place(record: records.Record) -> tuple[str, str, str]:
        return (f"{record.extra['file']}, {record.extra['sentences']:,} sentences", tables.label(record, names, " = "),
                str(record.extra["beams"]))

    rows = tables.pivot(scored, place, lambda record: tables.mean_std(record, ".2f"))
    signature = records.select(found, quantity="bleu")[0].extra["signature"]
    table = Table(("sentences", "smoothing", "beam width", *SCORES.values()),
                  [(*where, *(cells.get(name, "") for name in SCORES)) for where, cells in sorted(rows.items())],
                  f"Beam search at temperature 1; mean ± standard deviation over seeds. sacrebleu: {signature}")
    drawn, _ = save(plots.temperature(results, split), figures / f"temperature_{split}")
    temperature = figure(
        drawn, f"{SPLIT_NAMES[split].capitalize()} split. BLEU by beam search at each "
        "temperature. ECE (15 bins) and NLL of the next token, given the correct prefix. Lines are "
        "means over seeds, bands their range.")
    beams = None
    if len({record.extra["beams"] for record in records.select(found, quantity="bleu")}) > 1:
        drawn, _ = save(plots.beams(results, split), figures / f"beams_{split}")
        beams = figure(drawn, "Wider beams find likelier translations, which may be shorter and worse.")
    return render("studies/translation/section.html", table=table, temperature=temperature, beams=beams)
