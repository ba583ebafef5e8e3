"""Does smoothing worsen selective classification, the ranking of errors by confidence? (Later work.)"""
from ls_jax.studies.selective.measure import (
    NORMS,
    Selective,
    aurc,
    best_norm,
    normalised_logits,
    risk_coverage_area,
    risk_coverage_area_without_groups,
    select_norm,
    selective,
)

__all__ = [
    "NORMS", "Selective", "aurc", "best_norm", "normalised_logits", "risk_coverage_area",
    "risk_coverage_area_without_groups", "select_norm", "selective",
]
