"""report.html: one self-contained file that shows what was run and what came out."""
import base64
import html
import json
import pathlib
from typing import Any

from ls_jax import log, results
from ls_jax.studies import accuracy, plots

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
 :root {{ color-scheme: light; --ink: #1b1f24; --soft: #5b6570; --line: #d9dee3; }}
 body {{ font: 16px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }}
 h1 {{ font-size: 1.6rem; margin-bottom: .2rem; }} h2 {{ font-size: 1.2rem; margin-top: 2.2rem; }}
 .soft {{ color: var(--soft); }} img {{ max-width: 100%; }}
 .wide {{ overflow-x: auto; }}
 table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
 th, td {{ text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }}
 th {{ font-weight: 600; }} caption {{ text-align: left; color: var(--soft); padding-bottom: .4rem; }}
 details pre {{ background: #f5f7f9; padding: 1rem; overflow-x: auto; font-size: .8rem; }}
</style></head><body>
<h1>{title}</h1>
<p class="soft">{subtitle}</p>
{body}
</body></html>
"""


def write(workdir: pathlib.Path) -> pathlib.Path:
    """Draw the figures and write report.html from the workdir's files; returns its path."""
    config = json.loads((workdir / "config.json").read_text())
    records = results.read(workdir)
    rows = log.read_metrics(workdir)
    held_out = config["evaluate"]["split"]
    sections = [_table(records, split) for split in ("validation", "test", "train") if results.select(records, split=split)]
    if rows:
        figure, _ = plots.save(plots.learning_curves(rows, held_out), workdir / "figures" / "learning_curves")
        sections.append("<h2>Learning curves</h2>" + _image(figure, "Mean over seeds; the band is their range."))
    sections.append(_details("Config", config))
    manifest = workdir / "manifest.json"
    if manifest.exists():
        sections.append(_details("Manifest: versions, commit, hardware, time", json.loads(manifest.read_text())))
    title = f"When does label smoothing help? {config['data']['name']}, {config['model']['name']}"
    members = len(config["sweep"]["alpha"]), len(config["sweep"]["seed"])
    subtitle = f"{members[0]} smoothings × {members[1]} seeds, {config['steps']:,} steps at batch {config['batch_size']}"
    path = workdir / "report.html"
    path.write_text(PAGE.format(title=html.escape(title), subtitle=html.escape(subtitle), body="\n".join(sections)))
    return path


def _table(records, split):
    caption, header, *rows = accuracy.cells(records, split)
    cell = lambda tag, values: "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values)
    body = "".join(f"<tr>{cell('td', row)}</tr>" for row in rows)
    return (f"<h2>Accuracy, {split} split</h2><div class='wide'><table><caption>{html.escape(caption)}</caption>"
            f"<tr>{cell('th', header)}</tr>{body}</table></div>")


def _image(path: pathlib.Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f"<figure><img alt='{html.escape(caption)}' src='data:image/png;base64,{data}'><figcaption class='soft'>{caption}</figcaption></figure>"


def _details(title: str, content: Any) -> str:
    return f"<details><summary>{title}</summary><pre>{html.escape(json.dumps(content, indent=1))}</pre></details>"
