"""Claims of later work on training with wrong labels (`config.data.label_noise`), in the form of `studies.common.claims`."""
from collections.abc import Callable, Sequence

from ls_jax.studies.common import claims
from ls_jax.studies.common import records as results
from ls_jax.studies.distillation import claims as distillation_claims

LUKASIK = "not the paper: Lukasik et al. 2020"


def _with_wrong_labels(check: Callable[[Sequence[results.Record]], list[claims.Finding]]):
    """The check where training labels were made wrong; elsewhere it says nothing."""
    return lambda records: check(records) if results.select(records, study="data", quantity="changed labels") else []


CLAIMS: dict[str, claims.Claim] = {
    "smoothing denoises": claims.Claim(
        "Where some training labels are wrong, smoothing raises the accuracy on held-out examples.",
        "[Smoothing is competitive with corrections of the loss under label noise.]", LUKASIK, 0.01,
        _with_wrong_labels(lambda records: claims.compare(records, "accuracy", "accuracy", ("test",), low=0.0, alphas=(0.1, 0.4)))),
    "smoothed teachers distil better from wrong labels": claims.Claim(
        f"Where some training labels are wrong, students of a smoothed teacher (the α nearest to {claims.PAPER_ALPHA}) are more accurate "
        "than those of the hard one at the same T: the opposite of what the paper finds without noise.",
        "[When distilling from noisy data, smoothing of the teacher is beneficial.]", LUKASIK, 0.01,
        _with_wrong_labels(distillation_claims.at_equal_temperature(lambda t: t is not None, low=0.0))),
}
