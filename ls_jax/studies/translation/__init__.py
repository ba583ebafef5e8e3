"""Translation quality, likelihood and calibration against the softmax temperature (Figure 4)."""
from ls_jax.studies.translation.bleu import (
    BUCKET,
    Hypotheses,
    Translator,
    beam_search,
    scores,
    signatures,
)

__all__ = [
    "BUCKET", "Hypotheses", "Translator", "beam_search", "scores", "signatures",
]
