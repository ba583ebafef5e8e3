"""Does confidence match accuracy? Calibration errors and temperature scaling (Table 3, Figures 2 and 4)."""
from ls_jax.studies.calibration.measure import (
    Reliability,
    calibration_error_difference,
    diagram,
    expected_calibration_error,
    fit_temperature,
    reliability,
    smooth_calibration_error,
)

__all__ = [
    "Reliability", "calibration_error_difference", "diagram", "expected_calibration_error", "fit_temperature",
    "reliability", "smooth_calibration_error",
]
