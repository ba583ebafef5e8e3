"""What a study measured, as records: one per quantity, split and arm of the sweep, over its seeds.

results.json is a list of objects with exactly the fields of `Record`, by their names: `hyper`, `baseline` and `extra` are objects, so
that a hyper-parameter and a study's own field of one name stay apart; what a record does not have is null, or empty.
"""
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ls_jax.errors import UserError
from ls_jax.studies.common.statistics import BySeed, moments, paired, t_interval
from ls_jax.workdir import files

VALUE, DIFFERENCE = "value", "difference"
UNFINISHED = "studied at step"  # quantity of a run that was studied before its last step
OFF = {"alpha": 0.0}  # of networks of which nothing else is known: without smoothing
FIRST = ("student", "teacher", "alpha", "teacher_alpha", "temperature", "beta", "control")  # in a label; others follow

Row = Mapping[str, Any]  # a member's hyper-parameters and seed, as `training.sweep.members` gives them; see `arms`


@dataclasses.dataclass(frozen=True)
class Record:
    """A quantity of one arm, over its seeds; or, of the kind "difference", the arm's less its baseline's, seed by seed."""
    study: str
    quantity: str                # of a difference too: "accuracy"
    split: str
    n: int
    mean: float
    std: float | None            # the sample's (n - 1); None for one value
    values: Sequence[float]      # one a seed
    kind: str = VALUE
    hyper: Row = dataclasses.field(default_factory=dict)   # all hyper-parameters but the seed; strings are allowed
    arm: str = ""                # what varies in the run, as "alpha=0.1, gamma=2", or the arm's name in config.sweep.arms
    baseline: Row | None = None  # of a difference: the hyper-parameters of what was subtracted
    seeds: Sequence[Any] = dataclasses.field(default_factory=list)  # of the values; None for a teacher from a file
    interval: Sequence[float] | None = None                # 95 %, for the mean
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # the study's own: examples, classes, step, ...

    def __post_init__(self) -> None:
        if self.kind not in (VALUE, DIFFERENCE) or (self.kind == DIFFERENCE) != (self.baseline is not None):
            raise ValueError(f"a record of the kind {self.kind!r} with the baseline {self.baseline}: a difference has one, a value none")

    def get(self, name: str, default: Any = None) -> Any:
        """A field, or else an extra field, or else a hyper-parameter, by its name."""
        return getattr(self, name) if name in FIELDS else self.extra.get(name, self.hyper.get(name, default))

    def having(self, **extra: Any) -> "Record":
        """This record with more extra fields."""
        return dataclasses.replace(self, extra={**self.extra, **extra})

    @property
    def by_seed(self) -> dict[Any, float]:
        """{seed: value}."""
        return dict(zip(self.seeds, self.values))


FIELDS = tuple(field.name for field in dataclasses.fields(Record))


def summarize(study: str, quantity: str, split: str, rows: Sequence[Row], values: Sequence[float],
              partners: Sequence[int | None] | None = None, **extra: Any) -> list[Record]:
    """One record per arm, and one per arm that has a baseline for the paired difference from it.

    Members of equal seed saw the same examples in the same order, so differences are taken seed by seed.

    Args:
        study, quantity, split: of the records.
        rows: the members' hyper-parameters with the seed, as flat dicts.
        values: what was measured on each.
        partners: see `arms`, which is asked where the rows do not name their baselines yet.
        extra: more fields of the records.

    Raises:
        ValueError: two members have equal hyper-parameters and seeds.
    """
    found: dict[frozenset, tuple[Row, dict[Any, float]]] = {}
    for row, value in zip(arms(rows, partners), values, strict=True):
        _, by_seed = found.setdefault(key(hyper(row)), (row, {}))
        if row["seed"] in by_seed:
            raise ValueError(f"two members have the seed {row['seed']} and the hyper-parameters {hyper(row)}")
        by_seed[row["seed"]] = value
    records = [Record(study, quantity, split, **moments(by_seed.values()), hyper=hyper(row), arm=row["arm"], seeds=list(by_seed),
                      extra=extra) for row, by_seed in found.values()]
    for arm, (row, by_seed) in found.items():
        other = None if row["baseline"] is None else key(row["baseline"])
        if other in found and other != arm:
            records += difference(study, quantity, split, hyper(row), row["baseline"], paired(by_seed, found[other][1]), row["arm"],
                                  **extra)
    return records


def difference(study: str, quantity: str, split: str, of: Row, baseline: Row | None, by_seed: BySeed, arm: str | None = None,
               **extra: Any) -> list[Record]:
    """The record of paired differences {seed: difference}, with Student's interval; none where no seed has one.

    Args:
        study, quantity, split: of the record.
        of: the hyper-parameters of the arm.
        baseline: those of what was subtracted.
        by_seed: the differences.
        arm: the arm's label; None: all of `of`.
        extra: more fields of the record.
    """
    values = list(by_seed.values())
    return [Record(study, quantity, split, **moments(values), kind=DIFFERENCE, hyper=of, arm=settings(of) if arm is None else arm,
                   baseline=baseline, seeds=list(by_seed), interval=t_interval(values), extra=extra)] if values else []


def arms(rows: Sequence[Row], partners: Sequence[int | None] | None = None) -> list[Row]:
    """The rows with two more fields: "arm", a label of what varies, and "baseline", the hyper-parameters that theirs are compared with.

    A row that names its arm keeps the name. Rows that have a baseline already are returned as they are, so that a study of some members
    sees the arms of the whole run.

    Args:
        rows: the members' hyper-parameters with the seed, as flat dicts.
        partners: of each row the one that it is compared with, as `training.sweep.baselines` gives them; None: the one without smoothing
            and all else equal. A row without a partner has the baseline None.
    """
    if all("baseline" in row for row in rows):
        return list(rows)
    hypers = [hyper(row) for row in rows]
    names = varying(hypers)
    if partners is None:
        place = {key(each): member for member, each in enumerate(hypers)}
        partners = [place.get(key({**each, **{name: off for name, off in OFF.items() if name in each}})) for each in hypers]
    return [{**each, "seed": row["seed"], "arm": row.get("arm") or settings(each, names),
             "baseline": None if partner is None or hypers[partner] == each else hypers[partner]}
            for each, row, partner in zip(hypers, rows, partners, strict=True)]


def key(of: Row) -> frozenset:
    """Hyper-parameters as a key."""
    return frozenset(of.items())


def hyper(row: Row) -> dict[str, Any]:
    """A member's hyper-parameters, without its seed, arm and baseline."""
    return {name: value for name, value in row.items() if name not in ("seed", "arm", "baseline")}


def pairs(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """(member, the member of its baseline with the same seed), for every member that has one and is not its own."""
    rows = arms(rows)
    return [(member, other) for member, row in enumerate(rows) for other, partner in enumerate(rows)
            if row["baseline"] == hyper(partner) != hyper(row) and row["seed"] == partner["seed"]]


def is_plain(of: Row) -> bool:
    """Whether these are hyper-parameters of a network that is trained with cross-entropy alone: every loss term is absent."""
    return all(of.get(name, off) == off for name, off in OFF.items())


def varying(hypers: Sequence[Row], always: Sequence[str] = ("alpha",)) -> list[str]:
    """The hyper-parameters that differ between some of these, and those of `always` that they have, in the order of a label."""
    names = dict.fromkeys(name for each in hypers for name in _nameable(each))
    found = [name for name in names if name in always or len({each.get(name) for each in hypers}) > 1]
    return sorted(found, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def others(hypers: Sequence[Row]) -> list[str]:
    """The hyper-parameters other than α that differ between some of these."""
    return [name for name in varying(hypers) if name != "alpha"]


def without_alpha(of: Row) -> dict[str, Any]:
    """The hyper-parameters but α."""
    return {name: value for name, value in of.items() if name != "alpha"}


def grouped(records: Sequence[Record], names: Sequence[str] | None = None) -> list[tuple[dict[str, Any], list[Record]]]:
    """(settings, the records that have them) for all settings but α, or for those of these names; in the order of the records."""
    groups: list[tuple[dict[str, Any], list[Record]]] = []
    for record in records:
        key = without_alpha(record.hyper) if names is None else {name: record.hyper.get(name) for name in names}
        group = next((group for settings, group in groups if settings == key), None)
        if group is None:
            groups.append((key, group := []))
        group.append(record)
    return groups


def settings(of: Row, names: Sequence[str] | None = None) -> str:
    """Hyper-parameters as text, all or those of these names: "alpha=0.1, gamma=2"; what is None or False is left out."""
    names = _nameable(of) if names is None else names
    return ", ".join(f"{name}={number(of[name])}" for name in names if of.get(name) is not None and of[name] is not False)


def _nameable(of):
    """The hyper-parameters that a label may name: a group of students has one teacher, which the group's name tells."""
    return [name for name in of if name != "teacher" or "student" not in of]


def number(value: Any) -> str:
    """A hyper-parameter's value as text: seven digits, which tell float32 numbers of a sweep apart."""
    return value if isinstance(value, str) else f"{value:.7g}"


def is_named(arm: str, of: Row) -> bool:
    """Whether an arm's label is a name from config.sweep.arms, rather than what varies."""
    return arm != "" and arm.partition("=")[0] not in of


def select(records: Sequence[Record], **fields: Any) -> list[Record]:
    """The records that have all these values of fields, extra fields or hyper-parameters; None: the record has no such field."""
    return [record for record in records if all(record.get(name) == value for name, value in fields.items())]


def held_out(records: Sequence[Record], study: str) -> str:
    """The split on which the paper reports: validation where the study has one, else test."""
    return "validation" if select(records, study=study, split="validation") else "test"


def of_one(study: str, quantity: str, value: float, **extra: Any) -> Record:
    """A record of one network, of whose training nothing is known, on the split "test"."""
    return Record(study, quantity, "test", **moments([value]), extra=extra)


def read(workdir: str | pathlib.Path) -> list[Record]:
    """The records of a workdir's results.json.

    Raises:
        UserError: the file is damaged, or has another form, as version 0.1.0 wrote it.
    """
    file = pathlib.Path(workdir) / "results.json"
    found = files.read_json(file, list, "write it anew with --mode=study or --mode=analyze", parts=dict)
    if any(each.keys() != {*FIELDS} for each in found):
        raise UserError(f"{file} has the form of ls_jax 0.1.0: read it with that version, or measure again with --mode=study or "
                        "--mode=analyze")
    return [Record(**each) for each in found]


def write(workdir: str | pathlib.Path, records: Sequence[Record]) -> None:
    """Write a workdir's results.json; a number that is not finite becomes null.

    Raises:
        UserError: the disk is full or the file cannot be written.
    """
    from ls_jax.workdir import log  # with JAX, for which those who read records need not wait
    log.write_json(pathlib.Path(workdir) / "results.json", [dataclasses.asdict(record) for record in records])


def final(workdir: str | pathlib.Path) -> bool:
    """Whether a workdir has results, of networks whose training had ended."""
    return (pathlib.Path(workdir) / "results.json").exists() and not select(read(workdir), quantity=UNFINISHED)
