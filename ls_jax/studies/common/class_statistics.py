"""Per-class statistics of features for the representation measures, in two passes over blocks of rows.

All classes have equal weight, so that the measures mean the same on unbalanced data. Sums are float64. The covariance
is computed around the means in a second pass, since a collapsed network's spread is lost beside the squared means.
"""
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer
from scipy import sparse

from ls_jax import checked
from ls_jax.errors import InvalidArray
from ls_jax.studies.common import streaming
from ls_jax.studies.common.blocks import blocks


class ClassStatistics(NamedTuple):
    """Statistics of the classes that have examples, in the order of their ids."""
    classes: Int[np.ndarray, " present"]
    count: Int[np.ndarray, " present"]
    means: Float[np.ndarray, "present features"]
    directions: Float[np.ndarray, "present features"]   # means of the features over their norms; zero stays zero
    within: Float[np.ndarray, "features features"]      # Σ_W: mean over classes of the class's covariance (1/n)

    @property
    def centred(self) -> Float[np.ndarray, "present features"]:
        """Class means minus their mean."""
        return self.means - self.means.mean(axis=0)


def of_features(features: Any, labels: Integer[np.ndarray, " examples"]) -> ClassStatistics:
    """Statistics of features [N, d], which may be a memory map larger than memory; d² numbers are held.

    Raises:
        InvalidArray: a dtype or a shape is wrong, there is no example, or a feature is not finite.
    """
    labels = checked.integers(labels)
    checked.check_reals(features, "features", 2)
    if labels.shape != (features.shape[0],):
        raise InvalidArray(
            f"labels have shape {labels.shape}, but features {features.shape}: labels must be {(features.shape[0],)}")
    if 0 in features.shape:
        raise InvalidArray(
            f"features have shape {tuple(features.shape)}: at least one example and one feature are needed")
    classes, position, count = np.unique(labels, return_inverse=True, return_counts=True)
    width = features.shape[1]
    means, directions = np.zeros((2, len(classes), width))
    within = np.zeros((width, width))
    for rows in blocks(len(labels), width):
        block, of_class = checked.doubles(features[rows]), indicator(position[rows], len(classes))
        checked.check_finite("features", block, rows.start)
        norms = np.linalg.norm(block, axis=1, keepdims=True)
        means += of_class @ block
        directions += of_class @ np.divide(block, norms, out=np.zeros_like(block), where=norms > 0)
    means, directions = means / count[:, None], directions / count[:, None]
    for rows in blocks(len(labels), width):
        residual = np.asarray(features[rows], np.float64) - means[position[rows]]
        residual /= np.sqrt(count[position[rows]] * len(classes))[:, None]
        within += residual.T @ residual
    return ClassStatistics(classes, count, means, directions, within)


def indicator(position: Int[np.ndarray, " examples"], classes: int) -> sparse.csr_array:
    """The sparse one-hot matrix [classes, examples]; its product with rows sums them by class."""
    return sparse.csr_array((np.ones(len(position)), (position, np.arange(len(position)))), (classes, len(position)))


def disagreement(arrays: Mapping[str, Any], statistics: ClassStatistics) -> float:
    """The fraction of examples whose nearest class mean and largest logit are of different classes (NC4).

    Only classes that have examples count.
    """
    logits, labels = checked.member(arrays["logits"], arrays["labels"])
    different, norms = 0, np.sum(statistics.centred ** 2, axis=1)
    middle = statistics.means.mean(axis=0)
    for rows in blocks(len(labels), max(arrays["features"].shape[1], logits.shape[1])):
        features = checked.doubles(arrays["features"][rows]) - middle
        nearest = np.argmin(norms - 2 * features @ statistics.centred.T, axis=1)
        different += np.sum(nearest != np.argmax(logits[rows][:, statistics.classes], axis=1))
    return float(different / len(labels))


def stability(logits: Any, labels: Integer[np.ndarray, " examples"], temperature: float = 1.0) -> float:
    """Stability S of logits [N, K], at most 1; it is 1 where all examples of a class get the same probabilities."""
    logits, labels = checked.member(logits, labels)
    classes, position, count = np.unique(labels, return_inverse=True, return_counts=True)
    total, square = np.zeros((len(classes), logits.shape[1])), np.zeros(len(classes))
    for rows in blocks(len(position), logits.shape[1]):
        _, _, exponential, others = streaming.softmax(checked.doubles(logits[rows], "logits"), temperature)
        probabilities = exponential / (1 + others)[:, None]
        of_class = indicator(position[rows], len(classes))
        total += of_class @ probabilities
        square += of_class @ np.sum(probabilities ** 2, axis=1)
    return float(1 - np.mean(np.maximum(square / count - np.sum((total / count[:, None]) ** 2, axis=1), 0)))
