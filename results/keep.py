"""Keep a finished run in this folder: its own files, its figures, and its held-out predictions in compact form.

    python results/keep.py runs/mnist_mlp [NAME]

NAME is the folder here; without it, the workdir's. What is written is what `ls_jax.workdir.compact` describes. Teachers
that were trained in the workdir are kept in NAME/teachers. A final checkpoint of less than 4 MiB is kept too.
"""
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from ls_jax.errors import UserError  # noqa: E402
from ls_jax.studies.common import records  # noqa: E402
from ls_jax.workdir import compact  # noqa: E402
from ls_jax.workdir.checkpoint import Checkpoints  # noqa: E402

FILES = ("config.json", "manifest.json", "metrics.jsonl", "results.json")
SMALL = 4 << 20  # bytes of a checkpoint that is kept


def keep(workdir: pathlib.Path, folder: pathlib.Path) -> None:
    """Copy one run, and its teachers.

    Raises:
        UserError: the run has no results, or its training is not at its end.
    """
    if not records.final(workdir):
        raise UserError(f"{workdir} holds no results of a finished training")
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (workdir / name).exists():
            shutil.copyfile(workdir / name, folder / name)
    for name in ("figures", "predictions", "checkpoint"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for figure in (workdir / "figures").glob("*.png"):
        (folder / "figures").mkdir(exist_ok=True)
        for path in (figure, figure.with_suffix(".json")):
            if path.exists():
                shutil.copyfile(path, folder / "figures" / path.name)
    kept = compact.keep(workdir, folder / "predictions")
    last = max(Checkpoints(workdir).steps(), default=None)
    if last is not None:
        source = Checkpoints(workdir).directory / str(last)
        if sum(file.stat().st_size for file in source.rglob("*") if file.is_file()) <= SMALL:
            shutil.copytree(source, folder / "checkpoint")
    print(f"{folder}: {len(kept)} files of predictions, {sum(path.stat().st_size for path in kept) / 2 ** 20:.1f} MiB")
    for teacher in sorted((workdir / "teachers").glob("*")):
        keep(teacher, folder / "teachers" / teacher.name)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    source = pathlib.Path(sys.argv[1])
    try:
        keep(source, HERE / (sys.argv[2] if len(sys.argv) == 3 else source.resolve().name))
    except UserError as error:
        sys.exit(f"results/keep.py: {error}")
