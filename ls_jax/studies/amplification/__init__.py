"""Does smoothing strengthen wrong predictions? Its term of the loss, by right and wrong predictions. (Later work.)"""
from ls_jax.studies.amplification.measure import TERMS, Terms, terms

__all__ = ["TERMS", "Terms", "terms"]
