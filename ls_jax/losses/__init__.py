"""The family of losses, one value per example: cross-entropy plus terms whose strengths are named scalars.

`LOSSES` lists the terms. Their scalars may be traced, so a sweep over them is one compilation. A new loss is a function
and a line in `LOSSES` (terms.py): its scalars are then swept as `config.sweep.NAME=(...)`. A strength with a NAME_end
goes there linearly over training.

Two conventions of label smoothing are in use, and mixing them up shifts α by K/(K-1):

- "uniform" (the paper §1.1, Szegedy et al. 2016, optax): y (1-α) + α/K, the true class included;
- "off_target" (tensor2tensor, fairseq): 1-α on the true class, α/(K-1) on each of the others. With one class there are
  no others, and its target is 1.

What holds for every loss, inside `jit` too:

- Logits are floats or integers of any size, computed in float32. Labels are integers of any type. Other dtypes raise
  TypeError.
- A class whose logit is -inf does not exist for that example: sums, means and K are over the other classes, and its
  gradient is 0. An example whose label does not exist has the loss inf and no gradient. `masked=False` omits this and
  gives the plain formula's program: a network in training has logits of -inf only if it diverges, which its loss must
  show.
- Finite logits may differ by more than float32 can hold. Cross-entropy and its smoothed form are then right where
  float32 can hold them, and otherwise inf. The other terms, and all with `masked=False`, may be NaN instead.
- An example whose label is outside [0, K) has the loss NaN (in `smooth_labels` a row of NaN). A run reports it as
  divergence.
"""
from ls_jax.losses.distillation import logit_matching, soft_cross_entropy, soft_targets
from ls_jax.losses.examples import CONVENTIONS, MATCHES, Examples, Labels, Logits, Settings, Strength
from ls_jax.losses.family import END, active, at, cross_entropy, followed, loss, scalars, smoothed_cross_entropy, used
from ls_jax.losses.scalar import Scalar
from ls_jax.losses.smoothing import smooth_labels
from ls_jax.losses.terms import LOSSES, Term

__all__ = ["CONVENTIONS", "END", "LOSSES", "MATCHES", "Examples", "Labels", "Logits", "Scalar", "Settings", "Strength",
           "Term", "active", "at", "cross_entropy", "followed", "logit_matching", "loss", "scalars", "smooth_labels",
           "smoothed_cross_entropy", "soft_cross_entropy", "soft_targets", "used"]
