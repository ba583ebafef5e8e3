"""Penultimate activations on the plane through three class templates, and four measures (Section 2 and Figure 1).

A class's template is its column of the output layer with the bias appended. An example's activation x has a 1 appended,
so logit k is x·w_k. Three templates span a plane. Its two directions are differences of templates, so an example's
coordinates are scaled differences of its logits.

The figure shows one triple of classes. The measures are given for that triple on its plane, and for all triples at
once, on the span of all templates' differences: K-1 dimensions that contain every triple's plane. Let p be points, c_a
class centroids, and E the mean over the triple's three classes, three pairs or examples (first within each class, so
that all classes have equal weight):

- `spread ratio` = sqrt(E ||p - c_a||² / E ||c_a - c_b||²): within-class spread over between-centroid distance; 0 =
  collapsed;
- `centroid variation` = sqrt(variance of the three ||c_a - c_b||) / their mean; 0 = a regular triangle;
- `wrong-class spread` = sqrt(E variance of s_b, s_c) / E ((s_b + s_c)/2 - s_a) for an example of class a and its
  squared distances s_k = ||x - w_k||² to the templates; 0 = equidistant from the wrong classes' templates;
- `centroid distance` = sqrt(E ||c_a - c_b||²), the scale of the figure.

The first three have versions in logits, `logit spread ratio`, `logit centroid variation` and `logit wrong-class
spread`:
points are the chosen classes' logits less their mean, and s_k is -logit k. Multiplying features by 7 and dividing the
kernel by 7 leaves a network's predictions as they were. It leaves these three, too, but it moves the appended 1 and the
templates' lengths relative to the rest, and so the versions above.

Variances are sample variances (n - 1). For all triples at once, each E also averages over the C(m,3) triples of the m
classes with examples, before the root and the ratio. These averages need no loop over triples:

- every class and every pair of classes lies in equally many triples, so the averages over triples of
  ||p - c_a||², ||c_a - c_b||, its square and s_k are the averages over classes and pairs;
- a triangle with edges e has variance (Σe² - (Σe)²/3)/2. Over all triangles an edge occurs m-2 times, and two edges
  that meet in class a once, so with Q = Σ ||c_a - c_b||² over pairs and S_a = Σ_b ||c_a - c_b||, Σ Σe² = (m-2) Q and Σ
  (Σe)² = (m-2) Q + Σ_a S_a² - 2Q, and the mean variance is ((m-1) Q - Σ_a S_a²/2) / (3 C(m,3));
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
from ls_jax.studies.common.crossed import Sample, Units
from ls_jax.studies.common.triples import Triple

QUANTITIES = ("spread ratio", "centroid variation", "wrong-class spread", "centroid distance")
IN_LOGITS = ("logit spread ratio", "logit centroid variation", "logit wrong-class spread")
ALL = "all triples"
EXAMPLES = 100    # of each class in a figure, as in the paper


def templates(kernel: Real[np.ndarray, "features classes"], bias: Real[np.ndarray, " classes"] | None,
              ) -> Float[np.ndarray, "classes dimensions"]:
    """The templates, one row for each class, float64; the bias is appended unless it is None."""
    rows = checked.doubles(kernel, "kernel").T
    checked.check_finite("kernel", kernel)
    if bias is None:
        return rows
    checked.check_finite("bias", bias)
    return np.concatenate([rows, checked.doubles(bias, "bias")[:, None]], axis=1)


def template_plane(kernel: Real[np.ndarray, "features classes"], bias: Real[np.ndarray, " classes"] | None,
                   classes: Sequence[int]) -> Float[np.ndarray, "dimensions 2"]:
    """Orthonormal basis of the plane through three classes' templates, float64; dimensions = features + 1 with a bias.

    The first direction goes from the second class's template to the third's, the second direction from the middle of
    these two to the first class's. So a collapsed regular configuration is an upright triangle: first class on top,
    second left, third right.

    Raises:
        ValueError: the classes are not three different ones, or their templates lie (nearly) on a line.
    """
    three = _templates_of(kernel, bias, classes)
    top, left, right = three
    _, sizes, _ = np.linalg.svd(three - three.mean(axis=0), full_matrices=False)
    if not sizes[1] > 1e-5 * np.linalg.norm(three, axis=1).max():  # float32 weights resolve differences of about 1e-7
        raise ValueError(f"the templates of classes {', '.join(map(str, classes))} lie on a line and span no plane: "
                         "choose other classes")
    across = (right - left) / np.linalg.norm(right - left)
    up = top - (left + right) / 2
    for _ in range(2):  # the second pass removes rounding errors
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
    """Coordinates of activations in an orthonormal basis, float64; for a basis with bias, a 1 is appended."""
    features = checked.doubles(features)
    checked.check_finite("features", features)
    if len(plane) == features.shape[-1] + 1:
        return features @ plane[:-1] + plane[-1]
    return features @ plane


def numbers(arrays: Mapping[str, Any], classes: Triple | None = None) -> dict[str, float]:
    """{quantity: value} for QUANTITIES and IN_LOGITS; see `samples`."""
    return {name: of.value for name, of in samples(arrays, classes).items()}


def samples(arrays: Mapping[str, Any], classes: Triple | None = None) -> dict[str, Sample]:
    """{quantity: sample} for QUANTITIES and IN_LOGITS, of one triple on its plane or of all triples at once.

    A sample is the value, and the values without each of `crossed.GROUPS` groups of the examples: of the sentences of
    tokens, where `arrays` have "sentence".

    Args:
        arrays: features [N, d], logits [N, K], labels [N], kernel [d, K], bias [K]. Features and logits are read in
            blocks, so they may be memory maps larger than memory.
        classes: the triple of class ids; None: all triples.

    Raises:
        InvalidArray: an array has the wrong type, a label is not a class, or a logit is not finite.
        ValueError: fewer than three classes have examples, a class of the triple has none, or the templates lie on a
            line.
    """
    (_, labels), kernel, bias = checked.member(arrays["logits"], arrays["labels"]), arrays["kernel"], arrays["bias"]
    present = np.unique(labels)
    chosen = present if classes is None else np.asarray(classes)
    if len(chosen) < 3 or not set(chosen) <= set(present):
        raise ValueError(f"a triple needs examples of its three classes; {len(present)} classes have examples")
    basis = template_span(kernel, bias) if classes is None else template_plane(kernel, bias, classes)
    norms = np.sum(templates(kernel, bias)[chosen] ** 2, axis=1)
    position = np.full(kernel.shape[1], -1)  # each class's position among the chosen ones
    position[chosen] = np.arange(len(chosen))

    to_logits = _centred_logits(kernel, chosen)
    ids = np.flatnonzero(position[labels] >= 0)
    units = Units.of(arrays.get("sentence"), len(labels))
    groups = int(units.group.max()) + 1
    on_plane, in_logits = (_Sums(groups, len(chosen), each.shape[1]) for each in (basis, to_logits))
    for block in blocks(len(ids), max(arrays["logits"].shape[1], arrays["features"].shape[1])):
        rows = block if len(ids) == len(labels) else ids[block]  # reading a slice is faster
        own, group = position[labels[rows]], units.group[rows]
        logits = arrays["logits"][rows][:, chosen]
        checked.check_finite("logits", logits, block.start)
        logits = logits.astype(np.float64)
        features = arrays["features"][rows]
        on_plane.add(project(features, basis), norms - 2 * logits, own, group)  # ||x - w_k||² - ||x||²
        in_logits.add(project(features, to_logits), -logits, own, group)
    return {**dict(zip(QUANTITIES, on_plane.samples(units.count))), **dict(zip(IN_LOGITS,
                                                                               in_logits.samples(units.count)))}


def _centred_logits(kernel, chosen):
    """The map [features, rank] to coordinates of the classes' logits less their mean, but for a shift, in their
    span."""
    weights = checked.doubles(kernel, "kernel")[:, chosen]
    left, sizes, _ = np.linalg.svd(weights - weights.mean(axis=1, keepdims=True), full_matrices=False)
    return left * sizes


class _Sums:
    """Sums over examples by group and class, from which the measures are made: points [*, dimensions], distances s_k
    [*, classes]."""

    def __init__(self, groups: int, classes: int, dimensions: int):
        self.scalars = np.zeros((4, groups, classes))  # count, squared norm, variance and gap of the wrong classes
        self.total = np.zeros((groups, classes, dimensions))

    def add(self, points: np.ndarray, distances: np.ndarray, own: np.ndarray, group: np.ndarray) -> None:
        _, groups, classes = self.scalars.shape
        into = sparse.csr_array((np.ones(len(own)), (group * classes + own, np.arange(len(own)))),
                                (groups * classes, len(own)))
        values = np.ones(len(own)), np.sum(points ** 2, axis=1), *_wrong_classes(distances, own)
        self.scalars += (into @ np.stack(values, axis=1)).T.reshape(self.scalars.shape)
        self.total += (into @ points).reshape(self.total.shape)

    def samples(self, examples: int) -> list[Sample]:
        """In the order of QUANTITIES; of so many examples, or clusters of them."""
        scalars, total = self.scalars.sum(axis=1), self.total.sum(axis=0)
        deleted = [self._measures(scalars - self.scalars[:, group], total - self.total[group])
                   for group in range(len(self.total))]
        return [Sample(value, deleted=np.array(without), examples=examples)
                for value, *without in zip(self._measures(scalars, total), *deleted)]

    def _measures(self, scalars, total) -> tuple[float, float, float, float]:
        count, square, variance, gap = scalars
        if not count.all():  # a class without the examples of a group has none
            return (math.nan,) * 4
        centroids = total / count[:, None]
        within = np.maximum(square / count - np.sum(centroids ** 2, axis=1), 0).mean()
        mean, mean_square, mean_variance = _edges(centroids)
        wrong_class_spread = _ratio(math.sqrt(np.mean(variance / count)), np.mean(gap / count))
        return (_ratio(math.sqrt(within), math.sqrt(mean_square)), _ratio(math.sqrt(mean_variance), mean),
                wrong_class_spread, math.sqrt(mean_square))


def measure_all(arrays: Mapping[str, Any], triples: Sequence[Triple | None]) -> Iterator[tuple[Any, str, Sample]]:
    """(class names or "all triples", quantity, sample) of one member on one split, for all that can be measured.

    The triple None means all triples at once.
    """
    names = [str(name) for name in arrays["class_names"]]
    checked.member(arrays["logits"], arrays["labels"])
    for triple in triples:
        try:
            found = samples(arrays, triple)
        except ValueError:
            continue
        classes = ALL if triple is None else tuple(names[k] for k in triple)
        yield from ((classes, quantity, of) for quantity, of in found.items() if math.isfinite(of.value))


def _templates_of(kernel, bias, classes):
    number = np.shape(kernel)[1]
    if len(classes) != 3 or len(set(classes)) != 3 or not all(0 <= k < number for k in classes):
        raise ValueError(f"classes must be three different ids from 0 to {number - 1}, not {tuple(classes)}")
    return templates(kernel, bias)[list(classes)]


def _wrong_classes(distances, own):
    """For each example: sample variance over the wrong classes, and how much farther these are than the right class."""
    right = np.take_along_axis(distances, own[:, None], axis=1)[:, 0]
    wrong = distances.shape[1] - 1
    mean = (distances.sum(axis=1) - right) / wrong
    deviations = np.sum((distances - mean[:, None]) ** 2, axis=1) - (right - mean) ** 2
    return np.maximum(deviations, 0) / (wrong - 1), mean - right


def _edges(centroids):
    """Means over all triangles: edge, squared edge, and sample variance of the three edges."""
    from scipy.spatial import distance  # imported here: it takes a tenth of the start-up time

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
