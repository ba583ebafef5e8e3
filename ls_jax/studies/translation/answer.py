"""The answer's sentence on translations: whether beam search with the smoothed network has a higher BLEU."""
from collections.abc import Sequence

from ls_jax.studies.common import answers, records

SMALL = 0.5  # BLEU; papers report differences from about here on


def answer(results: Sequence[records.Record], split: str) -> list[answers.Sentence]:
    """A sentence on BLEU at temperature 1, of the split's first file and the first beam width."""
    here = records.select(results, study="translation", quantity="bleu", split=split, temperature=1.0)
    if not here:
        return []
    first = {name: here[0].extra[name] for name in ("file", "beams") if name in here[0].extra}
    sentence = answers.compared(results, split, answers.Measure(
        "BLEU", "translation", "bleu", higher=True, of=lambda _: SMALL / answers.MARGIN, units=" BLEU", places=1,
        fields={"temperature": 1.0, **first}))
    return [] if sentence is None else [sentence]
