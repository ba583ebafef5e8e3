"""What a teacher's outputs are like, and what distilling from them does to a student's classes: measures over arrays.

Logits [*members, examples, classes] and labels [examples] or [*members, examples] give one number a member, in float64.
"""
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ls_jax import checked
from ls_jax.studies.common import class_statistics, streaming
from ls_jax.studies.common.streaming import Labels, Logits, Mask

NEAREST = 4  # similar to a class are the nearest 1/NEAREST of the others, at least one


def equivalent_smoothing(teacher_logits: Logits, labels: Labels, temperature: float = 1.0, mask: Mask = None) -> Any:
    """γ = E[Σ_k (1 - y_k) pᵗ_k(T)] K/(K-1), the label smoothing that moves as much probability to the wrong classes (the paper §4).

    A teacher that gives the smoothed targets of α has γ = α; γ → 1 for T → ∞; a teacher that is surely wrong has K/(K-1). K is the
    number of an example's classes whose logit is not -inf; of one class alone γ is 0.
    """
    def measure(logits, labels):
        def block(rows):
            values = checked.doubles(logits[rows], "logits")
            _, _, exponential, others = streaming.softmax(values, temperature)
            exponential[np.arange(len(exponential)), labels[rows]] = 0  # the wrong classes' sum, without 1 - p_y's cancellation
            present = scale(np.sum(values != -np.inf, axis=-1)) / scale(classes)  # 1 where all classes exist
            return np.sum(exponential.sum(axis=-1) / (1 + others) * present)

        classes = logits.shape[-1]
        scale = lambda classes: classes / np.maximum(classes - 1, 1)
        return np.float64(sum(streaming.over_blocks(block, *logits.shape)) / len(labels) * scale(classes))

    if not temperature > 0:
        raise ValueError(f"temperature={temperature!r} must be above 0")
    return streaming.over_members(measure, teacher_logits, labels, mask)


def stability(teacher_logits: Logits, labels: Labels, temperature: float = 1.0, mask: Mask = None) -> Any:
    """S = 1 - (1/K) Σ_c (1/n_c) Σ_i ||p_i - mean of p over class c||² (Shen et al. 2021), 1 for outputs that depend on the class alone.

    p_i is read as the whole vector of the example's probabilities; classes without examples are left out.
    """
    return streaming.over_members(lambda *member: class_statistics.stability(*member, temperature), teacher_logits, labels, mask)


def similar_classes(teacher_logits: Float[np.ndarray, "examples classes"],
                    labels: Int[np.ndarray, " examples"]) -> Bool[np.ndarray, "classes classes"]:
    """[c, k]: whether class k is among the wrong classes that the teacher gives the largest mean logits on examples of class c.

    A mean runs over the examples for which the class exists, whose logit is not -inf.

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
              labels: Int[np.ndarray, " examples"], similar: Bool[np.ndarray, "classes classes"]) -> float:
    """How much nearer a class's similar classes have come than its other ones, from a reference student to this one.

    With d the distance between class centroids in the penultimate layer: the mean over classes of [mean of log(d / d_reference) over
    the dissimilar classes] - [over the similar ones]. Above 0, representations diffuse towards similar classes; the networks' scales
    cancel. It follows Chandrasegaran et al. 2022, who compare such distances at a higher T with those at T = 1; their index's exact
    formula was not found, so its numbers are not theirs. `similar` should come from a third network, such as the teacher: the
    reference's own nearest classes tend to be farther in any other network. NaN where classes have collapsed into one.
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
    mean = lambda chosen: np.sum(np.where(chosen, ratio, 0), axis=1)[usable] / chosen.sum(axis=1)[usable]
    return float(np.mean(mean(far) - mean(near))) if usable.any() else float("nan")


def _centroid_distances(features, labels, classes):
    """Distances between the class centroids, 1 on the diagonal."""
    centroids = np.stack([np.mean(features[labels == c], axis=0, dtype=np.float64) for c in classes])
    distances = np.sqrt(np.square(centroids[:, None] - centroids).sum(axis=-1))
    np.fill_diagonal(distances, 1)
    return distances
