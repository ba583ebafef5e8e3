"""The paper's claims on accuracy (Table 2), in the form of `studies.common.claims`."""
from ls_jax.studies.common import claims

CLAIMS: dict[str, claims.Claim] = {
    "accuracy is similar": claims.Claim(
        "Smoothing changes held-out accuracy by less than 1 %-point. (Table 2's largest change is 0.6.)",
        "Note that these networks have similar accuracies despite qualitatively different clustering of activations.",
        "Section 2 and Table 2", 0.01,
        lambda records: claims.compare(records, "accuracy", "accuracy", ("held-out",), low=-0.01, high=0.01)),
    "accuracy does not suffer": claims.Claim(
        "Smoothing costs less than 0.5 %-points of held-out accuracy. (Table 2's largest loss is 0.1, of ± 0.3.)",
        "[Table 2: 86.8 to 86.7 on CIFAR-10, 72.1 to 72.7 on CIFAR-100, 80.9 to 80.9 on ImageNet]",
        "Table 2", 0.01,
        lambda records: claims.compare(records, "accuracy", "accuracy", ("held-out",), low=-0.005)),
    "accuracy improves": claims.Claim(
        "Smoothing raises held-out accuracy. (The paper says so of CIFAR-100, by 0.6 %-points in Table 2, and of no other.)",
        "In contrast to the previous example, now the networks trained with label smoothing have better accuracy.",
        "Section 2, on CIFAR-100, and Table 2", 0.01,
        lambda records: claims.compare(records, "accuracy", "accuracy", ("held-out",), low=0.0)),
}
