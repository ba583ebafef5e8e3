"""The family of losses, one value per example: cross-entropy and terms that add to it, whose strengths are named scalars.

`LOSSES` lists the terms. Their scalars may be traced, so a sweep over them is one compilation. A new loss is a function and a line in
`LOSSES`: its scalars are then swept as `config.sweep.NAME=(...)`.

Two conventions of label smoothing are in use, and mixing them up shifts α by K/(K-1):

- "uniform" (the paper §1.1, Szegedy et al. 2016, optax): y (1-α) + α/K, the true class included;
- "off_target" (tensor2tensor, fairseq): 1-α on the true class, α/(K-1) on each of the others. With one class there are no
  others, and its target is 1.

What holds for every loss, inside `jit` too:

- logits are floats or integers of any size and computed in float32; labels are integers of any type. Other dtypes are a TypeError;
- a class whose logit is -inf does not exist for that example: sums, means and K run over the other classes, and its gradient is 0.
  An example whose label does not exist has the loss inf and no gradient. `masked=False` leaves this out: a network in training gives
  -inf only where it diverges, which its loss has to show, and its program is then the plain formula's;
- finite logits whose differences are beyond float32's range give the loss where that is within it, and else inf; with `masked=False`
  it may be NaN instead;
- an example whose label is outside [0, K) has the loss NaN (a whole row of NaN in `smooth_labels`), which a run reports as divergence.
"""
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Real

from ls_jax import checked

CONVENTIONS = ("uniform", "off_target")
MATCHES = ("soft", "logits")

Logits = Real[Array | np.ndarray, "*batch classes"]
Labels = Integer[Array | np.ndarray, "*batch"]


Strength = Float[Array | np.ndarray, ""] | float


@dataclasses.dataclass(frozen=True)
class Scalar:
    """A named number that a sweep may vary.

    Attributes:
        off: its value where an arm does not name it. A term is exactly 0 while all of its scalars have theirs.
        low, high: its range.
        ends: whether they belong to it: "[" and "]" that they do, "(" and ")" that they do not.
        what: its name in words.
        whole: whether it is a whole number, int32, rather than a float32.
    """
    off: float | int
    low: float | int
    high: float | int
    ends: str = "[)"
    what: str = "it"
    whole: bool = False

    def holds(self, value: float | int | np.number) -> bool:
        """Whether a value lies in the range; NaN does not."""
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        return bool(above and (value <= self.high if self.ends[1] == "]" else value < self.high))

    @property
    def range(self) -> str:
        """The range as it is written: "[0, 1)"."""
        return f"{self.ends[0]}{self.low:.10g}, {self.high:.10g}{self.ends[1]}"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What of the losses is code rather than a scalar: the fields of `config.loss` and `config.distill` that they read."""
    convention: str = "uniform"               # of label smoothing
    match: str = "soft"                       # what a student matches of its teacher, one of MATCHES
    student_temperature: float | None = 1.0   # of the student's own logits; None: the teacher's
    temperature_squared: bool = False         # whether the soft term is multiplied by T²


@dataclasses.dataclass(frozen=True)
class Examples:
    """A batch as the terms of a loss see it. What several of them need is computed once.

    Attributes:
        logits: real [*batch, classes]; float32 from then on.
        labels: integers [*batch].
        teacher_logits: real [*batch, classes], or None without a teacher.
        settings: see `Settings`.
        masked: whether classes of logit -inf are left out.
    """
    logits: Logits
    labels: Labels
    teacher_logits: Logits | None = None
    settings: Settings = Settings()
    masked: bool = True

    def __post_init__(self):
        object.__setattr__(self, "logits", _float32(self.logits))

    @functools.cached_property
    def _true(self):
        labels = _class_ids(self.labels, self.logits.shape[-1])
        _check_shape(labels, self.logits)
        return jnp.take_along_axis(self.logits, labels[..., None], axis=-1)

    @functools.cached_property
    def unlabelled(self) -> Bool[Array, "*batch"]:
        """Whether an example's label is a class that does not exist for it."""
        return self._true[..., 0] == -jnp.inf

    @functools.cached_property
    def centred(self) -> Float[Array, "*batch classes"]:
        """Logits less the true class's, which keeps terms small where the logits are large; 0 for an example without a true class."""
        centred = self.logits - self._true
        return jnp.where(self.unlabelled[..., None], 0.0, centred) if self.masked else centred

    @functools.cached_property
    def count(self) -> Float[Array, "*batch"] | int:
        """K, the number of an example's classes."""
        return jnp.sum(self.logits != -jnp.inf, axis=-1, dtype=jnp.float32) if self.masked else self.logits.shape[-1]

    @functools.cached_property
    def cross_entropy(self) -> Float[Array, "*batch"]:
        """-log p of the label, in nats."""
        value = jax.nn.logsumexp(self.centred, axis=-1)
        return jnp.where(self.unlabelled, jnp.inf, value) if self.masked else value

    def sum_centred_in_units(self) -> tuple[float, Float[Array, "*batch"]]:
        """(unit, sum of `centred` in units of it): the sum, and the differences too, may be beyond float32's range.

        The unit is a power of two, so that the digits stay.
        """
        unit = 2.0 ** (self.logits.shape[-1].bit_length() + 1)
        return unit, self.sum(jnp.where(self.unlabelled[..., None], 0.0, self.logits / unit - self._true / unit))

    def sum(self, values: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
        """Sum over an example's classes."""
        return jnp.sum(jnp.where(self.logits != -jnp.inf, values, 0.0) if self.masked else values, axis=-1)


@dataclasses.dataclass(frozen=True)
class Term:
    """One loss of the family.

    Attributes:
        f: (examples, strengths) -> [*batch], what it adds to the cross-entropy; `strengths` holds the values of all named scalars.
            It must be exactly 0, and so must its gradient, while all of its scalars are `off`.
        scalars: by name.
        share: the name of the scalar β of a term that takes the place of a part of all others, (1-β) L + β f, instead of adding.
        taught: whether it needs `examples.teacher_logits`; where there are none it is left out.
    """
    f: Callable[[Examples, Mapping[str, Strength]], Float[Array, "*batch"]]
    scalars: Mapping[str, Scalar]
    share: str | None = None
    taught: bool = False


def loss(examples: Examples, strengths: Mapping[str, Strength], terms: Iterable[str] | None = None) -> Float[Array, "*batch"]:
    """The loss of each example: cross-entropy and the terms of these names (None: of all of `LOSSES`).

    `strengths` gives the scalars by name; those that are not among them are off.
    """
    strengths = {name: scalar.off for name, scalar in scalars().items()} | dict(strengths)
    chosen = [term for name, term in LOSSES.items() if terms is None or name in terms]
    value = examples.cross_entropy
    for term in sorted(chosen, key=lambda term: term.share is not None):  # a share is of all that adds
        if term.taught and examples.teacher_logits is None:
            continue
        part = term.f(examples, strengths)
        value = value + part if term.share is None else (1 - strengths[term.share]) * value + strengths[term.share] * part
    return value


def scalars() -> dict[str, Scalar]:
    """The scalars of all terms by name."""
    return {name: scalar for term in LOSSES.values() for name, scalar in term.scalars.items()}


def used(names: Iterable[str]) -> tuple[str, ...]:
    """The terms that have one of these scalars. A sweep compiles those whose scalars it names, also where it names none but `off`:
    a network alone is then computed as it is in a larger sweep, to the last bit."""
    names = set(names)
    return tuple(name for name, term in LOSSES.items() if names & term.scalars.keys())


def label_smoothing(examples: Examples, strengths: Mapping[str, Strength]) -> Float[Array, "*batch"]:
    """-off Σ_k (z_k - z_y), with `off` the target's weight on each wrong class: the difference that smoothed targets make.

    Σ_k y_k (lse - z_k) with y = off + (on - off) onehot and Σ_k y_k = 1 is cross-entropy and this.
    """
    alpha = strengths["alpha"]
    if not examples.masked:
        return -(_target_weights(examples.count, alpha, examples.settings.convention)[1] * examples.sum(examples.centred))
    others = examples.count - 1 if _is_off_target(examples.settings.convention) else examples.count
    off = alpha / jnp.maximum(others, 1.0)
    unit, total = examples.sum_centred_in_units()
    return -jnp.where(off == 0, 0.0, off * unit * total)


def distillation(examples: Examples, strengths: Mapping[str, Strength]) -> Float[Array, "*batch"]:
    """The teacher's term, which takes β of the loss (the paper §4): H(pᵗ(Tᵗ), p(T)), or ½||z - zᵗ||² where `match` is "logits".

    A class that the student does not have (logit -inf) the teacher does not have either.
    """
    settings, masked, teacher_logits = examples.settings, examples.masked, examples.teacher_logits
    if settings.match == "logits":
        return logit_matching(examples.logits, teacher_logits, masked=masked)
    if masked:
        teacher_logits = jnp.where(examples.logits == -jnp.inf, -jnp.inf, _float32(teacher_logits))
    temperature = strengths["temperature"]
    targets = soft_targets(teacher_logits, examples.labels, temperature, strengths["control"], masked=masked)
    own = temperature if settings.student_temperature is None else settings.student_temperature
    term = soft_cross_entropy(examples.logits, targets, own, masked=masked)
    return jnp.square(temperature) * term if settings.temperature_squared else term


LOSSES: dict[str, Term] = {
    "label_smoothing": Term(label_smoothing, {"alpha": Scalar(0.0, 0.0, 1.0, what="label smoothing")}),
    "distillation": Term(distillation, share="beta", taught=True, scalars={
        "temperature": Scalar(1.0, 0.0, math.inf, "()", what="the teacher's temperature"),
        "beta": Scalar(0.0, 0.0, 1.0, "[]", what="the weight of the teacher's term"),
        "control": Scalar(0.0, 0.0, 1.0, "[]", what="1, or True: the teacher's wrong classes are made equally likely")}),
}


def smooth_labels(labels: Labels, num_classes: int, alpha: Strength, convention: str = "uniform") -> Float[Array, "*batch classes"]:
    """Smoothed targets for integer labels: the paper's y_k (1-α) + α/K, or tensor2tensor's α/(K-1) off the target.

    Raises:
        ValueError: for a convention other than "uniform" and "off_target".
    """
    labels = _class_ids(labels, num_classes)
    on, off = _target_weights(num_classes, alpha, convention)
    targets = jnp.where(jax.nn.one_hot(labels, num_classes, dtype=bool), on, off).astype(jnp.float32)
    return jnp.where((labels == num_classes)[..., None], jnp.nan, targets)


def smoothed_cross_entropy(logits: Logits, labels: Labels, alpha: Strength, convention: str = "uniform", *,
                           masked: bool = True) -> Float[Array, "*batch"]:
    """Cross-entropy against smoothed targets, without building them: one log-sum-exp, one gather and one mean.

    Neither shifted by the target's entropy nor rescaled by 1/(1-α), so its floor is the target's entropy. The K of α/K, and of
    α/(K-1), is the number of the example's classes whose logit is not -inf.
    """
    examples = Examples(logits, labels, settings=Settings(convention), masked=masked)
    return loss(examples, {"alpha": alpha}, ("label_smoothing",))


def cross_entropy(logits: Logits, labels: Labels, *, masked: bool = True) -> Float[Array, "*batch"]:
    """Negative log-likelihood of the hard label in nats: what is reported beside every smoothed loss."""
    return Examples(logits, labels, masked=masked).cross_entropy


def soft_targets(teacher_logits: Logits, labels: Labels, temperature: Strength,
                 control: Strength = 0.0, *, masked: bool = True) -> Float[Array, "*batch classes"]:
    """The teacher's probabilities pᵗ(T). With `control` = 1 the label's class keeps its own and the others share the rest equally.

    The control has the same equivalent smoothing γ and says nothing of which wrong classes are alike ("dark knowledge").
    """
    teacher_logits = _float32(teacher_logits)
    num_classes = teacher_logits.shape[-1]
    labels = _class_ids(labels, num_classes)
    _check_shape(labels, teacher_logits)
    soft = jax.nn.softmax(teacher_logits / temperature, axis=-1)
    true = jnp.take_along_axis(soft, labels[..., None], axis=-1)
    is_true = jax.nn.one_hot(labels, num_classes, dtype=bool)
    if not masked:
        return jnp.where(control > 0, jnp.where(is_true, true, (1 - true) / (num_classes - 1)), soft)
    present = teacher_logits != -jnp.inf
    others = jnp.maximum(jnp.sum(present, axis=-1, keepdims=True, dtype=jnp.float32) - 1, 1.0)
    return jnp.where(control > 0, jnp.where(is_true, true, jnp.where(present, (1 - true) / others, 0.0)), soft)


def soft_cross_entropy(logits: Logits, targets: Float[Array | np.ndarray, "*batch classes"],
                       temperature: Strength = 1.0, *, masked: bool = True) -> Float[Array, "*batch"]:
    """H(targets, p(T)) per example: summed over the classes (a mean over them would shrink the term K-fold).

    It is inf where a target is above 0 on a class whose logit is -inf.
    """
    logits, targets = _float32(logits), _float32(targets)
    terms = targets * jax.nn.log_softmax(logits / temperature, axis=-1)
    if not masked:
        return -jnp.sum(terms, axis=-1)
    terms = jnp.where(targets == 0, 0.0, terms)  # also where a probability is too small for float32 to have its logarithm
    return -jnp.sum(jnp.where(logits != -jnp.inf, terms, jnp.where(targets > 0, -jnp.inf, 0.0)), axis=-1)


def logit_matching(logits: Logits, teacher_logits: Logits, *, masked: bool = True) -> Float[Array, "*batch"]:
    """½ ||z - zᵗ||² per example, summed over the classes that both have: the paper's term on MNIST (App. A.5).

    It is the limit of K T² H(pᵗ(T), p(T)) for T → ∞, up to a constant, where both have logits of mean zero (Hinton et al. 2015).
    """
    logits, teacher_logits = _float32(logits), _float32(teacher_logits)
    difference = logits - teacher_logits
    if masked:
        difference = jnp.where((logits != -jnp.inf) & (teacher_logits != -jnp.inf), difference, 0.0)
    return 0.5 * jnp.sum(jnp.square(difference), axis=-1)


def _target_weights(num_classes, alpha, convention):
    """The target's weight on the true class and on each other class."""
    if not _is_off_target(convention):
        return 1 - alpha + alpha / num_classes, alpha / num_classes
    return (1 - alpha, alpha / (num_classes - 1)) if num_classes > 1 else (1.0, 0.0)


def _is_off_target(convention):
    if convention not in CONVENTIONS:
        raise ValueError(f"smoothing convention {convention!r} is unknown: choose 'uniform' (α/K on every class, the paper) "
                         "or 'off_target' (α/(K-1) on the wrong ones, tensor2tensor)")
    return convention == "off_target"


def _check_shape(labels, logits):
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"labels have shape {labels.shape}, and {logits.shape[:-1]} goes with logits of shape {logits.shape}")


def _float32(array):
    """Any real array in float32."""
    checked.check_unmasked(array, "logits or targets")
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise TypeError(f"logits and targets must be real numbers, not {array.dtype}")
    return jnp.asarray(array.astype(np.float32))


def _class_ids(labels, num_classes):
    """Labels to gather with: those outside [0, num_classes) become num_classes, for which a gather gives NaN."""
    checked.check_unmasked(labels, "labels")
    labels = labels if isinstance(labels, jax.Array) else np.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels have dtype {labels.dtype}: integers are due")
    if isinstance(labels, np.ndarray):  # before JAX cuts them to 32 bits
        return jnp.asarray(np.where((labels >= 0) & (labels < num_classes), labels, num_classes).astype(np.int32))
    labels = labels.astype(jax.dtypes.canonicalize_dtype(np.int64))  # in a small type num_classes might not be itself
    return jnp.where((labels >= 0) & (labels < num_classes), labels, num_classes).astype(jnp.int32)
