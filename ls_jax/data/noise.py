"""Label noise: training labels made wrong on purpose (Lukasik et al. 2020 study smoothing against it)."""
import numpy as np
from jaxtyping import Int32

NOISE_SEED = 200302819  # never a run's seed, so that all runs share one set of wrong labels


def symmetric(labels: Int32[np.ndarray, " examples"], rate: float, classes: int) -> Int32[np.ndarray, " examples"]:
    """The labels, each replaced with probability `rate` by one of the other classes, all equally likely.

    A label that is wrong at one rate has the same wrong class at every higher rate. The expected labels are the targets
    of label smoothing with α = rate K/(K-1) (the paper's convention), or with α = rate in the convention "off_target".
    """
    rng = np.random.RandomState(NOISE_SEED)  # a stream that NumPy has frozen
    wrong, offset = rng.random_sample(len(labels)) < rate, rng.randint(1, classes, len(labels))
    return np.where(wrong, (labels + offset) % classes, labels).astype(np.int32)
