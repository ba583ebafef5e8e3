"""STUDIES lists the studies; `Parts` says what one may have. Whoever walks them knows none by name."""
import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ls_jax.fields import Field
from ls_jax.studies.common import records as results
from ls_jax.studies.common.claims import Claim, Finding, sentence

if TYPE_CHECKING:
    import ml_collections
    import numpy as np
    from markupsafe import Markup

    from ls_jax.data import Dataset, Pictures
    from ls_jax.studies.common.shown import Shown
    from ls_jax.studies.common.studied import Studied
    from ls_jax.studies.common.triples import Triple


class Parts(Protocol):
    """What a study may have: each part is there or not, and its name in a module of the study's folder is the name here.

    CLAIMS: what is to be shown, by name; see `studies.common.claims`.
    FIELDS: the fields of the config's section that has the study's name; a resumed run may change them.
    """
    CLAIMS: Mapping[str, Claim]
    FIELDS: Mapping[str, Field]

    def validate(self, config: "ml_collections.ConfigDict") -> None:
        """Raise UserError for what is wrong with the config's section beside each field's own check, whatever the data are."""
        ...

    def check(self, config: "ml_collections.ConfigDict", dataset: "Dataset") -> None:
        """Raise UserError, before anything is trained, for what would stop the study after the training."""
        ...

    def features(self, config: "ml_collections.ConfigDict", dataset: "Dataset", split: "Pictures") -> "np.ndarray":
        """Ids [examples] of those whose features it needs, of a split of pictures that is too large to keep the features of all."""
        ...

    def collect(self, studied: "Studied") -> list[results.Record]:
        """Records of a trained run; none of a run that the study does not apply to.

        Of several processes the primary one alone calls it; or, if the study is `on_devices`, all do, in one order, so that it may
        compute with what lies on all devices. Then the records of the primary count, and it alone writes.
        """
        ...


    def analyze(self, arrays: Mapping[str, Any], triples: "Sequence[Triple]") -> list[results.Record]:
        """Records of one network of any framework, on the split "test"; none where it lacks arrays that the study needs.

        Args:
            arrays: logits [N, K] and labels [N], class_names [K] and index [N]; perhaps features [N, d] with kernel [d, K] and bias [K].
            triples: the classes that are shown on planes.
        """
        ...

    def summary(self, records: Sequence[results.Record], split: str) -> str:
        """Lines for the terminal on the study's records of a held-out split; empty where there are none."""
        ...

    def section(self, page: "Shown") -> "Markup":
        """Its part of the page: HTML from a template; empty where its records are not there."""
        ...


PARTS = ("CLAIMS", "FIELDS", "validate", "check", "features", "collect", "analyze", "summary", "section")


@dataclasses.dataclass(frozen=True)
class Study:
    """An entry: `Study("accuracy", "records.collect", "records.analyze", "claims.CLAIMS")`. Importing it imports none of its parts.

    Args:
        name: its folder in ls_jax/studies/.
        parts: where its parts are, "module.part" in that folder.
        on_devices: whether every process collects; see `Parts`.
        slow: why it takes long, if it does: an analysis leaves it to the last, and says so.
        later: whether the paper does not ask its question: its claims and section come after those of the paper's.
    """
    name: str
    parts: tuple[str, ...]
    on_devices: bool
    slow: str
    later: bool

    def __init__(self, name: str, *parts: str, on_devices: bool = False, slow: str = "", later: bool = False):
        for field, value in {"name": name, "parts": parts, "on_devices": on_devices, "slow": slow, "later": later}.items():
            object.__setattr__(self, field, value)
        unknown = [part for part in parts if part.rpartition(".")[2] not in PARTS]
        if unknown:
            raise TypeError(f"study {name!r}: {', '.join(unknown)} is no part of a study; these are {', '.join(PARTS)}")

    def part(self, name: str) -> Any:
        """One of `Parts`, imported now; None where the study has none of this name."""
        for module, _, attribute in (part.rpartition(".") for part in self.parts):
            if attribute == name:
                return getattr(importlib.import_module(f"ls_jax.studies.{self.name}.{module}"), attribute)
        return None


# In the order of their records; a study may import those above it, and nothing of those below.
STUDIES = (
    Study("accuracy", "records.collect", "records.analyze", "claims.CLAIMS", "tables.summary", "section.section"),
    Study("projection", "fields.FIELDS", "records.check", "records.features", "records.collect", "records.analyze", "claims.CLAIMS",
          "section.section"),
    Study("calibration", "records.collect", "records.analyze", "claims.CLAIMS", "tables.summary", "section.section",
          slow="reads the logits some thirty times"),
    Study("distillation", "collect.collect", "claims.CLAIMS", "section.section"),
    Study("information", "fields.FIELDS", "fields.validate", "records.check", "claims.CLAIMS",
          "section.section"),  # its records are those of dynamics
    Study("representation", "records.collect", "records.analyze", "claims.CLAIMS", "section.section", later=True),
    Study("dynamics", "collect.collect", on_devices=True),
    Study("transfer", "fields.FIELDS", "fields.validate", "collect.check", "collect.collect", on_devices=True, later=True),
    Study("translation", "fields.FIELDS", "fields.validate", "collect.check", "collect.collect", "claims.CLAIMS",
          "section.section", on_devices=True),
    Study("noise", "claims.CLAIMS", later=True),
)


def having(part: str) -> list[tuple[Study, Any]]:
    """(study, its part of this name) of the studies that have one, in their order."""
    return [(study, found) for study in STUDIES if (found := study.part(part)) is not None]


def papers_first(part: str) -> dict[Study, Any]:
    """{study: its part of this name}, first of the studies whose question is the paper's, then of the others."""
    return dict(sorted(having(part), key=lambda each: each[0].later))


def summary(records: Sequence[results.Record], split: str) -> str:
    """What the studies have to say of a split where there is no page; empty without records of it."""
    return "\n".join(text for _, summarize in having("summary") if (text := summarize(records, split)))


def fields() -> dict[str, Mapping[str, Field]]:
    """{section of the config: its fields, by name} of the studies that have fields."""
    return {study.name: declared for study, declared in having("FIELDS")}


def claims() -> dict[str, Claim]:
    """Every claim by name: the paper's in the order of the studies, then those of later work."""
    return {name: claim for found in papers_first("CLAIMS").values() for name, claim in found.items()}


def check(records: Sequence[results.Record]) -> dict[str, list[Finding]]:
    """The findings on every claim that the records say anything about, by the claim's name."""
    found = {name: claim.check(records) for name, claim in claims().items()}
    return {name: findings for name, findings in found.items() if findings}


def lines(records: Sequence[results.Record]) -> list[str]:
    """Each finding's verdict as a line; of records of one study, the findings on that study's claims."""
    return [f"{name}, {finding.split} split, {finding.smoothing}"
            + "".join(f", {field.replace('_', ' ')} {value}" for field, value in finding.where.items()) + f": {sentence(finding)}"
            for name, findings in check(records).items() for finding in findings]
