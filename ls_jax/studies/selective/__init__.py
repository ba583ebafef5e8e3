"""Does smoothing spoil the ranking of errors by confidence? (Later work.)"""
from ls_jax.studies.selective.measure import (
    NORMS,
    aurc,
    best_norm,
    normalised_logits,
    risk_coverage_area,
    select_norm,
)

__all__ = [
    "NORMS", "aurc", "best_norm", "normalised_logits", "risk_coverage_area", "select_norm",
]
