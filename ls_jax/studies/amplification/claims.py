"""A claim of later work about the term that smoothing adds to the loss; see `studies.common.claims`."""
from ls_jax.studies.amplification.measure import RELATIVE
from ls_jax.studies.common import claims

CLAIMS: dict[str, claims.Claim] = {
    "smoothing amplifies errors": claims.Claim(
        "On wrong predictions, smoothing raises the mean excess of other logits over the label's, relative to the "
        "excess of the label's logit over the mean logit on right predictions. (The ratio does not depend on the scale "
        "of the logits.)",
        "This latter term compels the network to reinforce incorrect predictions with undue certainty",
        "not the paper: Zhou et al. 2025, MaxSup, arXiv 2502.15798", 0.01,
        lambda results: claims.compare(results, "amplification", RELATIVE, ("held-out",), low=0.0)),
}
