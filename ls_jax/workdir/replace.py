"""What a mode writes takes the place of all that it wrote before, whole or not at all: no page shows files of two runs."""
import contextlib
import json
import pathlib
import shutil
from collections.abc import Iterator, Sequence

from ls_jax import signals
from ls_jax.workdir import files

NEW = ".new"      # in a workdir: what is being written, and the remains of a run that was killed meanwhile
OLD = ".old"      # in NEW: what the workdir had
MOVES = ".moves"  # in NEW, while files are moved: {"names": all names, "had": those that the workdir had}
RESULTS = ("results.json", "analysis.json", "report.html", "figures", "predictions", "shown", "course", "translations")
FIGURES = ("figures",)


@contextlib.contextmanager
def replacing_together(workdir: str | pathlib.Path, names: Sequence[str], primary: bool = True) -> Iterator[pathlib.Path]:
    """A folder to write `names` to, instead of the workdir, in a `with` block that holds the workdir's lock.

    At the end of the block they take the places of the workdir's files and folders of these names, and a name that was not written is
    removed there. A signal waits until all are moved. After an exception, in the block or while they are moved, the workdir is as it
    was; after the process was killed, the next such block first makes it so.

    Args:
        workdir: where they go.
        names: of files and folders.
        primary: whether this process writes; in others nothing happens.
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
            restore(workdir)  # where that fails, all stays in NEW
            shutil.rmtree(new, ignore_errors=True)
        raise


def restore(workdir: pathlib.Path) -> None:
    """Put back what the workdir had before a move of all names that did not come to its end, if there is one."""
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
