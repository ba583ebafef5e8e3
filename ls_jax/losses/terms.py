"""LOSSES, the terms of the family, and those of them that rival label smoothing.

In these z are an example's K logits, y its label, p = softmax(z).
"""
import dataclasses
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ls_jax.losses.distillation import distillation
from ls_jax.losses.examples import Examples, Strength
from ls_jax.losses.scalar import Scalar
from ls_jax.losses.smoothing import label_smoothing

UNLIKELY = 0.2  # FLSD-53: `focal_low` is the γ of examples whose p_y is below this
ACLS_LARGEST, ACLS_OTHERS = 1.0, 0.1  # ACLS: the weights of its two parts


@dataclasses.dataclass(frozen=True)
class Term:
    """One loss of the family.

    Attributes:
        f: (examples, strengths) -> [*batch], what it adds to the cross-entropy; `strengths` holds the values of all
            named scalars. It and its gradient must be exactly 0 while all of its scalars are `off`.
        scalars: by name.
        share: the name of the scalar β of a term that replaces a part of all others, (1-β) L + β f, and does not add.
        taught: whether it needs `examples.teacher_logits`; where there are none it is left out.
    """
    f: Callable[[Examples, Mapping[str, Strength]], Float[Array, "*batch"]]
    scalars: Mapping[str, Scalar]
    share: str | None = None
    taught: bool = False


def negative_smoothing(examples: Examples, strengths: Mapping[str, Strength]) -> Float[Array, "*batch"]:
    """Label smoothing of α below 0, by this much (Struppek et al. 2024). The loss has no lower bound."""
    return label_smoothing(examples, {"alpha": -strengths["negative_smoothing"]})


def max_suppression(examples: Examples, strengths: Mapping[str, Strength]) -> Float[Array, "*batch"]:
    """μ (max z - mean z): MaxSup (Zhou et al. 2025). Label smoothing has z_y in place of the maximum."""
    return strengths["max_suppression"] * examples.mean(examples.gaps)


def confidence_penalty(examples: Examples, strengths: Mapping[str, Strength]) -> Float[Array, "*batch"]:
    """-β H(p) in nats (Pereyra et al. 2017): the sum over classes, of which some implementations take the mean."""
    log_p = examples.log_probabilities
    return strengths["confidence_penalty"] * examples.sum(jnp.exp(log_p) * log_p)


def focal(examples: Examples, strengths: Mapping[str, Strength]) -> Float[Array, "*batch"]:
    """((1-p_y)^γ - 1) CE, which makes of cross-entropy the focal loss (Lin et al. 2017).

    FLSD-53 (Mukhoti et al. 2020) is `focal` = 3 and `focal_low` = 5, the γ where p_y is below 0.2.
    """
    nll = examples.finite_cross_entropy
    gamma = jnp.where(nll > -math.log(UNLIKELY), strengths["focal_low"], strengths["focal"])
    return jnp.where(examples.count == 1, 0.0, jnp.expm1(gamma * examples.log_wrong) * nll)


def margin_penalty(examples: Examples, strengths: Mapping[str, Strength]) -> Float[Array, "*batch"]:
    """λ mean_k relu(max z - z_k - m): MbLS (Liu et al. 2022), with the mean over all K classes, as in its code."""
    return strengths["margin_penalty"] * examples.mean(jax.nn.relu(examples.gaps - strengths["margin"]))


def acls(examples: Examples, strengths: Mapping[str, Strength]) -> Float[Array, "*batch"]:
    """λ [relu(max z - m)² + 0.1 mean_{j≠top} relu(max z - z_j - m)²]: ACLS (Park et al. 2023) as in its code.

    In the second part no gradient passes the maximum.
    """
    margin = strengths["acls_margin"]
    largest = jnp.square(jax.nn.relu(examples.largest - margin))
    others = examples.sum(jnp.square(jax.nn.relu(examples.gaps_below(lax.stop_gradient(examples.largest)) - margin)))
    return strengths["acls"] * (ACLS_LARGEST * largest + ACLS_OTHERS * others / jnp.maximum(examples.count - 1, 1))


def logit_penalty(examples: Examples, strengths: Mapping[str, Strength]) -> Float[Array, "*batch"]:
    """ρ/2 ||z||² (Dauphin and Cubuk 2021; compared by Kornblith et al. 2021)."""
    return strengths["logit_penalty"] * 0.5 * jnp.sum(jnp.square(examples.filled(0.0)), axis=-1)


def poly1(examples: Examples, strengths: Mapping[str, Strength]) -> Float[Array, "*batch"]:
    """ε (1 - p_y): Poly-1 (Leng et al. 2022)."""
    return strengths["poly1"] * -jnp.expm1(-examples.finite_cross_entropy)


LOSSES: dict[str, Term] = {
    "label_smoothing": Term(label_smoothing, {"alpha": Scalar(0.0, 0.0, 1.0, what="label smoothing")}),
    "negative_smoothing": Term(negative_smoothing, {
        "negative_smoothing": Scalar(0.0, 0.0, 1.0, what="how far label smoothing is below 0")}),
    "max_suppression": Term(max_suppression, {"max_suppression": Scalar(0.0, 0.0, math.inf, what="MaxSup's weight")}),
    "confidence_penalty": Term(confidence_penalty, {
        "confidence_penalty": Scalar(0.0, 0.0, math.inf, what="the entropy's weight")}),
    "focal": Term(focal, {
        "focal": Scalar(0.0, 0.0, math.inf, what="the focal loss's γ"),
        "focal_low": Scalar(None, 0.0, math.inf, what="the focal loss's γ where p_y < 0.2", of="focal")}),
    "margin_penalty": Term(margin_penalty, {
        "margin_penalty": Scalar(0.0, 0.0, math.inf, what="the weight of margin-based smoothing"),
        "margin": Scalar(10.0, 0.0, math.inf, what="the margin", of="margin_penalty")}),
    "acls": Term(acls, {
        "acls": Scalar(0.0, 0.0, math.inf, what="ACLS's weight"),
        "acls_margin": Scalar(10.0, 0.0, math.inf, what="ACLS's margin", of="acls")}),
    "logit_penalty": Term(logit_penalty,
                          {"logit_penalty": Scalar(0.0, 0.0, math.inf, what="the weight of the squared logits")}),
    "poly1": Term(poly1, {"poly1": Scalar(0.0, -1.0, math.inf, what="Poly-1's ε")}),
    "distillation": Term(distillation, share="beta", taught=True, scalars={
        "temperature": Scalar(1.0, 0.0, math.inf, "()", what="the teacher's temperature"),
        "beta": Scalar(0.0, 0.0, 1.0, "[]", what="the weight of the teacher's term"),
        "control": Scalar(0.0, 0.0, 1.0, "[]", what="1 or True: the teacher's wrong classes are equally likely")}),
}
