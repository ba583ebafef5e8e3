"""Penultimate activations on the plane through three class templates (Section 2, Figure 1)."""
from ls_jax.studies.projection.measure import (
    ALL,
    EXAMPLES,
    IN_LOGITS,
    QUANTITIES,
    measure_all,
    numbers,
    project,
    samples,
    template_plane,
    template_span,
    templates,
)

__all__ = [
    "ALL", "EXAMPLES", "IN_LOGITS", "QUANTITIES", "measure_all", "numbers", "project", "samples", "template_plane",
    "template_span", "templates",
]
