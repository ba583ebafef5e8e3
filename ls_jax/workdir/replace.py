"""What a mode writes takes the place of all that it wrote before, whole or not at all: no page shows files of two runs."""
import contextlib
import pathlib
import shutil
from collections.abc import Iterator, Sequence

NEW = ".new"  # in a workdir: what is being written, and the remains of a run that was killed meanwhile
RESULTS = ("results.json", "analysis.json", "report.html", "figures", "predictions", "shown", "course", "translations")
FIGURES = ("figures",)


@contextlib.contextmanager
def replacing(workdir: str | pathlib.Path, names: Sequence[str], primary: bool = True) -> Iterator[pathlib.Path]:
    """A folder to write `names` to, instead of the workdir, in a `with` block that holds the workdir's lock.

    At the end of the block they take the places of the workdir's files and folders of these names, and a name that was not written is
    removed there. The first name goes first and comes last: where it is, all belong together. After an exception the workdir is as it was.

    Args:
        workdir: where they go.
        names: of files and folders.
        primary: whether this process writes; in others nothing happens.
    """
    workdir = pathlib.Path(workdir)
    new, old = workdir / NEW, workdir / NEW / ".old"
    if not primary:
        yield new
        return
    shutil.rmtree(new, ignore_errors=True)
    old.mkdir(parents=True)
    try:
        yield new
        for name in names:
            _move(name, workdir, old)
        for name in reversed(names):
            _move(name, new, workdir)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _move(name, source, target):
    if (source / name).exists():
        (source / name).rename(target / name)
