"""Atomic replacement of all files that a mode writes, so that no report mixes files of two runs."""
import contextlib
import json
import pathlib
import shutil
from collections.abc import Iterator, Sequence

from ls_jax import signals
from ls_jax.workdir import files

NEW = ".new"      # in a workdir: the files being written, or left by a run that was killed
OLD = ".old"      # in NEW: the workdir's files before
MOVES = ".moves"  # in NEW, while files are moved: {"names": all names, "had": those that the workdir had}
RESULTS = ("results.json", "analysis.json", "answer.json", "report.html", "figures", "predictions", "shown", "course",
           "translations")
FIGURES = ("figures",)


@contextlib.contextmanager
def replacing_together(workdir: str | pathlib.Path, names: Sequence[str],
                       primary: bool = True) -> Iterator[pathlib.Path]:
    """A folder to write files to, in a `with` block that holds the workdir's lock.

    At the end of the block the files replace those of the same names in the workdir, and names that were not written
    are removed there. A signal waits until all files are moved. After an exception the workdir is as it was before.
    After the process was killed, the next such block first restores it.

    Args:
        workdir: where the files go.
        names: of files and folders.
        primary: whether this process writes; in other processes nothing happens.
    """
    workdir = pathlib.Path(workdir)
    new = workdir / NEW
    if not primary:
        yield new
        return
    with signals.Hold():
        restore(workdir)
    shutil.rmtree(new, ignore_errors=True)
    (new / OLD).mkdir(parents=True)
    try:
        yield new
        with signals.Hold():
            _move_all(workdir, names)
            shutil.rmtree(new, ignore_errors=True)
    except BaseException:
        with signals.Hold():
            restore(workdir)  # if this fails, everything stays in NEW
            shutil.rmtree(new, ignore_errors=True)
        raise


def restore(workdir: pathlib.Path) -> None:
    """Undo an interrupted move of the files, if there is one."""
    new = workdir / NEW
    if not (new / MOVES).exists():
        return
    moves = json.loads((new / MOVES).read_text(encoding="utf-8"))
    for name in moves["names"]:
        if name not in moves["had"] or (new / OLD / name).exists():
            _remove(workdir / name)
            _move(name, new / OLD, workdir)
    (new / MOVES).unlink()


def _move_all(workdir, names):
    new = workdir / NEW
    had = [name for name in names if (workdir / name).exists()]
    files.write_text(new / MOVES, json.dumps({"names": list(names), "had": had}))
    for name in names:
        _move(name, workdir, new / OLD)
    for name in reversed(names):
        _move(name, new, workdir)
    (new / MOVES).unlink()


def _move(name, source, target):
    if (source / name).exists():
        (source / name).rename(target / name)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
