"""Penultimate activations on the plane through three class templates (the paper's Section 2 and Figure 1), with numbers.

A class's template is its column of the output layer with the bias appended, an example's activation x has a 1 appended, so
logit k is x·w_k. Three templates span a plane; its two directions are differences of templates, so an example's coordinates
are scaled differences of its logits.

The picture shows one triple of classes. Its numbers are given for it, on its plane, and for all triples at once, on the
span of all templates' differences (the "plane" through K templates, of K-1 dimensions, that holds every triple's plane).
With points p, class centroids c_a, and E the mean over the triple's three classes, three pairs or examples (of each class
first, so that large classes do not count more):

- `spread ratio` = sqrt(E ||p - c_a||² / E ||c_a - c_b||²): within-class spread over between-centroid distance; 0 = collapsed;
- `centroid variation` = sqrt(variance of the three ||c_a - c_b||) / their mean; 0 = a regular triangle;
- `wrong-class spread` = sqrt(E variance of s_b, s_c) / E ((s_b + s_c)/2 - s_a) for an example of class a and its squared
  distances s_k = ||x - w_k||² to the templates; 0 = equidistant from the wrong classes' templates;
- `centroid distance` = sqrt(E ||c_a - c_b||²), the size of the picture.

Variances are the sample's (n - 1). All triples at once: each E also averages over the C(m,3) triples of the m classes that
have examples, before the root and the ratio. Each average then needs no loop over triples:

- every class and every pair of classes lies in equally many triples, so the averages over triples of
  ||p - c_a||², ||c_a - c_b||, its square and s_k are the averages over classes and pairs;
- a triangle with edges e has variance (Σe² - (Σe)²/3)/2. Over all triangles an edge occurs m-2 times, and two edges that
  meet in class a once, so with Q = Σ ||c_a - c_b||² over pairs and S_a = Σ_b ||c_a - c_b||,
  Σ Σe² = (m-2) Q and Σ (Σe)² = (m-2) Q + Σ_a S_a² - 2Q, and the mean variance is ((m-1) Q - Σ_a S_a²/2) / (3 C(m,3));
- the variance of two numbers is (s_b - s_c)²/2, whose mean over all pairs is the sample variance of all m-1.
"""
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Real
from scipy import sparse

from ls_jax import checked
from ls_jax.studies.common.blocks import blocks
from ls_jax.studies.common.triples import Triple

QUANTITIES = ("spread ratio", "centroid variation", "wrong-class spread", "centroid distance")
ALL = "all triples"
EXAMPLES = 100    # of each class in a figure, as the paper


def templates(kernel: Real[np.ndarray, "features classes"], bias: Real[np.ndarray, " classes"] | None,
              ) -> Float[np.ndarray, "classes dimensions"]:
    """One row a class, float64, with the bias appended; None: without."""
    rows = checked.doubles(kernel, "kernel").T
    checked.check_finite("kernel", kernel)
    if bias is None:
        return rows
    checked.check_finite("bias", bias)
    return np.concatenate([rows, checked.doubles(bias, "bias")[:, None]], axis=1)


def template_plane(kernel: Real[np.ndarray, "features classes"], bias: Real[np.ndarray, " classes"] | None,
                   classes: Sequence[int]) -> Float[np.ndarray, "dimensions 2"]:
    """Orthonormal basis of the plane through the templates of three classes, float64; dimensions = features + 1 with a bias.

    The first direction runs from the second class's template to the third's, the second from the middle of those two to
    the first's: a collapsed regular configuration is an upright triangle, first class on top, second left, third right.

    Raises:
        ValueError: the classes are not three different ones, or their templates lie (nearly) on a line.
    """
    three = _templates_of(kernel, bias, classes)
    top, left, right = three
    _, sizes, _ = np.linalg.svd(three - three.mean(axis=0), full_matrices=False)
    if not sizes[1] > 1e-5 * np.linalg.norm(three, axis=1).max():  # float32 weights know their differences to about 1e-7
        raise ValueError(f"the templates of classes {', '.join(map(str, classes))} lie on a line and span no plane: "
                         "choose other classes")
    across = (right - left) / np.linalg.norm(right - left)
    up = top - (left + right) / 2
    for _ in range(2):  # the second time removes what rounding left
        up = up - (up @ across) * across
        up = up / np.linalg.norm(up)
    return np.stack([across, up], axis=1)


def template_span(kernel: Real[np.ndarray, "features classes"],
                  bias: Real[np.ndarray, " classes"] | None) -> Float[np.ndarray, "dimensions rank"]:
    """Orthonormal basis of the span of all templates' differences, float64; its rank is at most classes - 1."""
    rows = templates(kernel, bias)
    _, sizes, directions = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    return directions[sizes > 1e-6 * sizes[0]].T


def project(features: Real[np.ndarray, "*batch features"],
            plane: Float[np.ndarray, "dimensions axes"]) -> Float[np.ndarray, "*batch axes"]:
    """Coordinates of activations in an orthonormal basis, float64; a basis made with the bias sees a 1 appended."""
    features = checked.doubles(features)
    checked.check_finite("features", features)
    if len(plane) == features.shape[-1] + 1:
        return features @ plane[:-1] + plane[-1]
    return features @ plane


def numbers(arrays: Mapping[str, Any], classes: Triple | None = None) -> dict[str, float]:
    """The four QUANTITIES of one triple of classes on its plane, or of all triples at once (None).

    Args:
        arrays: features [N, d], logits [N, K], labels [N], kernel [d, K], bias [K]; read block by block, so that features
            and logits may be memory maps of more than fits into memory.
        classes: the triple.

    Raises:
        InvalidArray: an array is of another type, a label is none of the classes, or a logit is not finite.
        ValueError: fewer than three classes have examples, or a class of the triple has none, or their templates lie on a line.
    """
    (_, labels), kernel, bias = checked.member(arrays["logits"], arrays["labels"]), arrays["kernel"], arrays["bias"]
    present = np.unique(labels)
    chosen = present if classes is None else np.asarray(classes)
    if len(chosen) < 3 or not set(chosen) <= set(present):
        raise ValueError(f"a triple needs examples of three classes; there are examples of {len(present)} classes")
    basis = template_span(kernel, bias) if classes is None else template_plane(kernel, bias, classes)
    norms = np.sum(templates(kernel, bias)[chosen] ** 2, axis=1)
    position = np.full(kernel.shape[1], -1)  # of a class among the chosen ones
    position[chosen] = np.arange(len(chosen))

    count, square, variance, gap = np.zeros((4, len(chosen)))
    total = np.zeros((len(chosen), basis.shape[1]))
    ids = np.flatnonzero(position[labels] >= 0)
    for block in blocks(len(ids), max(arrays["logits"].shape[1], arrays["features"].shape[1])):
        rows = block if len(ids) == len(labels) else ids[block]  # a slice is read faster
        own = position[labels[rows]]
        points = project(arrays["features"][rows], basis)
        logits = arrays["logits"][rows][:, chosen]
        checked.check_finite("logits", logits, block.start)
        distances = norms - 2 * logits.astype(np.float64)  # ||x - w_k||² - ||x||²
        of_class = sparse.csr_array((np.ones(len(own)), (own, np.arange(len(own)))), (len(chosen), len(own)))
        count += of_class.sum(axis=1)
        total += of_class @ points
        square += of_class @ np.sum(points ** 2, axis=1)
        wrong_variance, wrong_gap = _wrong_classes(distances, own)
        variance += of_class @ wrong_variance
        gap += of_class @ wrong_gap
    centroids = total / count[:, None]
    within = np.maximum(square / count - np.sum(centroids ** 2, axis=1), 0).mean()
    mean, mean_square, mean_variance = _edges(centroids)
    return dict(zip(QUANTITIES, (_ratio(math.sqrt(within), math.sqrt(mean_square)), _ratio(math.sqrt(mean_variance), mean),
                                 _ratio(math.sqrt(np.mean(variance / count)), np.mean(gap / count)), math.sqrt(mean_square))))


def measure_all(arrays: Mapping[str, Any], triples: Sequence[Triple | None]) -> Iterator[tuple[Any, str, float]]:
    """(class names or "all triples", quantity, value) of one member on one split, of all that can be measured; None: all triples."""
    names = [str(name) for name in arrays["class_names"]]
    checked.member(arrays["logits"], arrays["labels"])
    for triple in triples:
        try:
            found = numbers(arrays, triple)
        except ValueError:
            continue
        classes = ALL if triple is None else tuple(names[k] for k in triple)
        yield from ((classes, quantity, value) for quantity, value in found.items() if math.isfinite(value))


def _templates_of(kernel, bias, classes):
    number = np.shape(kernel)[1]
    if len(classes) != 3 or len(set(classes)) != 3 or not all(0 <= k < number for k in classes):
        raise ValueError(f"classes must be three different ids from 0 to {number - 1}, not {tuple(classes)}")
    return templates(kernel, bias)[list(classes)]


def _wrong_classes(distances, own):
    """Per example: sample variance over the wrong classes, and how much farther they are than the right one."""
    right = np.take_along_axis(distances, own[:, None], axis=1)[:, 0]
    wrong = distances.shape[1] - 1
    mean = (distances.sum(axis=1) - right) / wrong
    deviations = np.sum((distances - mean[:, None]) ** 2, axis=1) - (right - mean) ** 2
    return np.maximum(deviations, 0) / (wrong - 1), mean - right


def _edges(centroids):
    """Over all triangles: the mean edge, the mean squared edge and the mean of a triangle's sample variance of edges."""
    from scipy.spatial import distance  # here, since it takes a tenth of the command's start

    m, sums, squares = len(centroids), [], 0.0
    for rows in blocks(m, m):
        edges = distance.cdist(centroids[rows], centroids)
        sums.append(edges.sum(axis=1))
        squares += np.sum(edges ** 2) / 2
    sums = np.concatenate(sums)
    variance = ((m - 1) * squares - np.sum(sums ** 2) / 2) / (3 * math.comb(m, 3))
    return sums.sum() / (m * (m - 1)), squares / math.comb(m, 2), max(variance, 0.0)


def _ratio(value, unit):
    return value / unit if unit > 0 else math.nan
