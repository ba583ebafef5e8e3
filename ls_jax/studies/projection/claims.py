"""The paper's claims about the geometry of the penultimate layer (Section 2, Figure 1); see `studies.common.claims`.

Regularity and equidistance are judged in logits: a network whose features are multiplied and whose kernel is divided by
a number predicts the same, and only the measures in logits stay the same (`projection.IN_LOGITS`). The spread ratio and
the distance between centroids are the figure's, on the span of the templates.
"""
from collections.abc import Callable, Sequence

from ls_jax.studies import projection
from ls_jax.studies.common import claims, records


def _projected(quantity: str) -> Callable[[Sequence[records.Record]], list[claims.Finding]]:
    """The check that smoothing lowers a quantity over all class triples."""
    return lambda results: claims.compare(
        results, "projection", quantity, ("train", "held-out"), high=0.0, classes=projection.ALL)


CLAIMS: dict[str, claims.Claim] = {
    "clusters are tighter": claims.Claim(
        "Smoothing lowers the spread ratio, within-class spread over the distance between class centroids (all class "
        "triples).",
        "We observe that now the clusters are much tighter, because label smoothing encourages that each example in "
        "training set to be equidistant from all the other class's templates.", "Section 2 and Figure 1", 1.0,
        _projected("spread ratio")),
    "triangles are more regular": claims.Claim(
        "Smoothing lowers the centroid variation in logits, the coefficient of variation of a triple's three centroid "
        "distances (all class triples). It is about the classes' means. Where clusters overlap, as at a spread ratio "
        "near 0.7, single examples form no triangles.",
        "the clusters organize in regular triangles when training with label smoothing, whereas the regular triangle "
        "structure is less discernible in the case of training with hard-targets", "Section 2 and Figure 1", 1.0,
        _projected("logit centroid variation")),
    "wrong classes are equidistant": claims.Claim(
        "Smoothing lowers the wrong-class spread in logits: the standard deviation of an example's logits of the wrong "
        "classes, relative to how much lower these are than the right class's (all class triples).",
        "label smoothing encourages the activations of the penultimate layer to be close to the template of the "
        "correct class and equally distant to the templates of the incorrect classes", "Section 2", 1.0,
        _projected("logit wrong-class spread")),
    "the scale shrinks": claims.Claim(
        "Smoothing lowers the distance between class centroids (all class triples).",
        "we observe the different scale of the projections between the network trained with and without label "
        "smoothing",
        "Section 2 and Figure 1", 1.0, _projected("centroid distance")),
}
