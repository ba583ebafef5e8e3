"""How good translations are: BLEU and chrF by sacrebleu."""
import functools
from collections.abc import Sequence

from ls_jax.errors import UserError


def scores(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """{"bleu": cased, "uncased bleu", "chrf"} of a corpus, each in [0, 100], by sacrebleu with its own tokenization.

    Raises:
        UserError: sacrebleu is not installed.
        ValueError: there are not as many references as hypotheses.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} translations and {len(references)} references: there must be one for each")
    return {name: metric.corpus_score(hypotheses, [references]).score for name, metric in _metrics().items()}


def signatures() -> dict[str, str]:
    """sacrebleu's signature of each of `scores`: what exactly was computed, and by which version."""
    result = {}
    for name, metric in _metrics().items():
        metric.corpus_score(["a"], [["a"]])  # it knows of its references only once it has seen some
        result[name] = str(metric.get_signature())
    return result


@functools.cache
def _metrics():
    try:
        from sacrebleu import metrics  # here: only translation needs it
    except ModuleNotFoundError as error:
        raise UserError("BLEU needs sacrebleu: pip install 'ls_jax[translation]' (or sacrebleu)") from error
    return {"bleu": metrics.BLEU(), "uncased bleu": metrics.BLEU(lowercase=True), "chrf": metrics.CHRF()}
