"""Accuracy and hard-label likelihood, with smoothing and without (the paper's Table 2)."""
from ls_jax.studies.accuracy.measure import (
    MEASURES,
    SHOWN,
    accuracy,
    cells,
    measure_all,
    negative_log_likelihood,
    run,
    table,
)

__all__ = [
    "MEASURES", "SHOWN", "accuracy", "cells", "measure_all", "negative_log_likelihood", "run", "table",
]
