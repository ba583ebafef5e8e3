"""Records: what a study measured, one record for each quantity, split and arm of the sweep, over its seeds.

results.json is a list of objects that have exactly the fields of `Record`. `hyper`, `baseline` and `extra` are objects,
so a hyper-parameter and a study's own field may share a name. Missing values are null or empty.
Files of earlier versions lack the fields of ADDED.
"""
import dataclasses
import functools
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ls_jax.errors import UserError
from ls_jax.studies.common import crossed
from ls_jax.studies.common.statistics import BySeed, moments, paired, t_interval
from ls_jax.workdir import files

VALUE, DIFFERENCE = "value", "difference"
UNFINISHED = "studied at step"  # the quantity of a run that was studied before its last step
SEEDS, EXAMPLES, BOTH = "seeds", "examples", "seeds and examples"
ADDED = ("interval_seeds", "variance", "degrees_of_freedom", "terms", "deleted")
OFF = {"alpha": 0.0}  # the baseline's values, where no other baseline is known: no smoothing
SMOOTHING = frozenset({"label_smoothing", "distillation"})  # the terms that the claims on smoothing are about
FIRST = ("student", "teacher", "alpha", "teacher_alpha", "temperature", "beta", "control"
         )  # the order in labels; others follow

Samples = Mapping[Any, crossed.Sample | None]  # {seed: its dependence on the examples, where known}
Row = Mapping[str, Any]  # a member's hyper-parameters and seed, from `training.sweep.members`; see `arms`


@dataclasses.dataclass(frozen=True)
class Record:
    """A quantity of one arm over its seeds; with kind "difference", arm minus baseline, paired by seed."""
    study: str
    quantity: str                # the same for values and differences: "accuracy"
    split: str
    n: int
    mean: float
    std: float | None            # the sample's (n - 1); None for one value
    values: Sequence[float]      # one for each seed
    kind: str = VALUE
    hyper: Row = dataclasses.field(default_factory=dict)   # all hyper-parameters but the seed; values may be strings
    arm: str = ""                # its label: what varies, "alpha=0.1, gamma=2", or its name in config.sweep.arms
    baseline: Row | None = None  # of a difference: the baseline's hyper-parameters
    seeds: Sequence[Any] = dataclasses.field(default_factory=list)  # None for a teacher that was read from a file
    interval: Sequence[float] | None = None                # 95 % interval for the mean; `covers` says over what
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # the study's own fields
    interval_seeds: Sequence[float] | None = None          # where `interval` covers examples too: over seeds alone
    variance: Mapping[str, float | None] = dataclasses.field(default_factory=dict)  # `crossed.Crossed.variance`
    degrees_of_freedom: float | None = None                # of the interval, where `variance` is there
    terms: Sequence[str] | None = None  # names in losses.LOSSES of the terms that the arm trains with; None: not known
    deleted: Sequence[Sequence[float]] | None = None  # by seed, the value without each group of examples: `samples`

    def __post_init__(self) -> None:
        if self.kind not in (VALUE, DIFFERENCE) or (self.kind == DIFFERENCE) != (self.baseline is not None):
            raise ValueError(
                f"a record of kind {self.kind!r} has the baseline {self.baseline}: a difference needs one, a value none"
            )

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field, an extra field or a hyper-parameter (the first that has this name)."""
        return getattr(self, name) if name in FIELDS else self.extra.get(name, self.hyper.get(name, default))

    def having(self, **extra: Any) -> "Record":
        """This record with more extra fields."""
        return dataclasses.replace(self, extra={**self.extra, **extra})

    @property
    def covers(self) -> str | None:
        """What the interval is over: SEEDS, EXAMPLES (of one seed) or BOTH; None without an interval."""
        if self.interval is None:
            return None
        if self.variance.get("examples") is None:
            return SEEDS
        return EXAMPLES if self.variance.get("seeds") is None else BOTH

    @property
    def plain(self) -> bool:
        """Whether the arm was trained with cross-entropy alone; also True of a network trained elsewhere."""
        return is_plain({**self.hyper, "terms": self.terms})

    @property
    def by_seed(self) -> dict[Any, float]:
        """{seed: value}."""
        return dict(zip(self.seeds, self.values))

    @property
    def samples(self) -> dict[Any, crossed.Sample]:
        """{seed: value with how it depends on the examples}, where `deleted` tells. Claims combine those of several
        records."""
        deleted = [None] * self.n if self.deleted is None else map(np.array, self.deleted)
        count = self.extra.get("examples", 0)
        return {seed: crossed.Sample(value, deleted=parts, examples=count)
                for seed, value, parts in zip(self.seeds, self.values, deleted)}


FIELDS = tuple(field.name for field in dataclasses.fields(Record))


def summarize(study: str, quantity: str, split: str, rows: Sequence[Row], values: Collection[float],
              partners: Sequence[int | None] | None = None, samples: Sequence[crossed.Sample | None] | None = None,
              combined: bool = False, **extra: Any) -> list[Record]:
    """One record for each arm, then one for each paired difference of an arm from its baseline.

    Members with the same seed saw the same examples in the same order, so differences are paired by seed.

    Args:
        study, quantity, split: fields of the records.
        rows: each member's hyper-parameters and seed, as flat dicts.
        values: one number for each member.
        partners: see `arms`; used where the rows do not name their baselines yet.
        samples: how each value depends on the examples; the intervals are then for new seeds and new examples.
        combined: whether claims combine the values of several records, which then keep `deleted`.
        extra: further fields of the records.

    Raises:
        ValueError: two members have equal hyper-parameters and seeds.
    """
    found: dict[frozenset, tuple[Row, dict[Any, float], dict[Any, crossed.Sample | None]]] = {}
    for row, value, sample in zip(arms(rows, partners), values, samples or [None] * len(rows), strict=True):
        _, by_seed, sampled = found.setdefault(key(hyper(row)), (row, {}, {}))
        if row["seed"] in by_seed:
            raise ValueError(f"two members have seed {row['seed']} and hyper-parameters {hyper(row)}")
        by_seed[row["seed"]], sampled[row["seed"]] = value, sample
    records = [
        Record(study, quantity, split, **moments(by_seed.values()), **of_arm(row), seeds=list(by_seed), extra=extra,
               deleted=_deleted(sampled.values()) if combined else None, **over_examples(sampled.values()))
        for row, by_seed, sampled in found.values()
    ]
    for arm, (row, by_seed, sampled) in found.items():
        other = None if row["baseline"] is None else key(row["baseline"])
        if other in found and other != arm:
            _, baseline, baseline_sampled = found[other]
            records += difference(study, quantity, split, hyper(row), row["baseline"],
                                  paired(by_seed, baseline), row["arm"],
                                  paired_samples(sampled, baseline_sampled), row.get("terms"), **extra)
    return records


def difference(study: str, quantity: str, split: str, of: Row, baseline: Row | None, by_seed: BySeed,
               arm: str | None = None, samples: Samples | None = None, terms: Sequence[str] | None = None,
               **extra: Any) -> list[Record]:
    """The record of paired differences {seed: difference}, with an interval; an empty list without differences.

    Args:
        study, quantity, split: fields of the record.
        of: the arm's hyper-parameters.
        baseline: the baseline's hyper-parameters.
        by_seed: the differences.
        arm: the arm's label; None: all of `of` as text.
        samples: how the differences depend on the examples: `paired_samples`. Where one is missing, the interval is
            Student's, over the seeds.
        terms: as `Record.terms`.
        extra: further fields of the record.
    """
    values = list(by_seed.values())
    if not values:
        return []
    interval = over_examples([samples[seed] for seed in by_seed]
                             if samples else [None]) or {"interval": t_interval(values)}
    known = samples and None not in samples.values()
    if known and interval["interval"] and interval["interval"][0] == interval["interval"][1]:
        interval = {}  # neither seeds nor groups of examples differ, which does not say that new ones would not
    return [
        Record(study, quantity, split, **moments(values), kind=DIFFERENCE, hyper=of, arm=settings(of) if arm is None
               else arm, baseline=baseline, seeds=list(by_seed), extra=extra, terms=terms, **interval)
    ]


def paired_samples(samples: Samples, baseline: Samples) -> Samples:
    """{seed: sample minus the baseline's} for the seeds that both have; None where they cannot be subtracted.

    That is where one is None, or where the two left out different groups: a temperature fitted on halves of fewer
    than 40 examples has other groups than the whole.
    """
    def less(sample, other):
        if sample is None or other is None or np.shape(sample.deleted) != np.shape(other.deleted):
            return None
        return sample - other

    return {seed: less(samples[seed], baseline[seed]) for seed in samples if seed in baseline}


def _deleted(samples):
    """The field of a record; None where one sample does not tell."""
    grouped = [None if sample is None else sample.by_group().deleted for sample in samples]
    if any(deleted is None or not np.isfinite(deleted).all() for deleted in grouped):
        return None
    return [deleted.tolist() for deleted in grouped]


def over_examples(samples: Collection[crossed.Sample | None]) -> dict[str, Any]:
    """The fields of a record that its samples give, one sample for each seed; empty where one is None."""
    found = None if None in samples else crossed.of_samples(list(samples))
    if found is None or found.interval is None:
        return {}
    return {"interval": list(found.interval), "interval_seeds": t_interval([each.value for each in samples]),
            "variance": found.variance, "degrees_of_freedom": found.degrees_of_freedom}


def arms(rows: Sequence[Row], partners: Sequence[int | None] | None = None) -> list[Row]:
    """The rows with two more fields: "arm", a label of what varies, and "baseline", the baseline's hyper-parameters.

    A row that names its arm keeps the name, and one that has the field "terms" (`Record.terms`) keeps it. Rows that
    have a baseline already are returned unchanged, so that a study of some members sees the arms of the whole run.

    Args:
        rows: each member's hyper-parameters and seed, as flat dicts.
        partners: for each row the index of its baseline's row, from `training.sweep.baselines`; None: the row without
            smoothing and with all else equal. A row without a partner has the baseline None.
    """
    if all("baseline" in row for row in rows):
        return list(rows)
    hypers = [hyper(row) for row in rows]
    names = varying(hypers)
    if partners is None:
        place = {key(each): member for member, each in enumerate(hypers)}
        partners = [
            place.get(key({**each, **{name: off for name, off in OFF.items() if name in each}})) for each in hypers
        ]
    return [{**each, "seed": row["seed"], "arm": row.get("arm") or settings(each, names),
             "baseline": None if partner is None or hypers[partner] == each else hypers[partner],
             **({"terms": row["terms"]} if "terms" in row else {})}
            for each, row, partner in zip(hypers, rows, partners, strict=True)]


def key(of: Row) -> frozenset:
    """Hyper-parameters as a hashable key."""
    return frozenset(of.items())


def hyper(row: Row) -> dict[str, Any]:
    """A member's hyper-parameters, without its seed, arm, baseline and the terms of its loss."""
    return {name: value for name, value in row.items() if name not in ("seed", "arm", "baseline", "terms")}


def of_arm(row: Row) -> dict[str, Any]:
    """The fields of a record that say which arm it is of."""
    return {"hyper": hyper(row), "arm": row["arm"], "terms": row.get("terms")}


def pairs(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """(member, baseline member with the same seed) for every member that has a baseline other than itself."""
    rows = arms(rows)
    return [(member, other) for member, row in enumerate(rows) for other, partner in enumerate(rows)
            if row["baseline"] == hyper(partner) != hyper(row) and row["seed"] == partner["seed"]]


def is_plain(row: Row) -> bool:
    """Whether a member is trained with cross-entropy alone: no loss term is on.

    Rows without the field "terms" are plain without smoothing: no other term was known when they were written.
    """
    if row.get("terms") is not None:
        return not row["terms"]
    return all(row.get(name, off) == off for name, off in OFF.items())


def of_smoothing(results: Sequence[Record]) -> list[Record]:
    """The records without those of arms of other losses: of cross-entropy, smoothed or not, and of students."""
    return [record for record in results if SMOOTHING.issuperset(
        _active(key(record.hyper)) if record.terms is None else record.terms)]


@functools.cache
def _active(hyper):
    """The loss terms that are on with these hyper-parameters, a `key`; for records that do not know their terms."""
    from ls_jax import losses  # imports JAX, which reading records does not need
    return losses.active(dict(hyper))


def varying(hypers: Sequence[Row], always: Sequence[str] = ("alpha",)) -> list[str]:
    """Names of the hyper-parameters that differ, and those of `always` that occur, in the order of labels."""
    names = dict.fromkeys(name for each in hypers for name in _nameable(each))
    found = [name for name in names if name in always or len({each.get(name) for each in hypers}) > 1]
    return sorted(found, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def others(hypers: Sequence[Row]) -> list[str]:
    """Names of the hyper-parameters other than α that differ."""
    return [name for name in varying(hypers) if name != "alpha"]


def without_alpha(of: Row) -> dict[str, Any]:
    """The hyper-parameters without α."""
    return {name: value for name, value in of.items() if name != "alpha"}


def grouped(records: Sequence[Record], names: Sequence[str] | None = None) -> list[tuple[dict[str, Any], list[Record]]]:
    """(settings, records that have them), in the order of the records; settings are `names`, by default all but α."""
    groups: list[tuple[dict[str, Any], list[Record]]] = []
    for record in records:
        key = without_alpha(record.hyper) if names is None else {name: record.hyper.get(name) for name in names}
        group = next((group for settings, group in groups if settings == key), None)
        if group is None:
            groups.append((key, group := []))
        group.append(record)
    return groups


def settings(of: Row, names: Sequence[str] | None = None) -> str:
    """Hyper-parameters as text, "alpha=0.1, gamma=2": those of `names`, or all. None and False are omitted."""
    names = _nameable(of) if names is None else names
    return ", ".join(f"{name}={number(of[name])}" for name in names
                     if of.get(name) is not None and of[name] is not False)


def _nameable(of):
    """Names that a label may use. A student's teacher is omitted: the name of its group of students implies it."""
    return [name for name in of if name != "teacher" or "student" not in of]


def number(value: Any) -> str:
    """A hyper-parameter's value as text, with seven digits, which distinguish the float32 numbers of a sweep."""
    return value if isinstance(value, str) else f"{value:.7g}"


def is_named(arm: str, of: Row) -> bool:
    """Whether an arm's label is a name from config.sweep.arms, not the text of its hyper-parameters."""
    return arm != "" and arm.partition("=")[0] not in of


def select(records: Sequence[Record], **fields: Any) -> list[Record]:
    """The records whose fields, extra fields or hyper-parameters have these values; None matches a missing one."""
    # as `Record.get`, without a call for each record
    own = [(name, value) for name, value in fields.items() if name in FIELDS]
    others = [(name, value) for name, value in fields.items() if name not in FIELDS]
    return [record for record in records
            if all(getattr(record, name) == value for name, value in own)
            and all(record.extra.get(name, record.hyper.get(name)) == value for name, value in others)]


def held_out(records: Sequence[Record], study: str) -> str:
    """The split to report: "validation", as in the paper, where the study has records of it, else "test"."""
    return "validation" if select(records, study=study, split="validation") else "test"


def of_one(study: str, quantity: str, value: float, sample: crossed.Sample | None = None, **extra: Any) -> Record:
    """A record of one network, trained elsewhere, on the split "test"."""
    return Record(study, quantity, "test", **moments([value]), extra=extra, **over_examples([sample]))


def read(workdir: str | pathlib.Path) -> list[Record]:
    """The records of a workdir's results.json.

    Raises:
        UserError: the file is damaged, or has the form of version 0.1.0.
    """
    file = pathlib.Path(workdir) / "results.json"
    found = files.read_json(file, list, "write it anew with --mode=study or --mode=analyze", parts=dict)
    if any(not {*FIELDS} - {*ADDED} <= each.keys() <= {*FIELDS} for each in found):
        raise UserError(
            f"{file} has the form of ls_jax 0.1.0: read it with that version, or measure again with --mode=study or "
            "--mode=analyze")
    return [Record(**each) for each in found]


def write(workdir: str | pathlib.Path, records: Sequence[Record]) -> None:
    """Write a workdir's results.json; a number that is not finite becomes null.

    Raises:
        UserError: the disk is full or the file cannot be written.
    """
    from ls_jax.workdir import log  # imports JAX, which reading records does not need
    log.write_json(pathlib.Path(workdir) / "results.json", [dataclasses.asdict(record) for record in records])


def final(workdir: str | pathlib.Path) -> bool:
    """Whether a workdir has results of networks whose training is complete."""
    return (pathlib.Path(workdir) / "results.json").exists() and not select(read(workdir), quantity=UNFINISHED)
