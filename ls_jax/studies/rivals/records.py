"""The rivals study's records: what each family of losses gives at the strength that validation chose.

A family is the arms that are trained with the same terms of the loss, such as smoothing by 0.05, 0.1 and 0.2. For each
seed, each family is represented by its arm with the best validation NLL (and, beside it, the best validation accuracy).
So differences on the test set carry the luck of choosing. Plain cross-entropy is not among a family's arms: a family is
judged by what it does, not by whether it can be left out.
"""
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ls_jax.studies.accuracy import measure as accuracy
from ls_jax.studies.calibration import over_examples, temperature
from ls_jax.studies.common import records, streaming
from ls_jax.studies.common.crossed import Sample, Units
from ls_jax.studies.common.statistics import paired
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.selective.measure import risk_coverage_area_without_groups
from ls_jax.workdir import predictions

PLAIN, SMOOTHING = "plain", "label smoothing"
# On validation; the largest is chosen. Of equal accuracies the better NLL decides.
CRITERIA = {"nll": lambda values: -values["nll"], "accuracy": lambda values: (values["accuracy"], -values["nll"])}
SCALED = "nll, temperature fitted on validation"
# Of the test set, with intervals for new seeds and new examples. Smaller is better, but for accuracy.
QUANTITIES = ("accuracy", "nll", SCALED, "debiased squared error", "aurc")
# Of other studies' records, with intervals for new seeds: quantity here -> (study, quantity, fields).
FROM_RECORDS = {"spread ratio": ("projection", "spread ratio", {"classes": "all triples"}),
                "probe accuracy": ("transfer", "probe accuracy", {})}
AGAINST_SMOOTHING = " against label smoothing"  # suffix of a difference's quantity

Row = Mapping[str, Any]
Choice = dict[tuple[str, Any], int]  # {(family, seed): the member that represents it}


def collect(studied: Studied) -> list[records.Record]:
    """Records of a run with a rival, a plain network and a validation split; none of others."""
    scores = {(studied.rows.index(row), split): values for split, row, values in studied.measured}
    return compared(studied.rows, studied.kept, scores, lambda member: samples(studied, member), studied.records)


def compared(rows: Sequence[Row], members: Sequence[int], scores: Mapping[tuple[int, str], Mapping[str, float]],
             measured: Callable[[int], Mapping[str, Sample]],
             others: Sequence[records.Record] = ()) -> list[records.Record]:
    """The records of `collect`, from members in whatever form they are kept.

    Args:
        rows: every member's hyper-parameters, seed, arm and terms.
        members: those that did not diverge.
        scores: {(member, split): {"accuracy", "nll"}}.
        measured: a member's QUANTITIES on the test set, or some of them, the same for all.
        others: records of other studies.
    """
    families = _families(rows, members)
    if PLAIN not in families or not {*families} - {PLAIN, SMOOTHING}:
        return []
    if not all((member, split) in scores for of in families.values() for member in of
               for split in ("validation", "test")):
        return []
    found: list[records.Record] = []
    known: dict[int, Mapping[str, Sample]] = {}
    for criterion, score in CRITERIA.items():
        choice = _choice(rows, families, lambda member, score=score: score(scores[member, "validation"]))
        known |= {member: measured(member) for member in {*choice.values()} - known.keys()}
        found += _of_choice(rows, choice, criterion, known)
        found += _of_records(rows, choice, criterion, others)
    return found


def family(row: Row) -> str:
    """A member's family, by the terms of its loss: "label smoothing", "max suppression", "plain"."""
    return " + ".join(name.replace("_", " ") for name in row.get("terms") or ()) or PLAIN


def samples(studied: Studied, member: int) -> dict[str, Sample]:
    """{quantity: its value on the test set and how it depends on the examples} of one member."""
    test, validation = (predictions.mapped(studied.outputs, split, member) for split in ("test", "validation"))
    units, fitted_units = (Units.of(arrays.get("sentence", arrays["index"]), len(arrays["labels"]))
                           for arrays in (test, validation))
    found = accuracy.of_examples(test["logits"], test["labels"], test.get("sentence"))
    of = over_examples.details(test["logits"], test["labels"])
    fitted, status = temperature.minimise_nll(validation["logits"], validation["labels"])
    part = over_examples.Part(*(over_examples.details(arrays["logits"], arrays["labels"], fitted)
                                for arrays in (test, validation)), units, fitted_units, status == "converged")
    top = streaming.top_label(test["logits"], test["labels"])
    area, without = risk_coverage_area_without_groups(top.confidence, top.correct, units.group)
    return {"accuracy": found["accuracy"], "nll": found["nll"], SCALED: over_examples.scaled([part])["scaled nll"],
            "debiased squared error": over_examples.at_one(of, units)["debiased squared error"],
            "aurc": Sample(area, deleted=without, examples=units.count)}


def _families(rows, members):
    """{family: members}, plain and label smoothing first; of a run's networks that did not diverge."""
    found: dict[str, list[int]] = {PLAIN: [], SMOOTHING: []}
    for member in members:
        found.setdefault(family(rows[member]), []).append(member)
    return {name: members for name, members in found.items() if members}


def _choice(rows, families, score) -> Choice:
    """The member of each family and seed with the largest score; of equal ones the first."""
    chosen: Choice = {}
    for name, members in families.items():
        for seed in dict.fromkeys(rows[member]["seed"] for member in members):
            chosen[name, seed] = max((member for member in members if rows[member]["seed"] == seed), key=score)
    return chosen


def _of_choice(rows, choice, criterion, measured) -> Iterator[records.Record]:
    chosen = [_row(rows, *place, member, criterion) for place, member in choice.items()]
    partners = _partners(chosen)
    for quantity in (name for name in QUANTITIES if name in measured[next(iter(choice.values()))]):
        of = [measured[member][quantity] for member in choice.values()]
        found = records.summarize("rivals", quantity, "test", chosen, [each.value for each in of], partners, of,
                                  examples=of[0].examples or len(of[0].values))
        yield from (_with_choice(record, rows, choice) for record in found)
        yield from _against_smoothing(quantity, chosen, dict(zip(choice, of)), criterion)


def _of_records(rows, choice, criterion, others) -> Iterator[records.Record]:
    """What other studies have measured of the chosen members."""
    for quantity, (study, name, fields) in FROM_RECORDS.items():
        values = {(records.key(record.hyper), seed): value
                  for record in records.select(others, study=study, quantity=name, split="test", kind=records.VALUE,
                                               **fields) for seed, value in record.by_seed.items()}
        places = {place: (records.key(records.hyper(rows[member])), place[1]) for place, member in choice.items()}
        if places and all(place in values for place in places.values()):
            chosen = [_row(rows, *place, member, criterion) for place, member in choice.items()]
            of = {place: Sample(values[where]) for place, where in places.items()}
            found = records.summarize("rivals", quantity, "test", chosen, [each.value for each in of.values()],
                                      _partners(chosen))
            yield from (_with_choice(record, rows, choice) for record in found)
            yield from _against_smoothing(quantity, chosen, of, criterion)


def _row(rows, name, seed, member, criterion):
    """The row of a family's representative; its hyper-parameters are the family and how it was chosen."""
    return {"family": name, "chosen_by": criterion, "seed": seed, "arm": name,
            "terms": list(rows[member].get("terms") or ())}


def _partners(rows: Sequence[Row]) -> list[int | None]:
    """The index of the plain network of each row's seed."""
    plain = {row["seed"]: place for place, row in enumerate(rows) if row["family"] == PLAIN}
    return [plain.get(row["seed"]) for row in rows]


def _with_choice(record, rows, choice):
    """The record with the arms that represent its family, by seed."""
    return record.having(chosen=[rows[choice[record.arm, seed]]["arm"] for seed in record.seeds])


def _against_smoothing(quantity, rows, samples, criterion) -> Iterator[records.Record]:
    """Paired differences from the family of label smoothing."""
    by_family: dict[str, dict[Any, Sample]] = {}
    for (name, seed), sample in samples.items():
        by_family.setdefault(name, {})[seed] = sample
    smoothed = by_family.get(SMOOTHING, {})
    terms = {row["family"]: row["terms"] for row in rows}
    value = lambda of: {seed: sample.value for seed, sample in of.items()}
    known = quantity in QUANTITIES
    for name in (name for name in by_family if name not in (PLAIN, SMOOTHING)):
        yield from records.difference(
            "rivals", quantity + AGAINST_SMOOTHING, "test", {"family": name, "chosen_by": criterion},
            {"family": SMOOTHING, "chosen_by": criterion}, paired(value(by_family[name]), value(smoothed)), name,
            records.paired_samples(by_family[name], smoothed) if known else None, terms[name])
