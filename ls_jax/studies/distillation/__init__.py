"""Do teachers trained with smoothing distil worse? (Section 4, Figure 5.)"""
from ls_jax.studies.distillation.measure import (
    NEAREST,
    diffusion,
    equivalent_smoothing,
    similar_classes,
    stability,
)

__all__ = [
    "NEAREST", "diffusion", "equivalent_smoothing", "similar_classes", "stability",
]
