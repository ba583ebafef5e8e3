"""A linear probe: the accuracy of a linear classifier for another task on frozen features (Kornblith et al. 2021).

It is multinomial logistic regression with an L2 penalty, chosen on a part of the training examples. Features are
centred and divided by one number, their root mean squared norm: smoothing shrinks a network's scale, which must not act
as a penalty. Directions keep their relative spread, so that information that a network has almost erased stays hard to
read.
"""
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from scipy import optimize
from scipy.special import logsumexp

from ls_jax import checked

PENALTIES = tuple(10.0**-k for k in range(1, 8))  # from strong to weak; each fit starts from the previous one
ITERATIONS = 300
VALIDATION = 5                                    # every fifth training example chooses the penalty


class Probe(NamedTuple):
    """A fitted probe: logits = (features - mean) / scale @ kernel + bias."""
    kernel: Float[np.ndarray, "features classes"]
    bias: Float[np.ndarray, " classes"]
    mean: Float[np.ndarray, " features"]
    scale: float
    penalty: float

    def accuracy(self, features: Float[np.ndarray, "examples features"],
                 labels: Integer[np.ndarray, " examples"]) -> float:
        """The fraction of examples that the probe classifies correctly."""
        features, labels = checked.doubles(features), checked.class_ids(labels, len(self.bias))
        return float(
            np.mean(np.argmax((features - self.mean) / self.scale @ self.kernel + self.bias, axis=1) == labels))


def fit(features: Float[np.ndarray, "examples features"], labels: Integer[np.ndarray, " examples"],
        classes: int) -> Probe:
    """The probe, fitted on all examples, with the penalty of best validation accuracy (of equal ones, the strongest).

    Raises:
        ValueError: there are fewer than ten examples, or a feature is not finite.
    """
    if len(labels) < 2 * VALIDATION:
        raise ValueError(f"a probe needs {2 * VALIDATION} examples or more, not {len(labels)}")
    features, labels = checked.doubles(features), checked.class_ids(labels, classes)
    checked.check_finite("features", features)
    held_out = np.arange(len(labels)) % VALIDATION == 0
    best, start = (-1.0, PENALTIES[0]), None
    for penalty in PENALTIES:
        start = fit_one(features[~held_out], labels[~held_out], classes, penalty, start)
        best = max(best, (start.accuracy(features[held_out], labels[held_out]), penalty))
    return fit_one(features, labels, classes, best[1], start)


def fit_one(features: Any, labels: Integer[np.ndarray, " examples"], classes: int, penalty: float,
            start: Probe | None = None) -> Probe:
    """The minimum of mean cross-entropy + penalty/2 ||kernel||², by L-BFGS in float64; the bias is not penalised."""
    x, labels = checked.doubles(features), checked.class_ids(labels, classes)
    mean = x.mean(axis=0)
    x = x - mean
    scale = float(np.sqrt(np.mean(np.sum(x * x, axis=1)))) or 1.0
    x = np.append(x / scale, np.ones((len(x), 1)), axis=1)
    rows = np.arange(len(x))

    def objective(flat):
        weights = flat.reshape(x.shape[1], classes)
        logits = x @ weights
        log_total = logsumexp(logits, axis=1)
        slope = np.exp(logits - log_total[:, None])
        slope[rows, labels] -= 1
        gradient = x.T @ slope / len(x)
        gradient[:-1] += penalty * weights[:-1]
        return np.mean(log_total - logits[rows, labels]) + penalty / 2 * np.sum(weights[:-1] ** 2), gradient.ravel()

    first = np.zeros((x.shape[1], classes)) if start is None else np.append(start.kernel, start.bias[None], axis=0)
    found = optimize.minimize(objective, first.ravel(), jac=True, method="L-BFGS-B",
                              options={"maxiter": ITERATIONS, "gtol": 1e-6})
    weights = found.x.reshape(first.shape)
    return Probe(weights[:-1], weights[-1], mean, scale, penalty)
