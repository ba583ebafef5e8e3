"""Measures of a teacher's outputs, and of the diffusion of a student's classes.

Logits [*members, examples, classes] and labels [examples] or [*members, examples] give one number for each member, in
float64.
"""
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, Real

from ls_jax import checked
from ls_jax.studies.common import class_statistics, streaming
from ls_jax.studies.common.streaming import Labels, Logits, Mask

NEAREST = 4  # a class's similar classes are the nearest 1/NEAREST of the others, at least one


def equivalent_smoothing(teacher_logits: Logits, labels: Labels, temperature: float = 1.0, mask: Mask = None) -> Any:
    """γ = E[Σ_k (1 - y_k) pᵗ_k(T)] K/(K-1): the label smoothing with equal probability on wrong classes (Section 4).

    A teacher that outputs the smoothed targets of α has γ = α; γ → 1 for T → ∞; a teacher that is certain and wrong has
    K/(K-1). K is the number of an example's classes whose logit is not -inf; with one class γ is 0.

    Raises:
        ValueError: the temperature is not above 0, or shapes do not match.
    """
    def measure(logits, labels):
        def block(rows):
            values = checked.doubles(logits[rows], "logits")
            _, _, exponential, others = streaming.softmax(values, temperature)
            exponential[np.arange(len(exponential)),
                        labels[rows]] = 0  # sums the wrong classes, since 1 - p_y would cancel
            present = _scale(np.sum(values != -np.inf, axis=-1)) / _scale(classes)  # 1 where all classes exist
            return np.sum(exponential.sum(axis=-1) / (1 + others) * present)

        classes = logits.shape[-1]
        return np.float64(sum(streaming.over_blocks(block, *logits.shape)) / len(labels) * _scale(classes))

    if not temperature > 0:
        raise ValueError(f"temperature={temperature!r} must be above 0")
    return streaming.over_members(measure, teacher_logits, labels, mask)


def _scale(classes):
    return classes / np.maximum(classes - 1, 1)


def stability(teacher_logits: Logits, labels: Labels, temperature: float = 1.0, mask: Mask = None) -> Any:
    """S = 1 - (1/K) Σ_c (1/n_c) Σ_i ||p_i - mean of p over class c||² (Shen et al. 2021), at most 1.

    It is 1 for outputs that depend on the class alone. p_i is the example's whole vector of probabilities; classes
    without examples are excluded.
    """
    return streaming.over_members(lambda *member: class_statistics.stability(*member, temperature), teacher_logits,
                                  labels, mask)


def similar_classes(teacher_logits: Real[Any, "examples classes"],
                    labels: Integer[np.ndarray, " examples"]) -> Bool[np.ndarray, "classes classes"]:
    """[c, k]: whether class k is among the wrong classes with the largest mean logits on examples of class c.

    A mean runs over the examples whose logit of the class is not -inf.

    Raises:
        InvalidArray: a dtype, a shape or a label is wrong, or a logit is NaN or +inf.
    """
    teacher_logits, labels = checked.member(checked.reals(teacher_logits, "teacher_logits"), labels)
    checked.check_finite("teacher_logits", teacher_logits, absent=True)
    classes = teacher_logits.shape[-1]
    mean = np.full((classes, classes), -np.inf)
    for c in np.unique(labels):
        of_class = teacher_logits[labels == c]
        there = np.any(of_class != -np.inf, axis=0)
        mean[c, there] = np.mean(of_class[:, there], axis=0, dtype=np.float64, where=of_class[:, there] != -np.inf)
    np.fill_diagonal(mean, -np.inf)
    rank = np.argsort(np.argsort(-mean, axis=1, kind="stable"), axis=1)
    others = np.isfinite(mean).sum(axis=1, keepdims=True)
    return (rank < np.maximum(1, others // NEAREST)) & np.isfinite(mean)


def diffusion(features: Float[np.ndarray, "examples features"], reference: Float[np.ndarray, "examples features"],
              labels: Integer[np.ndarray, " examples"], similar: Bool[np.ndarray, "classes classes"]) -> float:
    """How much nearer similar classes have come than other classes, compared with a reference; NaN if classes collapse.

    With d the distance between class centroids in the penultimate layer, it is the mean over classes of [mean of log(d
    / d_reference) over dissimilar classes] - [the same over similar classes]. Above 0, representations diffuse towards
    similar classes. The networks' scales cancel. It follows Chandrasegaran et al. 2022, who compare such distances at a
    higher T with those at T = 1; we did not find the exact formula of their index, so the numbers differ. `similar`
    should come from a third network, such as the teacher: the reference's own nearest classes tend to be farther away
    in any other network.
    """
    labels, similar = checked.class_ids(labels, len(similar)), checked.booleans(similar, "similar")
    features, reference = checked.doubles(features), checked.doubles(reference, "reference")
    checked.check_finite("features", features)
    checked.check_finite("reference", reference)
    classes = np.unique(labels)
    own, before = (_centroid_distances(each, labels, classes) for each in (features, reference))
    if not (own.all() and before.all()):
        return float("nan")
    ratio = np.log(own / before)
    near = similar[np.ix_(classes, classes)]
    far = ~near & ~np.eye(len(classes), dtype=bool)
    usable = near.any(axis=1) & far.any(axis=1)
    if not usable.any():
        return float("nan")
    of_far, of_near = (np.sum(np.where(chosen, ratio, 0), axis=1)[usable] / chosen.sum(axis=1)[usable]
                       for chosen in (far, near))
    return float(np.mean(of_far - of_near))


def _centroid_distances(features, labels, classes):
    """Distances between the class centroids, 1 on the diagonal."""
    centroids = np.stack([np.mean(features[labels == c], axis=0, dtype=np.float64) for c in classes])
    distances = np.sqrt(np.square(centroids[:, None] - centroids).sum(axis=-1))
    np.fill_diagonal(distances, 1)
    return distances
