"""The paper's claim about accuracy (Table 2); see `studies.common.claims`."""
from ls_jax.studies.common import claims

MARGIN = 0.1  # of the unsmoothed network's error


def _compared(results):
    margin = claims.Relative("accuracy", lambda accuracy: (-MARGIN * (1 - accuracy), MARGIN * (1 - accuracy)))
    words = claims.Words("improves", "suffers", claims.POINTS)
    return claims.compare(results, "accuracy", "accuracy", ("held-out",), relative=margin, words=words)


CLAIMS: dict[str, claims.Claim] = {
    "accuracy is similar": claims.Claim(
        "Smoothing changes held-out accuracy by less than a tenth of the unsmoothed network's error. (In Table 2 the "
        "changes are -0.1, 0.6 and 0.0 %-points, and a tenth of the errors is 1.3, 2.8 and 1.9.)",
        "Note that these networks have similar accuracies despite qualitatively different clustering of activations. "
        "[Table 2: 86.8 to 86.7 on CIFAR-10, 72.1 to 72.7 on CIFAR-100, 80.9 to 80.9 on ImageNet. On CIFAR-100:] In "
        "contrast to the previous example, now the networks trained with label smoothing have better accuracy.",
        "Section 2 and Table 2", claims.POINTS, _compared),
}
