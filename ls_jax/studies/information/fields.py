"""The fields of `config.information`.

The study measures the information about the example in the difference of two classes' logits, at the checkpoints of
`config.checkpoint.keep_every`.
"""
import ml_collections

from ls_jax.errors import UserError
from ls_jax.fields import Check, Field, several, whole

FIELDS = {
    "classes": Field((), "two classes by name or id; (): the paper's, else the data set's first two",
                     several(Check(lambda value: isinstance(value, str | int), "be a class"))),
    "examples": Field(600, "training examples, half of them of each class", whole(1)),
    "draws": Field(5, "augmented views for each example's mean, the paper's number", whole(2)),
    "views": Field(50, "a second number of views, large enough that the estimator has little bias", whole(2)),
}


def validate(config: ml_collections.ConfigDict) -> None:
    """Raise UserError where `draws` is larger than `views`."""
    if config.information.draws > config.information.views:
        raise UserError(
            f"config.information.draws={config.information.draws} must be from 2 to config.information.views="
            f"{config.information.views}")
