"""Neural collapse, class separation, stability, rank and similarity of the penultimate layer. (Later work.)"""
from ls_jax.studies.representation.measure import (
    class_separation,
    effective_rank,
    linear_cka,
    measure_all,
    stability,
)

__all__ = [
    "class_separation", "effective_rank", "linear_cka", "measure_all", "stability",
]
