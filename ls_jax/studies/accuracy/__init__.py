"""Accuracy and likelihood of the one-hot labels, with and without smoothing (the paper's Table 2)."""
from ls_jax.studies.accuracy.measure import (
    MEASURES,
    accuracy,
    measure_all,
    negative_log_likelihood,
)

__all__ = [
    "MEASURES", "accuracy", "measure_all", "negative_log_likelihood",
]
