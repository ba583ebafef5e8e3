"""The tables of the README, in both languages, and of results/README.md, from the records in results/*/results.json, between their marks.

    python results/table.py
"""
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from ls_jax.modes import reproduce  # noqa: E402
from ls_jax.paper import ACCURACY, BLEU, CALIBRATION  # noqa: E402
from ls_jax.report import overview  # noqa: E402
from ls_jax.studies import projection  # noqa: E402
from ls_jax.studies import registry as paper_claims  # noqa: E402
from ls_jax.studies.common import claims, tables  # noqa: E402
from ls_jax.studies.common import records as results  # noqa: E402
from ls_jax.studies.distillation import tables as distillation_tables  # noqa: E402

RUNS = {  # folder: (data and network, short, the reported split, Table 2 of the paper)
    "mnist_mlp": ("MNIST, 2 × 1200 units", "MNIST", "test", ""),
    "fashion_mnist_mlp": ("Fashion-MNIST, 2 × 1200 units", "Fashion, units", "test", ""),
    "fashion_mnist_alexnet": ("Fashion-MNIST, AlexNet", "Fashion, AlexNet", "test", ""),
    "cifar10_alexnet": ("CIFAR-10 (JPEG), AlexNet", "CIFAR-10", "validation",
                        " → ".join(map(str, ACCURACY["cifar10", "alexnet"].values()))),
}
WMT = "wmt14_translate/de-en", "transformer"
TRANSLATION = "multi30k_transformer"
OTHERS = {  # folder: short
    TRANSLATION: "Multi30k",
    "mnist_distill": "MNIST",
    "fashion_mnist_distill": "Fashion, students",
    "digits_distill": "digits",
    "mnist_noise": "MNIST, noisy",
    "mnist_noise_distill": "MNIST, noisy",
}
VERDICTS = ("holds", "fails", "undecided")


def table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A Markdown table."""
    line = lambda cells: "|" + "|".join(cells) + "|"
    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def only(records: Sequence[results.Record]) -> results.Record:
    """The one record that there is.

    Raises:
        ValueError: there are several, or none.
    """
    record, = records
    return record


def accuracy() -> Iterator[tuple[str, ...]]:
    """One row a run: accuracy, NLL and spread ratio without and with smoothing, and the paired difference."""
    for folder, (name, _, split, paper) in RUNS.items():
        records = results.read(HERE / folder)
        pair = lambda study, quantity, **more: [only(results.select(
            records, study=study, quantity=quantity, kind=results.VALUE, split=split, alpha=alpha, **more)) for alpha in (0.0, 0.1)]
        accuracy, nll = pair("accuracy", "accuracy"), pair("accuracy", "nll")
        spread = pair("projection", "spread ratio", classes=projection.ALL)
        difference = only(results.select(records, study="accuracy", quantity="accuracy", kind=results.DIFFERENCE, split=split, alpha=0.1))
        text = tables.mean_std
        yield (f"[{name}]({link(folder)})", f"{split}, {accuracy[0].extra['examples']:,}", text(accuracy[0], ".2f", 100),
               text(accuracy[1], ".2f", 100), tables.difference(difference, scale=100),
               f"{text(nll[0], '.3f')} → {text(nll[1], '.3f')}", f"{text(spread[0], '.2f')} → {text(spread[1], '.2f')}", paper)


def calibration() -> Iterator[tuple[str, ...]]:
    """One row a run and smoothing, in the order of the paper's Table 3: expected calibration error of 15 bins."""
    for folder, (name, _, split, _) in RUNS.items():
        records = results.select(results.read(HERE / folder), study="calibration", split=split, kind=results.VALUE)
        if not records:
            continue  # run before the study was there
        hard = results.select(records, quantity="ece", alpha=0.0)[0]
        regime = results.select(records, quantity="overconfidence", alpha=0.0)[0]
        temperature = results.select(records, quantity="temperature", alpha=0.0)[0]  # the first is fitted on other examples
        scaled = results.select(records, quantity="scaled ece", alpha=0.0)[0]
        smoothed = ", ".join(f"{record.mean:.3f} / {record.hyper['alpha']:g}" for record in results.select(records, quantity="ece")
                             if record.hyper["alpha"] > 0)
        yield (f"[{name}]({link(folder)})", split, f"{hard.mean:.3f}", f"{scaled.mean:.3f} / {temperature.mean:.2f}",
               smoothed, f"{regime.mean:+.3f}, {regime.extra['regime']}")


def translation() -> Iterator[tuple[str, ...]]:
    """One row a quantity of the translation network, without and with smoothing, and the paired difference."""
    if not (HERE / TRANSLATION / "results.json").exists():
        return
    records = results.read(HERE / TRANSLATION)
    rows = [("BLEU, test 2016", 1, 2, dict(study="translation", quantity="bleu", file="test2016"),
             f"WMT: {BLEU[WMT][0.0]} → {BLEU[WMT][0.1]}"),
            ("BLEU, test 2017", 1, 2, dict(study="translation", quantity="bleu", file="test2017"), ""),
            ("accuracy of the next token, %", 100, 2, dict(study="accuracy", quantity="accuracy", split="test"), ""),
            ("NLL of the next token, nats", 1, 3, dict(study="accuracy", quantity="nll", split="test"), "worse with smoothing"),
            ("ECE of the next token, all tokens", 1, 3, dict(study="translation", quantity="ece", split="test", temperature=1.0),
             f"{CALIBRATION[WMT].hard} → {CALIBRATION[WMT].smoothed}"),
            ("ECE with the temperature fitted on validation, 4,663 tokens", 1, 3,
             dict(study="calibration", quantity="scaled ece", split="test", fitted_on="validation"), f"{CALIBRATION[WMT].scaled} →")]
    for name, scale, digits, where, printed in rows:
        of = lambda alpha, kind=results.VALUE, where=where: results.select(records, alpha=alpha, kind=kind, **where)[0]
        yield (name, *(tables.mean_std(of(alpha), f".{digits}f", scale) for alpha in (0.0, 0.1)),
               tables.difference(of(0.1, results.DIFFERENCE), f"+.{digits}f", scale), printed)


def claimed() -> Iterator[tuple[str, ...]]:
    """One row a claim of the paper: in which runs it holds, fails or is undecided; a run in which that differs says where. Claims that fare
    alike share a row, and those that no run decides the last."""
    shorts = {folder: short for folder, (_, short, _, _) in RUNS.items()} | OTHERS
    found = {folder: paper_claims.check(results.read(HERE / folder)) for folder in shorts if (HERE / folder).exists()}
    alike: dict[tuple[str, ...], list[str]] = {}
    unknown, unknown_in = [], {}
    for name, claim in paper_claims.claims().items():
        if not claim.place.startswith(("Section", "Table")):
            continue  # a later work's
        cells: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
        for folder, claims_of_run in found.items():
            findings = claims_of_run.get(name, [])
            for verdict in VERDICTS:
                here = [finding for finding in findings if finding.verdict == verdict]
                if here:
                    everywhere = len(here) == len(findings)
                    cells[verdict].append(shorts[folder] + ("" if everywhere else f" ({places(here, findings)})"))
        if cells["holds"] or cells["fails"]:
            alike.setdefault(tuple("; ".join(cells[verdict]) for verdict in VERDICTS), []).append(name)
        elif cells["undecided"]:
            unknown.append(name)
            unknown_in.update(dict.fromkeys(each.partition(" (")[0] for each in cells["undecided"]))
    yield from (("; ".join(names), *cells) for cells, names in alike.items())
    if unknown:
        yield "; ".join(unknown), "", "", "; ".join(unknown_in)


def verdicts() -> Iterator[tuple[str, ...]]:
    """One row a finding: a claim, the run, where, the difference with its interval, and the verdict."""
    for folder in (*RUNS, *OTHERS):
        if (HERE / folder).exists():
            for name, findings in paper_claims.check(results.read(HERE / folder)).items():
                for finding in findings:
                    unit = paper_claims.claims()[name].unit
                    value = "{:+.2f} [{:+.2f}, {:+.2f}]" + (" points" if unit < 1 else "")
                    numbers = (finding.difference, *(finding.interval or (float("nan"),) * 2))
                    yield (name, f"[{folder}]({folder}/README.md)", place(finding, full=True),
                           value.format(*(number / unit for number in numbers)), claims.sentence(finding))


def place(finding: claims.Finding, full: bool = False) -> str:
    """Where a finding is from: split, smoothing, temperature; in short without what most findings share."""
    split, alpha = {"train": "training"}.get(finding.split, "held out"), finding.smoothing
    hyper = [f"{field.replace('temperature', 'T')} = {value:g}" if isinstance(value, float) else f"{field} {value}"
             for field, value in finding.where.items()]
    return ", ".join([split, alpha, *hyper] if full else [*(["training"] if split == "training" else []), *(hyper or [alpha])])


def places(here: list[claims.Finding], among: list[claims.Finding]) -> str:
    """`place` of some findings among all of a claim; where these differ by one number only, its values: "T = 2, 3"."""
    numbers = lambda finding: {"α": finding.alpha, **finding.where}
    varying = [name for name in numbers(among[0]) if len({numbers(finding).get(name) for finding in among}) > 1]
    if len(varying) != 1 or len({finding.split for finding in among}) > 1:
        return ", ".join(map(place, here))
    return f"{varying[0].replace('temperature', 'T')} = {', '.join(f'{numbers(finding)[varying[0]]:g}' for finding in here)}"


def distillation() -> Iterator[tuple[str, ...]]:
    """One row a network of the MNIST experiment: its test error beside the paper's and the replication's."""
    folder = "mnist_distill"
    if (HERE / folder / "results.json").exists():
        records = results.read(HERE / folder)
        _, _, *rows = distillation_tables.errors(records, results.held_out(records, "accuracy"), mnist=True)
        yield from rows


def paper() -> Iterator[tuple[str, ...]]:
    """One row a table or figure of the paper: what it shows, the experiments that show it here, and the folders with their results."""
    for item, what in overview.PAPER.items():
        names = [experiment.name for experiment in reproduce.PLAN if item in experiment.shows]
        there = [f"[{name}]({link(name)})" for name in names if (HERE / name).exists()]
        yield item, what, ", ".join(there), ", ".join(f"`{name}`" for name in names if not (HERE / name).exists())


def topologies() -> Iterator[tuple[str, ...]]:
    """One row a TPU pod: what the ImageNet config's training step needs there, as benchmarks/topologies.py has written it."""
    for line in (HERE / "topologies.md").read_text().splitlines():
        step, topology, _, devices, batch, memory, _, _, moved, estimate, roofline, rate, share, *_ = [*line.split("|")[1:-1], *[""] * 13]
        if step == "imagenet_inception, train":
            yield topology, devices, batch.split(", ")[-1], memory, moved, f"{estimate.partition(',')[0]} / {roofline}", rate, share


def link(folder: str) -> str:
    """Where a run's page is, from the README."""
    return f"results/{folder}/README.md"


def contents() -> dict[str, str]:
    """The tables by the names of their marks."""
    return {
        "paper": table(("in the paper", "what it shows", "measured here", "configured, not yet run"), paper()),
        "accuracy": table(("run", "split, examples", "accuracy % at α = 0", "at α = 0.1", "difference", "NLL", "spread ratio",
                           "paper, accuracy %"), accuracy()),
        "calibration": table(("run", "split", "hard, T = 1: ECE", "temperature scaling: ECE / T", "label smoothing: ECE / α",
                              "confidence minus accuracy, hard"), calibration()),
        "translation": table(("", "α = 0", "α = 0.1", "difference", "paper"), translation()),
        "distillation": table(("network", "error %", "n", "paper, %", "replication, %"), distillation()),
        "claims": table(("claim", *VERDICTS), claimed()),
        "topologies": table(("topology", "devices, member x data", "examples a device", "memory a device, GiB",
                             "communication a device, MiB", "compiler's estimate / roofline, ms", "images/s", "of peak"), topologies()),
        "verdicts": table(("claim", "run", "where", "difference or value [95 % interval]", "verdict"), verdicts()),
    }


README = ("paper", "accuracy", "calibration", "translation", "distillation", "claims", "topologies")
FILES = {"README.md": README, "README.zh-CN.md": README, "results/README.md": ("verdicts",)}


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
