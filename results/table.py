"""The README's table of results, as Markdown, from the records in results/*/results.json.

    python results/table.py
"""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from ls_jax import results  # noqa: E402
from ls_jax.studies import claims, paper_claims, projection  # noqa: E402

RUNS = {  # folder: (network and data, the reported split, Table 2 of the paper)
    "mnist_mlp": ("MNIST, 2 × 1200 units", "test", ""),
    "fashion_mnist_alexnet": ("Fashion-MNIST, AlexNet", "test", ""),
    "cifar10_alexnet": ("CIFAR-10 (JPEG), AlexNet", "validation", "86.8 ± 0.2 → 86.7 ± 0.3"),
}


def cell(record, scale=1.0, digits=2):
    return f"{scale * record['mean']:.{digits}f} ± {scale * record['std']:.{digits}f}"


def rows():
    """One row a run: accuracy, NLL and spread ratio without and with smoothing, and the paired difference."""
    for folder, (name, split, paper) in RUNS.items():
        records = results.read(HERE / folder)
        pair = lambda study, quantity, **more: [results.select(
            records, study=study, quantity=quantity, split=split, alpha=alpha, **more)[0] for alpha in (0.0, 0.1)]
        accuracy, nll = pair("accuracy", "accuracy"), pair("accuracy", "nll")
        spread = pair("projection", "spread ratio", classes=projection.ALL)
        difference, = results.select(records, study="accuracy", quantity="accuracy difference", split=split, alpha=0.1)
        low, high = difference["interval"]
        yield (f"[{name}]({folder}/README.md)", f"{split}, {accuracy[0]['examples']:,}", cell(accuracy[0], 100), cell(accuracy[1], 100),
               f"{100 * difference['mean']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]",
               f"{cell(nll[0], digits=3)} → {cell(nll[1], digits=3)}", f"{cell(spread[0])} → {cell(spread[1])}", paper)


def verdicts(folder):
    """A line per claim of the paper that a run says anything about."""
    for name, findings in paper_claims.check(results.read(HERE / folder)).items():
        for finding in findings:
            yield f"- {name} ({finding['split']}): {claims.sentence(finding)}"


def main():
    header = ("run", "split, examples", "accuracy % at α = 0", "at α = 0.1", "difference", "NLL", "spread ratio", "paper, accuracy %")
    print("|" + "|".join(header) + "|\n|" + "---|" * len(header))
    for row in rows():
        print("|" + "|".join(row) + "|")
    for folder in RUNS:
        print(f"\n{folder}:\n" + "\n".join(verdicts(folder)))


if __name__ == "__main__":
    main()
