"""The loss of the family: cross-entropy and terms, of strengths that may change in the course of training."""
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ls_jax.losses.examples import Examples, Labels, Logits, Settings, Strength
from ls_jax.losses.scalar import Scalar
from ls_jax.losses.terms import LOSSES, Term

END = "{}_end"  # of a strength that changes: its value at the end of training


def loss(examples: Examples, strengths: Mapping[str, Strength],
         terms: Iterable[str] | None = None) -> Float[Array, "*batch"]:
    """The loss of each example: cross-entropy and the terms of these names (None: of those whose scalars are given).

    `strengths` gives the scalars by name; those that are not among them are off.
    """
    terms = used(strengths) if terms is None else terms
    strengths = followed({name: strengths.get(name, scalar.off) for name, scalar in scalars().items()})
    chosen = [term for name, term in LOSSES.items() if name in terms]
    value = examples.cross_entropy
    for term in sorted(chosen, key=lambda term: term.share is not None):  # a share is of all that adds
        if term.taught and examples.teacher_logits is None:
            continue
        part = term.f(examples, strengths)
        if term.share is not None:
            value = (1 - strengths[term.share]) * value + strengths[term.share] * part
        else:
            value = value + (jnp.where(examples.unlabelled, 0.0, part) if examples.masked else part)
    return value


def scalars() -> dict[str, Scalar]:
    """The scalars of all terms by name. A strength of a term that adds has also NAME_end, for the end of training."""
    own = {name: scalar for term in LOSSES.values() for name, scalar in term.scalars.items()}
    strengths = {name for term in LOSSES.values() if term.share is None for name, scalar in term.scalars.items()
                 if not scalar.of}
    ends = {END.format(name): dataclasses.replace(own[name], off=None, of=name,
                                                  what=f"{own[name].what} at the end of training")
            for name in own if name in strengths}
    return own | ends


def followed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, where None becomes the value of the scalar it belongs to (`focal_low`: `focal`; NAME_end: NAME)."""
    known = scalars()
    follows = lambda name, value: value is None and name in known and known[name].of
    return {name: values.get(known[name].of) if follows(name, value) else value for name, value in values.items()}


def at(strengths: Mapping[str, Any], progress: Strength) -> dict[str, Any]:
    """The strengths at a fraction of the training: those that have a NAME_end go there linearly."""
    def current(name, value):
        end = END.format(name)
        return value + progress * (strengths[end] - value) if end in strengths else value

    return {name: current(name, value) for name, value in strengths.items()}


def used(names: Iterable[str]) -> tuple[str, ...]:
    """The terms that have one of these scalars. A sweep compiles those whose scalars it names, even if all are `off`:
    a network alone is then computed as it is in a larger sweep, to the last bit."""
    names = set(names)
    return tuple(name for name, term in LOSSES.items() if names & term.scalars.keys())


def active(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The terms that are on with these values of scalars: those that are not 0. Scalars that are None or not given are
    off."""
    values, known = followed(values), scalars()

    def is_on(name: str) -> bool:
        off = known[known[name].of].off if known[name].off is None else known[name].off
        return values.get(name) is not None and float(values[name]) != off

    def strengths(term: Term) -> list[str]:  # a margin, which is off at a value of its own, is none
        own = [name for name, scalar in known.items() if {name, scalar.of} & term.scalars.keys()]
        return [term.share] if term.share else [name for name in own
                                                if not (known[name].of and known[name].off is not None)]

    return tuple(name for name, term in LOSSES.items() if any(map(is_on, strengths(term))))


def smoothed_cross_entropy(logits: Logits, labels: Labels, alpha: Strength, convention: str = "uniform", *,
                           masked: bool = True) -> Float[Array, "*batch"]:
    """Cross-entropy against smoothed targets, without building them: one log-sum-exp, one gather and one mean.

    It is neither shifted by the target's entropy nor rescaled by 1/(1-α), so its minimum is the target's entropy. The K
    of α/K, and of α/(K-1), is the number of the example's classes whose logit is not -inf.
    """
    examples = Examples(logits, labels, settings=Settings(convention), masked=masked)
    return loss(examples, {"alpha": alpha}, ("label_smoothing",))


def cross_entropy(logits: Logits, labels: Labels, *, masked: bool = True) -> Float[Array, "*batch"]:
    """Negative log-likelihood of the hard label in nats: what is reported beside every smoothed loss."""
    return Examples(logits, labels, masked=masked).cross_entropy
