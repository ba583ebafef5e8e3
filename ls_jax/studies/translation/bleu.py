"""Translation quality: BLEU and chrF by sacrebleu."""
import functools
from collections.abc import Sequence

import numpy as np

from ls_jax.errors import UserError
from ls_jax.studies.common import crossed
from ls_jax.studies.common.crossed import Sample


def scores(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """{"bleu" (cased), "uncased bleu", "chrf"} of a corpus, each from 0 to 100, by sacrebleu with its own tokenization.

    Raises:
        UserError: sacrebleu is not installed.
        ValueError: the numbers of hypotheses and references differ.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} translations but {len(references)} references: each translation needs one")
    return {name: metric.corpus_score(hypotheses, [references]).score for name, metric in _metrics().items()}


def measured(hypotheses: Sequence[str],
             references: Sequence[str]) -> tuple[dict[str, Sample], tuple[Sample, Sample] | None]:
    """`scores` with how BLEU depends on the sentences, and the BLEU of every other sentence, from the first and from
    the second on (None with one sentence)."""
    found = {name: Sample(value) for name, value in scores(hypotheses, references).items()}
    if len(references) < 2:
        return found, None
    group = crossed.groups(np.arange(len(references)))
    into = np.eye(group.max() + 1, dtype=np.int64)[:, group]  # [groups, sentences]
    for name in ("bleu", "uncased bleu"):
        counts = _counts(hypotheses, references, lowercase=name == "uncased bleu")
        found[name] = _without_groups(counts, into)
        if name == "bleu":
            halves = tuple(_without_groups(counts[half::2], into[:, half::2]) for half in (0, 1))
    return found, halves


def _counts(hypotheses, references, lowercase):
    """What BLEU is made of, [sentences, 10]: both lengths, then matches and n-grams for n = 1 to 4."""
    from sacrebleu import metrics
    metric = metrics.BLEU(lowercase=lowercase, effective_order=True)  # of one sentence; its counts are the corpus's
    each = [metric.sentence_score(hypothesis, [reference]) for hypothesis, reference in zip(hypotheses, references)]
    return np.array([(one.sys_len, one.ref_len, *one.counts, *one.totals) for one in each], np.int64)


def _without_groups(counts, into):
    sums = into @ counts
    total = sums.sum(axis=0)
    return Sample(_bleu(total), deleted=np.array([_bleu(total - left_out) for left_out in sums]), examples=len(counts))


def _bleu(counts):
    """sacrebleu's score of a corpus, with the settings of `scores`."""
    from sacrebleu import metrics
    return metrics.BLEU.compute_bleu(counts[2:6].tolist(), counts[6:].tolist(), int(counts[0]), int(counts[1]),
                                     smooth_method="exp").score


def signatures() -> dict[str, str]:
    """sacrebleu's signature for each of `scores`: the exact settings and the version."""
    result = {}
    for name, metric in _metrics().items():
        metric.corpus_score(["a"], [["a"]])  # the signature needs the number of references
        result[name] = str(metric.get_signature())
    return result


@functools.cache
def _metrics():
    try:
        from sacrebleu import metrics  # here: only translation needs it
    except ModuleNotFoundError as error:
        raise UserError("BLEU needs sacrebleu: pip install 'ls_jax[translation]' (or sacrebleu)") from error
    return {"bleu": metrics.BLEU(), "uncased bleu": metrics.BLEU(lowercase=True), "chrf": metrics.CHRF()}
