"""Label noise: training labels that are made wrong on purpose (Lukasik et al. 2020 smooth against it)."""
import numpy as np
from jaxtyping import Int32

NOISE_SEED = 200302819  # never a run's seed, so that all runs share one set of wrong labels


def symmetric(labels: Int32[np.ndarray, " examples"], rate: float, classes: int) -> Int32[np.ndarray, " examples"]:
    """The labels, each with probability `rate` replaced by one of the other classes, all equally likely.

    Wrong at one rate is wrong at every higher one, by the same wrong class. In expectation the labels are those that label smoothing of
    α = rate K/(K-1) makes (the paper's convention), and of α = rate in the convention "off_target".
    """
    rng = np.random.RandomState(NOISE_SEED)  # a stream that NumPy has frozen
    wrong, offset = rng.random_sample(len(labels)) < rate, rng.randint(1, classes, len(labels))
    return np.where(wrong, (labels + offset) % classes, labels).astype(np.int32)
