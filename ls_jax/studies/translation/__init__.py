"""Translation quality, likelihood and calibration at several softmax temperatures (Figure 4)."""
from ls_jax.studies.translation.measure import (
    BINS,
    Curve,
    Translated,
    expected_calibration_error,
    measured,
)

__all__ = [
    "BINS", "Curve", "Translated", "expected_calibration_error", "measured",
]
