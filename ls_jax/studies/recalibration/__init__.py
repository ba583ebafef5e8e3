"""Beside temperature scaling: do scalings with more parameters calibrate better? (Later work.)"""
from ls_jax.studies.recalibration.measure import Isotonic, Vector, fit_isotonic, fit_vector

__all__ = ["Isotonic", "Vector", "fit_isotonic", "fit_vector"]
