"""Every claim that a study checks, by name: the paper's in its order, then those of later work."""
from collections.abc import Sequence

from ls_jax.studies.accuracy import claims as accuracy_claims
from ls_jax.studies.calibration import claims as calibration_claims
from ls_jax.studies.common import records as results
from ls_jax.studies.common.claims import Claim, Finding, sentence
from ls_jax.studies.distillation import claims as distillation_claims
from ls_jax.studies.information import claims as information_claims
from ls_jax.studies.noise import claims as noise_claims
from ls_jax.studies.projection import claims as projection_claims
from ls_jax.studies.representation import claims as representation_claims
from ls_jax.studies.translation import claims as translation_claims

CLAIMS: dict[str, Claim] = {**accuracy_claims.CLAIMS, **projection_claims.CLAIMS, **calibration_claims.CLAIMS, **distillation_claims.CLAIMS,
                            **information_claims.CLAIMS, **translation_claims.CLAIMS, **representation_claims.CLAIMS, **noise_claims.CLAIMS}


def check(records: Sequence[results.Record]) -> dict[str, list[Finding]]:
    """The findings on every claim that the records say anything about, by the claim's name."""
    found = {name: claim.check(records) for name, claim in CLAIMS.items()}
    return {name: findings for name, findings in found.items() if findings}


def lines(records: Sequence[results.Record]) -> list[str]:
    """Each finding's verdict as a line; of records of one study, the findings on that study's claims."""
    return [f"{name}, {finding.split} split, {finding.smoothing}"
            + "".join(f", {field.replace('_', ' ')} {value}" for field, value in finding.where.items()) + f": {sentence(finding)}"
            for name, findings in check(records).items() for finding in findings]
