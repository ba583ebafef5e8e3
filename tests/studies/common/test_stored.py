"""The records of results/ are what `summarize` makes of their values: the numbers of version 0.1.0, to the bit."""
import dataclasses
import pathlib

import pytest

from ls_jax.studies.common import records

RESULTS = pathlib.Path(__file__).resolve().parents[3] / "results"
SHARED = ("classes", "step", "data", "probe_examples", "examples", "temperature", "file", "beams", "sentences",
          "tokens", "bins")
OF_SUMMARIES = ("accuracy", "projection", "representation", "transfer", "translation")
NO_DIFFERENCES = ("cka with hard", "best temperature by ece", "bleu gain of scaling", "least nll excess",
                  "bleu over scaling", "bleu gain of fitted scaling", "bleu over scaling by halves")


def stored(folder):
    """{what its records share: records} of the studies whose records are all `summarize`'s."""
    groups = {}
    for record in records.read(RESULTS / folder):
        if record.study in OF_SUMMARIES and "nc1_levels" not in record.extra and record.quantity not in NO_DIFFERENCES:
            groups.setdefault((record.study, record.quantity, record.split, *(str(record.extra.get(name))
                                                                              for name in SHARED)), []).append(record)
    return groups


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in RESULTS.glob("*/results.json")
                                          if not path.parent.name.startswith("rivals")))  # their arms have names
def test_summaries_of_the_stored_values_are_the_stored_records(folder):
    groups = stored(folder)
    assert groups
    for (study, quantity, split, *_), results in groups.items():
        members = [(record, seed, value) for record in results if record.kind == "value"
                   for seed, value in record.by_seed.items()]
        rows = [{**record.hyper, "seed": seed} for record, seed, _ in members]
        made = records.summarize(study, quantity, split, rows, [value for *_, value in members])
        assert [without_interval(record) for record in made] == [without_interval(record) for record in results]
        for mine, record in zip(made, results):
            stored_interval = record.interval_seeds if record.variance else record.interval  # the other is of examples
            if record.kind == "difference":
                assert mine.interval == pytest.approx(stored_interval, rel=1e-5)


def without_interval(record):
    """The record without its fields that are made of predictions, and without its interval."""
    return dataclasses.replace(record, extra={}, interval=None, interval_seeds=None, variance={},
                               degrees_of_freedom=None, terms=None, deleted=None)
