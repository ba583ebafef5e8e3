"""The tables of docs/ and of the pages here, from the records in results/*/results.json, between their marks.

Numbers with a record's key behind them are refreshed too: see quotes.py.

    python results/table.py
"""
import functools
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import quotes  # noqa: E402

from ls_jax import paper as paper_numbers  # noqa: E402
from ls_jax.modes import reproduce  # noqa: E402
from ls_jax.paper import ACCURACY, BLEU, CALIBRATION  # noqa: E402
from ls_jax.report import overview  # noqa: E402
from ls_jax.studies import projection, registry  # noqa: E402
from ls_jax.studies.common import claims, records, tables  # noqa: E402
from ls_jax.studies.distillation import tables as distillation_tables  # noqa: E402
from ls_jax.studies.rivals import tables as rival_tables  # noqa: E402
from ls_jax.workdir import files  # noqa: E402

RUNS = {  # folder: (data and network, short, the reported split, Table 2 of the paper)
    "digits_mlp": ("digits, 2 × 128 units", "digits", "test", ""),
    "mnist_mlp": ("MNIST, 2 × 1200 units", "MNIST", "test", ""),
    "fashion_mnist_mlp": ("Fashion-MNIST, 2 × 1200 units", "Fashion, units", "test", ""),
    "fashion_mnist_alexnet": ("Fashion-MNIST, AlexNet", "Fashion, AlexNet", "test", ""),
    "cifar10_fast": ("CIFAR-10 (JPEG), fast network", "CIFAR-10, fast", "validation", ""),
    "cifar10_resnet20": ("CIFAR-10 (JPEG), ResNet-20, 20 epochs", "CIFAR-10, ResNet", "validation", ""),
    "cifar10_alexnet_small_data": ("CIFAR-10 (JPEG), AlexNet, 5,000 images", "CIFAR-10, few", "validation", ""),
    "cifar10_alexnet": ("CIFAR-10 (JPEG), AlexNet, 50 epochs", "CIFAR-10", "validation",
                        " → ".join(map(str, ACCURACY["cifar10", "alexnet"].values()))),
}
RIVALS = ("rivals_digits", "rivals_fashion", "rivals_cifar10")
WMT = "wmt14_translate/de-en", "transformer"
TRANSLATION = "multi30k_transformer"
OTHERS = {  # folder: short
    TRANSLATION: "Multi30k",
    "mnist_distill": "MNIST",
    "fashion_mnist_distill": "Fashion, students",
    "digits_distill": "digits, students",
    "mnist_noise": "MNIST, noisy",
    "mnist_noise_distill": "MNIST, noisy",
}
VERDICTS = ("holds", "fails", "undecided", claims.NOT_JUDGED)


def table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A Markdown table."""
    line = lambda cells: "|" + "|".join(cells) + "|"
    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def only(results: Sequence[records.Record]) -> records.Record:
    """The one record that there is.

    Raises:
        ValueError: there are several, or none.
    """
    record, = results
    return record


def accuracy() -> Iterator[tuple[str, ...]]:
    """One row a run: accuracy, NLL and spread ratio without and with smoothing, and the paired difference."""
    for folder, (name, _, split, paper) in RUNS.items():
        results = records.read(HERE / folder)
        pair = lambda study, quantity, **more: [only(records.select(
            results, study=study, quantity=quantity, kind=records.VALUE, split=split, alpha=alpha, **more))
                                                for alpha in (0.0, 0.1)]
        accuracy, nll = pair("accuracy", "accuracy"), pair("accuracy", "nll")
        spread = pair("projection", "spread ratio", classes=projection.ALL)
        difference = only(records.select(results, study="accuracy", quantity="accuracy", kind=records.DIFFERENCE,
                                         split=split, alpha=0.1))
        text = tables.mean_std
        yield (f"[{name}]({link(folder)})", f"{split}, {accuracy[0].extra['examples']:,}",
               text(accuracy[0], ".2f", 100),
               text(accuracy[1], ".2f", 100), tables.difference(difference, scale=100),
               f"{text(nll[0], '.3f')} → {text(nll[1], '.3f')}",
               f"{text(spread[0], '.2f')} → {text(spread[1], '.2f')}", paper)


def calibration() -> Iterator[tuple[str, ...]]:
    """One row a run and smoothing, in the order of the paper's Table 3: expected calibration error of 15 bins."""
    for folder, (name, _, split, _) in RUNS.items():
        results = records.select(records.read(HERE / folder), study="calibration", split=split, kind=records.VALUE)
        if not results:
            continue  # run before the study was there
        unsmoothed = records.select(results, quantity="ece", alpha=0.0)[0]
        regime = records.select(results, quantity="overconfidence", alpha=0.0)[0]
        # the first is fitted on other examples
        temperature = records.select(results, quantity="temperature", alpha=0.0)[0]
        scaled = records.select(results, quantity="scaled ece", alpha=0.0)[0]
        smoothed = ", ".join(f"{record.mean:.3f} / {record.hyper['alpha']:g}"
                             for record in records.select(results, quantity="ece")
                             if record.hyper["alpha"] > 0)
        yield (f"[{name}]({link(folder)})", split, f"{unsmoothed.mean:.3f}",
               f"{scaled.mean:.3f} / {temperature.mean:.2f}",
               smoothed, f"{regime.mean:+.3f}, {regime.extra['regime']}")


def translation() -> Iterator[tuple[str, ...]]:
    """One row a quantity of the translation network, without and with smoothing, and the paired difference."""
    if not (HERE / TRANSLATION / "results.json").exists():
        return
    results = records.read(HERE / TRANSLATION)
    rows = [("BLEU, test 2016", 1, 2, dict(study="translation", quantity="bleu", file="test2016"),
             f"WMT: {BLEU[WMT][0.0]} → {BLEU[WMT][0.1]}"),
            ("BLEU, test 2017", 1, 2, dict(study="translation", quantity="bleu", file="test2017"), ""),
            ("accuracy of the next token, %", 100, 2, dict(study="accuracy", quantity="accuracy", split="test"), ""),
            ("NLL of the next token, nats", 1, 3, dict(study="accuracy", quantity="nll", split="test"),
             "worse with smoothing"),
            ("ECE of the next token, all tokens", 1, 3,
             dict(study="translation", quantity="ece", split="test", temperature=1.0),
             f"{CALIBRATION[WMT].unsmoothed} → {CALIBRATION[WMT].smoothed}"),
            ("ECE with the temperature fitted on validation, 4,663 tokens", 1, 3,
             dict(study="calibration", quantity="scaled ece", split="test", fitted_on="validation"),
             f"{CALIBRATION[WMT].scaled} →")]
    for name, scale, digits, where, printed in rows:
        of = lambda alpha, kind=records.VALUE, where=where: records.select(results, alpha=alpha, kind=kind, **where)[0]
        yield (name, *(tables.mean_std(of(alpha), f".{digits}f", scale) for alpha in (0.0, 0.1)),
               tables.difference(of(0.1, records.DIFFERENCE), f"+.{digits}f", scale), printed)


def claimed() -> Iterator[tuple[str, ...]]:
    """One row a claim of the paper: in which runs it holds, fails or is undecided, by the run's primary findings, or in
    italics by its secondary ones where it has no others; a run in which that differs says where. Claims that fare alike
    share a row, and those that no run decides the last."""
    shorts = {folder: short for folder, (_, short, _, _) in RUNS.items()} | OTHERS
    found = {folder: checked(folder) for folder in shorts if (HERE / folder).exists()}
    alike: dict[tuple[str, ...], list[str]] = {}
    unknown, unknown_in = [], {verdict: {} for verdict in VERDICTS}
    for name, claim in registry.claims().items():
        if not claim.of_paper:
            continue
        cells: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
        for folder, claims_of_run in found.items():
            findings = claims_of_run.get(name, [])
            primary = [finding for finding in findings if finding.rank == claims.PRIMARY]
            findings, mark = primary or findings, "" if primary else "*"
            for verdict in VERDICTS:
                here = [finding for finding in findings if finding.verdict == verdict]
                if here:
                    everywhere = len(here) == len(findings)
                    text = shorts[folder] + ("" if everywhere else f" ({places(here, findings)})")
                    cells[verdict].append(f"{mark}{text}{mark}")
        if cells["holds"] or cells["fails"]:
            alike.setdefault(tuple("; ".join(cells[verdict]) for verdict in VERDICTS), []).append(name)
        elif cells["undecided"] or cells[claims.NOT_JUDGED]:
            unknown.append(name)
            for verdict, runs in unknown_in.items():
                runs.update(dict.fromkeys(each.strip("*").partition(" (")[0] for each in cells[verdict]))
    yield from (("; ".join(names), *cells) for cells, names in alike.items())
    if unknown:
        yield "; ".join(unknown), *map("; ".join, unknown_in.values())


def verdicts() -> Iterator[tuple[str, ...]]:
    """One row a finding: a claim, its rank, the run, where, the difference with its interval, and the verdict."""
    for folder in (*RUNS, *OTHERS):
        if (HERE / folder).exists():
            for name, findings in checked(folder).items():
                for finding in findings:
                    value = claims.with_interval(finding.difference, finding.interval, registry.claims()[name].unit)
                    yield (name, finding.rank, f"[{folder}]({folder}/README.md)", place(finding, full=True), value,
                           claims.in_full(finding))


def checked(folder: str) -> dict[str, list[claims.Finding]]:
    """The findings of a run, by claim."""
    return registry.check(records.read(HERE / folder),
                          paper_numbers.key(files.read_config(HERE / folder / "config.json")))


def place(finding: claims.Finding, full: bool = False) -> str:
    """Where a finding is from: split, smoothing, temperature; in short without what most findings share."""
    split, alpha = {"train": "training"}.get(finding.split, "held out"), finding.smoothing
    hyper = [f"{field.replace('temperature', 'T')} = {value:g}" if isinstance(value, float) else f"{field} {value}"
             for field, value in finding.where.items()]
    return ", ".join([split, alpha, *hyper]
                     if full else [*(["training"] if split == "training" else []), *(hyper or [alpha])])


def places(here: list[claims.Finding], among: list[claims.Finding]) -> str:
    """`place` of some findings among all of a claim; where these differ by one number only, its values: "T = 2, 3"."""
    numbers = lambda finding: {"α": finding.alpha, **finding.where}
    varying = [name for name in numbers(among[0]) if len({numbers(finding).get(name) for finding in among}) > 1]
    if len(varying) != 1 or len({finding.split for finding in among}) > 1:
        return ", ".join(map(place, here))
    values = ", ".join(f"{numbers(finding)[varying[0]]:g}" for finding in here)
    return f"{varying[0].replace('temperature', 'T')} = {values}"


def distillation() -> Iterator[tuple[str, ...]]:
    """One row a network of the MNIST experiment: its test error beside the paper's and the replication's."""
    folder = "mnist_distill"
    if (HERE / folder / "results.json").exists():
        results = records.read(HERE / folder)
        _, _, *rows = distillation_tables.errors(results, records.held_out(results, "accuracy"), mnist=True)
        yield from rows


def paper() -> Iterator[tuple[str, ...]]:
    """One row a table or figure of the paper: what it shows, the experiments that show it here, and the folders with
    their results."""
    for item, what in overview.PAPER.items():
        names = [experiment.name for experiment in reproduce.PLAN if item in experiment.shows]
        there = [f"[{name}]({link(name)})" for name in names if (HERE / name).exists()]
        yield item, what, ", ".join(there), ", ".join(f"`{name}`" for name in names if not (HERE / name).exists())


def topologies() -> Iterator[tuple[str, ...]]:
    """One row a TPU pod: what the ImageNet config's training step needs there, as benchmarks/topologies.py has written
    it."""
    for line in (HERE / "topologies.md").read_text().splitlines():
        step, topology, _, devices, batch, memory, _, _, moved, estimate, roofline, rate, share, *_ = [
            *line.split("|")[1:-1], *[""] * 13]
        if step == "imagenet_inception, train":
            yield topology, devices, batch.split(
                ", ")[-1], memory, moved, f"{estimate.partition(',')[0]} / {roofline}", rate, share


def link(folder: str) -> str:
    """Where a run's page is, from docs/."""
    return f"../results/{folder}/README.md"


def rivals(folder: str) -> Iterator[tuple[str, ...]]:
    """One row an arm on the test set, by NLL: its accuracy, the paired difference to the baseline, and its NLL."""
    if not (HERE / folder / "results.json").exists():
        return
    results = records.select(records.read(HERE / folder), study="accuracy", split="test")
    select = functools.partial(records.select, results)
    for nll in sorted(select(quantity="nll", kind=records.VALUE), key=lambda record: record.mean):
        accuracy = only(select(quantity="accuracy", kind=records.VALUE, arm=nll.arm))
        against = select(quantity="accuracy", kind=records.DIFFERENCE, arm=nll.arm)
        yield (nll.arm, tables.mean_std(accuracy, ".2f", 100),
               tables.difference(only(against), scale=100) if against else "baseline",
               tables.mean_std(nll, ".3f"))


def chosen(folder: str) -> dict[str, str]:
    """The tables of losses at the strength that validation chose, by the names of their marks."""
    results = records.read(HERE / folder)
    return {f"{folder} {name}": table(header, iter(rows)) for name, (_, header, *rows) in {
        "chosen": rival_tables.against_plain(results, "nll"),
        "against smoothing": rival_tables.against_smoothing(results, "nll")}.items()}


@functools.cache
def contents() -> dict[str, str]:
    """The tables by the names of their marks."""
    return {
        "paper": table(("in the paper", "what it shows", "measured here", "configured, not yet run"), paper()),
        "accuracy": table(("run", "split, examples", "accuracy % at α = 0", "at α = 0.1", "difference", "NLL",
                           "spread ratio",
                           "paper, accuracy %"), accuracy()),
        "calibration": table(("run", "split", "unsmoothed, T = 1: ECE", "temperature scaling: ECE / T",
                              "label smoothing: ECE / α",
                              "confidence minus accuracy, unsmoothed"), calibration()),
        "translation": table(("", "α = 0", "α = 0.1", "difference", "paper"), translation()),
        "distillation": table(("network", "error %", "n", "paper, %", "replication, %"), distillation()),
        "claims": table(("claim", *VERDICTS), claimed()),
        "topologies": table(("topology", "devices, member x data", "examples a device", "memory a device, GiB",
                             "communication a device, MiB", "compiler's estimate / roofline, ms", "images/s",
                             "of peak"), topologies()),
        **{folder: table(("loss", "accuracy %", "difference to plain, %-points [95 % interval]", "NLL, nats"),
                         rivals(folder))
           for folder in RIVALS},
        **{mark: text for folder in RIVALS for mark, text in chosen(folder).items()},
        "verdicts": table(("claim", "rank", "run", "where", "difference or value [95 % interval]", "verdict"),
                          verdicts()),
    }


MEASURED = ("paper", "accuracy", "calibration", "translation", "distillation", "claims")
FILES = {"docs/measured.md": MEASURED, "docs/hosts.md": ("topologies",), "results/README.md": ("verdicts",),
         **{f"results/{folder}/README.md": (folder, f"{folder} chosen", f"{folder} against smoothing")
            for folder in RIVALS}}


def filled(text: str, names: Sequence[str]) -> str:
    """A page with the tables of these names as the records have them now."""
    filling = contents()
    for name in names:
        fill = lambda mark: f"{mark[1]}{filling[name]}\n{mark[2]}"
        text, count = re.subn(rf"(<!-- {name} -->\n).*?(<!-- end -->)", fill, text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"the page needs one mark <!-- {name} -->, followed by <!-- end -->")
    return text


if __name__ == "__main__":
    for file, names in FILES.items():
        page = HERE.parent / file
        page.write_text(filled(page.read_text(), names))
    for page in (*HERE.parent.glob("README*.md"), *HERE.rglob("README.md")):
        page.write_text(quotes.refreshed(page.read_text()))
