"""The README's tables of results, from the records in results/*/results.json: writes them between its marks.

    python results/table.py
"""
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence

HERE = pathlib.Path(__file__).resolve().parent
README = HERE.parent / "README.md"
sys.path.insert(0, str(HERE.parent))

from ls_jax import reproduce, results  # noqa: E402
from ls_jax.report import overview  # noqa: E402
from ls_jax.studies import claims, distillation_claims, distillation_records, distillation_tables, paper_claims, projection  # noqa: E402

RUNS = {  # folder: (data and network, short, the reported split, Table 2 of the paper)
    "mnist_mlp": ("MNIST, 2 × 1200 units", "MNIST", "test", ""),
    "fashion_mnist_mlp": ("Fashion-MNIST, 2 × 1200 units", "Fashion, units", "test", ""),
    "fashion_mnist_alexnet": ("Fashion-MNIST, AlexNet", "Fashion, AlexNet", "test", ""),
    "cifar10_alexnet": ("CIFAR-10 (JPEG), AlexNet", "CIFAR-10", "validation", "86.8 ± 0.2 → 86.7 ± 0.3"),
}
DISTILLED = {  # folder: (data and networks, short)
    "mnist_distill": ("MNIST, 2 × 1200 to 2 × 800 units", "MNIST"),
    "fashion_mnist_distill": ("Fashion-MNIST, 2 × 1200 to 2 × 100 units", "Fashion, units"),
    "digits_distill": ("digits, 2 × 128 to 16 units", "digits"),
}


def table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A Markdown table."""
    line = lambda cells: "|" + "|".join(cells) + "|"
    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def cell(record: results.Record, scale: float = 1.0, digits: int = 2) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{scale * record['mean']:.{digits}f} ± {scale * record['std']:.{digits}f}"


def accuracy() -> Iterator[tuple[str, ...]]:
    """One row a run: accuracy, NLL and spread ratio without and with smoothing, and the paired difference."""
    for folder, (name, _, split, paper) in RUNS.items():
        records = results.read(HERE / folder)
        pair = lambda study, quantity, **more: [results.select(
            records, study=study, quantity=quantity, split=split, alpha=alpha, **more)[0] for alpha in (0.0, 0.1)]
        accuracy, nll = pair("accuracy", "accuracy"), pair("accuracy", "nll")
        spread = pair("projection", "spread ratio", classes=projection.ALL)
        difference, = results.select(records, study="accuracy", quantity="accuracy difference", split=split, alpha=0.1)
        low, high = difference["interval"]
        yield (f"[{name}]({link(folder)})", f"{split}, {accuracy[0]['examples']:,}", cell(accuracy[0], 100), cell(accuracy[1], 100),
               f"{100 * difference['mean']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]",
               f"{cell(nll[0], digits=3)} → {cell(nll[1], digits=3)}", f"{cell(spread[0])} → {cell(spread[1])}", paper)


def calibration() -> Iterator[tuple[str, ...]]:
    """One row a run and smoothing, in the order of the paper's Table 3: expected calibration error of 15 bins."""
    for folder, (name, _, split, _) in RUNS.items():
        records = [record for record in results.select(results.read(HERE / folder), study="calibration", split=split)
                   if "baseline_alpha" not in record]
        if not records:
            continue  # run before the study was there
        hard = results.select(records, quantity="ece", alpha=0.0)[0]
        regime = results.select(records, quantity="overconfidence", alpha=0.0)[0]
        temperature = results.select(records, quantity="temperature", alpha=0.0)[0]  # the first is fitted on other examples
        scaled = results.select(records, quantity="scaled ece", alpha=0.0)[0]
        smoothed = ", ".join(f"{record['mean']:.3f} / {record['alpha']:g}" for record in results.select(records, quantity="ece")
                             if record["alpha"] > 0)
        yield (f"[{name}]({link(folder)})", split, f"{hard['mean']:.3f}", f"{scaled['mean']:.3f} / {temperature['mean']:.2f}",
               smoothed, f"{regime['mean']:+.3f}, {regime['regime']}")


def verdicts(runs: Sequence[str], names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """One row a claim of the paper and smoothing, with a run's verdict in each column."""
    found = {folder: paper_claims.check(results.read(HERE / folder)) for folder in runs}
    where = lambda finding: (finding["split"] == "train", finding["alpha"], *finding["hyper"].items())
    for name in names:
        findings = [found[folder].get(name, ()) for folder in runs]
        for train, alpha, *hyper in sorted({where(finding) for claimed in findings for finding in claimed}, key=str):
            chosen = [next((finding for finding in claimed if where(finding) == (train, alpha, *hyper)), None) for claimed in findings]
            varied = "".join(f", {field.replace('temperature', 'T')} = {value:g}" for field, value in hyper)
            yield (name, f"{'training' if train else 'held out'}, α = {alpha:g}{varied}",
                   *(verdict(each) if each else "" for each in chosen))


def distillation() -> Iterator[tuple[str, ...]]:
    """One row a network of the MNIST experiment: its test error beside the paper's and the replication's."""
    folder = "mnist_distill"
    if (HERE / folder / "results.json").exists():
        records = results.read(HERE / folder)
        _, _, *rows = distillation_tables.errors(records, distillation_records.held_out(records), mnist=True)
        yield from rows


def paper() -> Iterator[tuple[str, ...]]:
    """One row a table or figure of the paper: what it shows, the experiments that show it here, and the folders with their results."""
    for item, what in overview.PAPER.items():
        names = [experiment.name for experiment in reproduce.PLAN if item in experiment.shows]
        there = [f"[{name}]({link(name)})" for name in names if (HERE / name).exists()]
        yield item, what, ", ".join(there), ", ".join(f"`{name}`" for name in names if not (HERE / name).exists())


def verdict(finding: claims.Finding) -> str:
    """A verdict in a word, with the seeds that would decide it."""
    needed = finding["seeds_needed"]
    return finding["verdict"] + (f" ({needed:,} seeds)" if needed else "")


def link(folder: str) -> str:
    """Where a run's page is, from the README."""
    return f"results/{folder}/README.md"


def tables() -> dict[str, str]:
    """The tables by the names of their marks in the README."""
    distilled = [folder for folder in DISTILLED if (HERE / folder).exists()]
    return {
        "accuracy": table(("run", "split, examples", "accuracy % at α = 0", "at α = 0.1", "difference", "NLL", "spread ratio",
                           "paper, accuracy %"), accuracy()),
        "calibration": table(("run", "split", "hard, T = 1: ECE", "temperature scaling: ECE / T", "label smoothing: ECE / α",
                              "confidence minus accuracy, hard"), calibration()),
        "claims": table(("claim", "where", *(short for _, short, _, _ in RUNS.values())),
                        verdicts(list(RUNS), [name for name in paper_claims.CLAIMS if name not in distillation_claims.CLAIMS])),
        "distillation": table(("network", "error %", "n", "paper, %", "replication, %"), distillation()),
        "distillation claims": table(("claim", "where", *(DISTILLED[folder][1] for folder in distilled)),
                                     verdicts(distilled, distillation_claims.CLAIMS)),
        "paper": table(("in the paper", "what it shows", "measured here", "configured, not yet run"), paper()),
    }


def filled(readme: str) -> str:
    """The README with its tables as the records have them now."""
    for name, content in tables().items():
        fill = lambda mark: f"{mark[1]}{content}\n{mark[2]}"
        readme, count = re.subn(rf"(<!-- {name} -->\n).*?(<!-- end -->)", fill, readme, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"the README needs one mark <!-- {name} -->, followed by <!-- end -->")
    return readme


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
