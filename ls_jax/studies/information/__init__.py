"""How much information do logits keep about the training example? (Section 4 and Figure 6.)"""
from ls_jax.studies.information.measure import (
    NODES,
    collapsed,
    fitted_mixture,
    half_samples,
    logit_information,
    mixture_information,
    neighbour_information,
    printed_information,
    repeated,
)

__all__ = [
    "NODES", "collapsed", "fitted_mixture", "half_samples", "logit_information", "mixture_information",
    "neighbour_information", "printed_information", "repeated",
]
