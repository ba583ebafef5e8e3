"""Studies: one folder for each question. `registry.STUDIES` lists them; `measure.py` in each works on plain arrays.

A study's package is imported when it is first used, as in
`ls_jax.studies.calibration.expected_calibration_error(logits, labels)`.
"""
import importlib
import importlib.util
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
