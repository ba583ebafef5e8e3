"""Translation quality, likelihood and calibration against the softmax temperature (Figure 4)."""
from ls_jax.studies.translation.measure import (
    BINS,
    Curve,
    Translated,
    expected_calibration_error,
)

__all__ = [
    "BINS", "Curve", "Translated", "expected_calibration_error",
]
