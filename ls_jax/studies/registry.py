"""STUDIES lists the studies; `Parts` says what a study may provide. Callers walk the list and know no study by name."""
import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ls_jax import paper
from ls_jax.fields import Field
from ls_jax.studies.common import course, families, records
from ls_jax.studies.common.claims import PRIMARY, RANKS, Claim, Finding, in_full

if TYPE_CHECKING:
    import ml_collections
    import numpy as np
    from markupsafe import Markup

    from ls_jax.data import Dataset, Pictures
    from ls_jax.studies.common.answers import Sentence
    from ls_jax.studies.common.shown import Shown
    from ls_jax.studies.common.studied import Studied
    from ls_jax.studies.common.triples import Triple


class Parts(Protocol):
    """What a study may provide. Every part is optional; in its module it has the name that it has here.

    CLAIMS: the study's claims, by name; see `studies.common.claims`.
    FIELDS: the fields of config.STUDY, the config section with the study's name. A resumed run may change them.
    """
    CLAIMS: Mapping[str, Claim]
    FIELDS: Mapping[str, Field]

    def validate(self, config: "ml_collections.ConfigDict") -> None:
        """Raise UserError where fields of the config section contradict each other. The data set is not needed."""
        ...

    def check(self, config: "ml_collections.ConfigDict", dataset: "Dataset") -> None:
        """Raise UserError before training for anything that would make the study fail after it."""
        ...

    def features(self, config: "ml_collections.ConfigDict", dataset: "Dataset", split: "Pictures") -> "np.ndarray":
        """Ids [examples] whose features the study needs, for a split too large to save the features of all examples."""
        ...

    def measure_all(self, logits: "np.ndarray", labels: "np.ndarray") -> Mapping[str, float]:
        """{measure: value} of one member's logits [N, K] and labels [N] of a split, taken while they are in memory.

        They are then in `Studied.measured`. For text, all tokens are measured on the devices instead.
        """
        ...

    def collect(self, studied: "Studied") -> list[records.Record]:
        """Records of a trained run; none where the study does not apply to it.

        With several processes, only the primary one calls this. A study that is `on_devices` is called by all
        processes, in the same order, so that it can compute with arrays on all devices. Then only the primary writes
        files, and only its records are used.
        """
        ...

    def analyze(self, arrays: Mapping[str, Any], triples: "Sequence[Triple]") -> list[records.Record]:
        """Records of one network of any framework, on the split "test"; none where it lacks arrays that they need.

        Args:
            arrays: logits [N, K], labels [N], class_names [K] and index [N]; optionally features [N, d], kernel [d, K]
                and bias [K].
            triples: class ids, three for each projection plane.
        """
        ...

    def summary(self, results: Sequence[records.Record], split: str) -> str:
        """The study's records of a held-out split as text for the terminal; empty without records."""
        ...

    def answer(self, results: Sequence[records.Record], split: str) -> "list[Sentence]":
        """The study's sentences of the answer: what smoothing did, on a held-out split; none without records."""
        ...

    def section(self, page: "Shown") -> "Markup":
        """The study's section of the page, as HTML from a template; empty without records."""
        ...


PARTS = ("CLAIMS", "FIELDS", "validate", "check", "features", "measure_all", "collect", "analyze", "summary", "answer",
         "section")


@dataclasses.dataclass(frozen=True)
class Study:
    """An entry of STUDIES: `Study("accuracy", "records.collect", "claims.CLAIMS")`. Parts are imported on first use.

    Args:
        name: its folder in ls_jax/studies/.
        parts: where each part is, as "module.part" in that folder.
        on_devices: whether all processes call `collect`; see `Parts`.
        slow: why it takes long, or "". An analysis runs slow studies last and reports why.
        later: whether its question comes from later work. Its claims and section then follow the paper's.
    """
    name: str
    parts: tuple[str, ...]
    on_devices: bool
    slow: str
    later: bool

    def __init__(self, name: str, *parts: str, on_devices: bool = False, slow: str = "", later: bool = False):
        for field, value in {"name": name, "parts": parts, "on_devices": on_devices, "slow": slow,
                             "later": later}.items():
            object.__setattr__(self, field, value)
        unknown = [part for part in parts if part.rpartition(".")[2] not in PARTS]
        if unknown:
            raise TypeError(f"study {name!r}: unknown parts {', '.join(unknown)}; a study may have {', '.join(PARTS)}")

    def part(self, name: str) -> Any:
        """The part of this name, imported now; None where the study has no such part."""
        for module, _, attribute in (part.rpartition(".") for part in self.parts):
            if attribute == name:
                return getattr(importlib.import_module(f"ls_jax.studies.{self.name}.{module}"), attribute)
        return None


# Records appear in this order. A study may import studies above it, but none below.
STUDIES = (
    Study("accuracy", "measure.measure_all", "records.collect", "records.analyze", "claims.CLAIMS", "tables.summary",
          "answer.answer", "section.section"),
    Study("projection", "fields.FIELDS", "records.check", "records.features", "records.collect", "records.analyze",
          "claims.CLAIMS", "answer.answer", "section.section"),
    Study("calibration", "records.collect", "records.analyze", "claims.CLAIMS", "tables.summary", "answer.answer",
          "section.section",
          slow="reads the logits about thirty times"),
    Study("classes", "records.collect", "records.analyze", "section.section", later=True),
    Study("recalibration", "records.collect", "records.analyze", "section.section", later=True,
          slow="fits two scalings to each network twenty times"),
    Study("selective", "records.collect", "records.analyze", "claims.CLAIMS", "answer.answer", "section.section",
          later=True),
    Study("amplification", "records.collect", "records.analyze", "claims.CLAIMS", "section.section", later=True),
    Study("distillation", "collect.collect", "claims.CLAIMS", "answer.answer", "section.section"),
    Study("information", "fields.FIELDS", "fields.validate", "records.check", "claims.CLAIMS",
          "section.section"),  # `dynamics` collects its records
    Study("representation", "records.collect", "records.analyze", "claims.CLAIMS", "section.section", later=True),
    Study("dynamics", "collect.collect", on_devices=True),
    Study("transfer", "fields.FIELDS", "fields.validate", "collect.check", "collect.collect", on_devices=True,
          later=True),
    Study("translation", "fields.FIELDS", "fields.validate", "collect.check", "collect.collect", "claims.CLAIMS",
          "answer.answer", "section.section", on_devices=True),
    Study("noise", "claims.CLAIMS", later=True),
    Study("rivals", "records.collect", "answer.answer", "section.section", later=True),
)


def having(part: str) -> list[tuple[Study, Any]]:
    """(study, part) for each study that has a part of this name, in the order of STUDIES."""
    return [(study, found) for study in STUDIES if (found := study.part(part)) is not None]


def papers_first(part: str) -> dict[Study, Any]:
    """{study: part} for each study with a part of this name: the paper's studies first, then those of later work."""
    return dict(sorted(having(part), key=lambda each: each[0].later))


def summary(results: Sequence[records.Record], split: str) -> str:
    """All studies' text for the terminal on a split, one after another; empty without records of the split."""
    return "\n".join(text for _, summarize in having("summary") if (text := summarize(results, split)))


def fields() -> dict[str, Mapping[str, Field]]:
    """{config section: {field name: field}} of the studies that have fields."""
    return {study.name: declared for study, declared in having("FIELDS")}


def claims() -> dict[str, Claim]:
    """{name: claim} of all studies: the paper's claims first, then those of later work."""
    found = {name: claim for of_study in papers_first("CLAIMS").values() for name, claim in of_study.items()}
    return dict(sorted(found.items(), key=lambda each: not each[1].of_paper))


def check(results: Sequence[records.Record], experiment: paper.Key | None = None) -> dict[str, list[Finding]]:
    """{claim's name: findings} for every claim that the records can test, with their ranks (`families`).

    Args:
        results: the records of a run.
        experiment: its `paper.key`, which says what is primary; None: none of the paper's.
    """
    known = claims()
    found = {name: claim.findings(results) for name, claim in known.items()}
    found = {name: [dataclasses.replace(each, facts=(*each.facts, *course.facts(each, results))) for each in findings]
             for name, findings in found.items() if findings}
    own = [name for name in found if known[name].of_paper]
    return families.ranked(found, known, paper.primary(experiment, own))


def lines(results: Sequence[records.Record], experiment: paper.Key | None = None) -> list[str]:
    """One line of text for each finding, with its verdict: the primary ones first."""
    found = check(results, experiment)
    return [
        f"{name}{'' if rank == PRIMARY else f' ({rank})'}, {finding.split} split, {finding.smoothing}"
        + "".join(f", {field.replace('_', ' ')} {value}" for field, value in finding.where.items())
        + f": {in_full(finding)}"
        for rank in RANKS for name, findings in families.of_rank(found, rank).items() for finding in findings
    ]
