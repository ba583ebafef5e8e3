"""Vector scaling (Guo et al. 2017) and isotonic regression of each class (Zadrozny and Elkan 2002), fitted on held-out
data."""
import dataclasses
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Real
from scipy import optimize
from scipy.special import log_softmax, logsumexp, softmax

from ls_jax import checked
from ls_jax.errors import InvalidArray
from ls_jax.studies.common import blas

MOST_STEPS, MOST_AGAIN = 200, 20  # of L-BFGS, in all and from the fit to almost the same examples


@dataclasses.dataclass(frozen=True, eq=False)
class Vector:
    """The probabilities softmax(scale * logits + bias). `converged` is False where the likelihood has no maximum."""
    scale: Float[np.ndarray, " classes"]
    bias: Float[np.ndarray, " classes"]
    converged: bool = True

    def log_probabilities(self, logits: Real[Any, "examples classes"]) -> Float[np.ndarray, "examples classes"]:
        """Natural logarithms of the calibrated probabilities, float64."""
        return log_softmax(self.scale * checked.doubles(logits, "logits") + self.bias, axis=-1)


@dataclasses.dataclass(frozen=True, eq=False)
class Isotonic:
    """For each class, a function of its probability: increasing, linear between `steps`; the results are normalised.

    No result is below `least` or above 1 - least, so that the likelihood of a class that was not seen is not 0.
    """
    steps: tuple[tuple[np.ndarray, np.ndarray], ...]  # for each class: probabilities, and what they become
    least: float

    def log_probabilities(self, logits: Real[Any, "examples classes"]) -> Float[np.ndarray, "examples classes"]:
        """Natural logarithms of the calibrated probabilities, float64."""
        before = softmax(checked.doubles(logits, "logits"), axis=-1)
        after = np.stack([np.interp(column, *steps) for column, steps in zip(before.T, self.steps, strict=True)],
                         axis=-1)
        after = np.log(np.clip(after, self.least, 1 - self.least))
        return after - logsumexp(after, axis=-1, keepdims=True)


def fit_vector(logits: Real[Any, "examples classes"], labels: Integer[np.ndarray, " examples"],
               start: Vector | None = None) -> Vector:
    """The scale and bias of each class that minimise the NLL, by L-BFGS; the NLL is convex in both.

    Where the classes can be separated, the NLL has no minimum, and the fit is what MOST_STEPS reach.

    Args:
        logits, labels: of the examples of the fit.
        start: where to begin, such as the fit to almost the same examples.

    Raises:
        InvalidArray: the arrays are invalid, or a logit is not finite.
    """
    logits, labels = _finite(logits, labels)
    examples, classes = logits.shape
    place = np.arange(examples), labels

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scale, bias = parameters.reshape(2, classes)
        log_p = log_softmax(scale * logits + bias, axis=-1)
        gap = np.exp(log_p)
        gap[place] -= 1
        return -log_p[place].mean(), np.concatenate([np.einsum("ij,ij->j", gap, logits), gap.sum(axis=0)]) / examples

    first = np.concatenate([np.ones(classes), np.zeros(classes)] if start is None else [start.scale, start.bias])
    with blas.one_thread():
        found = optimize.minimize(loss, first, jac=True, method="L-BFGS-B",
                                  options={"maxiter": MOST_STEPS if start is None else MOST_AGAIN, "ftol": 1e-10,
                                           "gtol": 1e-6})
    return Vector(*found.x.reshape(2, classes), converged=bool(found.success))


def fit_isotonic(logits: Real[Any, "examples classes"], labels: Integer[np.ndarray, " examples"],
                 start: Isotonic | None = None) -> Isotonic:
    """For each class, the increasing function of its probability with the smallest squared error to [it is the label].

    Args:
        logits, labels: of the examples of the fit.
        start: not used; the fit needs no start.

    Raises:
        InvalidArray: the arrays are invalid, or a logit is not finite.
    """
    logits, labels = _finite(logits, labels)

    def of_class(column: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, place, count = np.unique(column, return_inverse=True, return_counts=True)
        return values, optimize.isotonic_regression(np.bincount(place, right) / count, weights=count).x

    probability = softmax(logits, axis=-1)
    return Isotonic(tuple(of_class(column, labels == each) for each, column in enumerate(probability.T)),
                    1 / (len(labels) + 2))


FITS = {"vector": fit_vector, "isotonic": fit_isotonic}


class Predicted(NamedTuple):
    """Predictions of calibrated probabilities."""
    confidence: Float[np.ndarray, " examples"]
    correct: Bool[np.ndarray, " examples"]
    nll: Float[np.ndarray, " examples"]  # nats

    @classmethod
    def of(cls, scaling: Vector | Isotonic, logits: Real[Any, "examples classes"],
           labels: Integer[np.ndarray, " examples"]) -> "Predicted":
        """Of classes with equal largest probabilities, the one with the largest logit is predicted."""
        log_p = scaling.log_probabilities(logits)
        largest = log_p.max(axis=-1, keepdims=True)
        top = np.where(log_p == largest, logits, -np.inf).argmax(axis=-1)
        return cls(np.exp(largest[:, 0]), top == labels, -log_p[np.arange(len(labels)), labels])


def _finite(logits, labels):
    logits, labels = checked.member(logits, labels)
    logits = checked.doubles(np.asarray(logits), "logits")
    if not np.isfinite(logits).all():
        raise InvalidArray("logits hold NaN or an infinity: vector and isotonic scaling need finite logits")
    return logits, labels
