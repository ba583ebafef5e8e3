"""The paper's claims on the penultimate layer's geometry (section 2, Figure 1), in the form of `studies.common.claims`."""
from ls_jax.studies import projection
from ls_jax.studies.common import claims


def _projected(quantity):
    return lambda records: claims.compare(
        records, "projection", quantity, ("train", "held-out"), high=0.0, classes=projection.ALL)


CLAIMS: dict[str, claims.Claim] = {
    "clusters are tighter": claims.Claim(
        "Smoothing lowers the spread ratio: within-class spread over the distance between class centroids, all class triples.",
        "We observe that now the clusters are much tighter, because label smoothing encourages that each example in training "
        "set to be equidistant from all the other class's templates.",
        "Section 2 and Figure 1", 1.0, _projected("spread ratio")),
    "triangles are more regular": claims.Claim(
        "Smoothing lowers the centroid variation: the coefficient of variation of a triple's three centroid distances, all "
        "class triples.",
        "the clusters organize in regular triangles when training with label smoothing, whereas the regular triangle structure "
        "is less discernible in the case of training with hard-targets",
        "Section 2 and Figure 1", 1.0, _projected("centroid variation")),
    "wrong classes are equidistant": claims.Claim(
        "Smoothing lowers the wrong-class spread: how unequal an example's squared distances to the wrong classes' templates "
        "are, in units of how much farther they are than the right one's, all class triples.",
        "label smoothing encourages the activations of the penultimate layer to be close to the template of the correct class "
        "and equally distant to the templates of the incorrect classes",
        "Section 2", 1.0, _projected("wrong-class spread")),
    "the scale shrinks": claims.Claim(
        "Smoothing lowers the distance between class centroids, all class triples.",
        "we observe the different scale of the projections between the network trained with and without label smoothing",
        "Section 2 and Figure 1", 1.0, _projected("centroid distance")),
}
