"""Claims of later work about training with wrong labels (`config.data.label_noise`); see `studies.common.claims`."""
from collections.abc import Callable, Sequence

from ls_jax.studies.common import claims, records
from ls_jax.studies.distillation.claims import at_equal_temperature

LUKASIK = "not the paper: Lukasik et al. 2020"


def _with_wrong_labels(check: Callable[[Sequence[records.Record]], list[claims.Finding]]):
    """The check for runs with label noise; other runs have no findings."""
    return lambda results: check(results) if records.select(results, study="data", quantity="changed labels") else []


CLAIMS: dict[str, claims.Claim] = {
    "smoothing denoises": claims.Claim(
        "With label noise in the training set, smoothing raises held-out accuracy.",
        "[Smoothing is competitive with corrections of the loss under label noise.]", LUKASIK, 0.01,
        _with_wrong_labels(lambda results: claims.compare(
            results, "accuracy", "accuracy", ("test",), low=0.0, alphas=(0.1, 0.4)))),
    "smoothed teachers distil better from wrong labels": claims.Claim(
        f"With label noise in the training set, students of a smoothed teacher (the α nearest to {claims.PAPER_ALPHA}) "
        "are more accurate than students of the unsmoothed teacher at the same T. (Without noise the paper finds the "
        "opposite.)",
        "[When distilling from noisy data, smoothing of the teacher is beneficial.]", LUKASIK, 0.01,
        _with_wrong_labels(at_equal_temperature(lambda t: t is not None, low=0.0))),
}
