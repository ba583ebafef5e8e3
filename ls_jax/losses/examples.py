"""A batch as the terms of a loss see it: logits, labels, and quantities that several terms need."""
import dataclasses
import functools
import math

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
class Settings:
    """What changes the losses' code rather than a scalar: fields of `config.loss` and `config.distill`."""
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
        object.__setattr__(self, "logits", float32(self.logits))

    @functools.cached_property
    def _class_ids(self):
        ids = class_ids(self.labels, self.logits.shape[-1])
        check_shape(ids, self.logits)
        return ids

    @functools.cached_property
    def _true(self):
        return jnp.take_along_axis(self.logits, self._class_ids[..., None], axis=-1)

    @functools.cached_property
    def unlabelled(self) -> Bool[Array, "*batch"]:
        """Whether an example's label is a class that does not exist for it."""
        return self._true[..., 0] == -jnp.inf

    @functools.cached_property
    def centred(self) -> Float[Array, "*batch classes"]:
        """Logits minus the true class's, so that large logits give small terms; 0 for an example without a class."""
        centred = self.logits - self._true
        return jnp.where(self.unlabelled[..., None], 0.0, centred) if self.masked else centred

    @functools.cached_property
    def count(self) -> Float[Array, "*batch"] | int:
        """K, the number of an example's classes."""
        return jnp.sum(self.logits != -jnp.inf, axis=-1, dtype=jnp.float32) if self.masked else self.logits.shape[-1]

    @functools.cached_property
    def finite_cross_entropy(self) -> Float[Array, "*batch"]:
        """-log p of the label, in nats; of an example without a true class log K."""
        return jax.nn.logsumexp(self.centred, axis=-1)

    @functools.cached_property
    def cross_entropy(self) -> Float[Array, "*batch"]:
        """-log p of the label, in nats; of an example without a true class inf."""
        if not self.masked:
            return self.finite_cross_entropy
        return jnp.where(self.unlabelled, jnp.inf, self.finite_cross_entropy)

    @functools.cached_property
    def log_wrong(self) -> Float[Array, "*batch"]:
        """log(1 - p_y), finite also where p_y is 1 in float32; log(1/2) if there are no other classes."""
        is_true = jnp.arange(self.logits.shape[-1]) == self._class_ids[..., None]
        others = jnp.where(is_true, -jnp.inf, self.centred)
        alone = jnp.expand_dims(jnp.asarray(self.count) == 1, -1)
        return jax.nn.log_sigmoid(jax.nn.logsumexp(jnp.where(alone, -math.log(self.logits.shape[-1]), others), axis=-1))

    @functools.cached_property
    def log_probabilities(self) -> Float[Array, "*batch classes"]:
        """log p; 0 for a class that does not exist."""
        if not self.masked:
            return jax.nn.log_softmax(self.logits, axis=-1)
        log_p = jax.nn.log_softmax(jnp.where(self.unlabelled[..., None], 0.0, self.logits), axis=-1)
        return jnp.where(self.logits != -jnp.inf, log_p, 0.0)

    @functools.cached_property
    def largest(self) -> Float[Array, "*batch"]:
        """max z."""
        return jnp.max(self.logits, axis=-1)

    @functools.cached_property
    def gaps(self) -> Float[Array, "*batch classes"]:
        """max z - z; 0 for a class that does not exist."""
        return self.gaps_below(self.largest)

    def gaps_below(self, level: Float[Array, "*batch"]) -> Float[Array, "*batch classes"]:
        """How far each logit is below a level; 0 for a class that does not exist."""
        gaps = level[..., None] - self.logits
        return jnp.where(self.logits != -jnp.inf, gaps, 0.0) if self.masked else gaps

    def filled(self, value: float) -> Float[Array, "*batch classes"]:
        """The logits, with this value for a class that does not exist."""
        return jnp.where(self.logits != -jnp.inf, self.logits, value) if self.masked else self.logits

    def sum_centred_in_units(self) -> tuple[float, Float[Array, "*batch"]]:
        """(unit, sum of `centred` in units of it): the sum, and the differences too, may be beyond float32's range.

        The unit is a power of two, so that the digits stay.
        """
        unit = 2.0 ** (self.logits.shape[-1].bit_length() + 1)
        return unit, self.sum(jnp.where(self.unlabelled[..., None], 0.0, self.logits / unit - self._true / unit))

    def sum(self, values: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
        """Sum over an example's classes."""
        return jnp.sum(jnp.where(self.logits != -jnp.inf, values, 0.0) if self.masked else values, axis=-1)

    def mean(self, values: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
        """Mean over an example's classes; 0 where it has none."""
        return self.sum(values) / (jnp.maximum(self.count, 1.0) if self.masked else self.count)


def check_shape(labels: Array, logits: Array) -> None:
    """Refuse labels whose shape is not that of the logits less their classes."""
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"labels have shape {labels.shape}, and {logits.shape[:-1]} goes with logits of shape "
                         f"{logits.shape}")


def float32(array: Array | np.ndarray) -> Array:
    """Any real array in float32."""
    checked.check_unmasked(array, "logits or targets")
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise TypeError(f"logits and targets must be real numbers, not {array.dtype}")
    return jnp.asarray(array.astype(np.float32))


def class_ids(labels: Array | np.ndarray, num_classes: int) -> Array:
    """Labels to gather with: those outside [0, num_classes) become num_classes, for which a gather gives NaN."""
    checked.check_unmasked(labels, "labels")
    labels = labels if isinstance(labels, jax.Array) else np.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels have dtype {labels.dtype}: integers are due")
    if isinstance(labels, np.ndarray):  # before JAX cuts them to 32 bits
        return jnp.asarray(np.where((labels >= 0) & (labels < num_classes), labels, num_classes).astype(np.int32))
    labels = labels.astype(jax.dtypes.canonicalize_dtype(np.int64))  # in a small type num_classes might not be itself
    return jnp.where((labels >= 0) & (labels < num_classes), labels, num_classes).astype(jnp.int32)
