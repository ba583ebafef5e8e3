"""Draw the figures of the kept runs anew from their records and metrics, after a figure has changed.

    python results/figures.py [NAME ...]

Beside each figure stands what it draws, as JSON; a test compares the two. Projections stay as the run drew them: they
need features, which are too large to keep.
"""
import dataclasses
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from ls_jax import report  # noqa: E402

FILES = ("config.json", "manifest.json", "metrics.jsonl", "results.json")  # that figures are drawn from


def draw(folder: pathlib.Path, figures: pathlib.Path) -> list[str]:
    """Draw those figures of a kept run that it has already, into another folder; their names."""
    with tempfile.TemporaryDirectory() as workdir:
        for name in FILES:
            if (folder / name).exists():
                shutil.copyfile(folder / name, pathlib.Path(workdir) / name)
        report.body_of(dataclasses.replace(report.load(pathlib.Path(workdir)), figures=figures))
    return sorted(path.stem for path in figures.glob("*.png") if (folder / "figures" / path.name).exists())


def redraw(folder: pathlib.Path) -> list[str]:
    """Replace the figures of a kept run; the names of those that could be drawn."""
    with tempfile.TemporaryDirectory() as scratch:
        names = draw(folder, figures := pathlib.Path(scratch))
        for name in names:
            for suffix in (".png", ".json"):
                shutil.copyfile(figures / f"{name}{suffix}", folder / "figures" / f"{name}{suffix}")
    return names


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.parent.name for path in HERE.glob("*/results.json")):
        names = redraw(HERE / name)
        left = {path.stem for path in (HERE / name / "figures").glob("*.png")} - {*names}
        print(f"{name}: {', '.join(names) or 'nothing'} drawn anew"
              + (f"; {', '.join(sorted(left))} as the run drew them" if left else ""))
