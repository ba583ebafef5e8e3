"""The fields of `config.transfer`: linear probes on the frozen penultimate layer."""
import ml_collections

from ls_jax.errors import UserError
from ls_jax.fields import Check, Field, several, whole

FIELDS = {
    "data": Field((), 'data sets to probe, ("fashion_mnist",), with images of the run\'s shape; '
                      '"animals": CIFAR-10 as animals and vehicles',
                  several(Check(lambda value: isinstance(value, str), "be the name of a data set"))),
    "examples": Field(10_000, "largest number of examples to fit a probe on", whole(1)),
}


def validate(config: ml_collections.ConfigDict) -> None:
    """Raise UserError for probes in a run on text."""
    if config.data.vocabulary and config.transfer.data:
        raise UserError(f"config.transfer.data={config.transfer.data!r} needs images: set it to () for text")
