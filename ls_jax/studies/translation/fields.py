"""The fields of `config.translation`: what a softmax temperature does to a Transformer (Figure 4). Likelihood and calibration are of all
held-out tokens at `temperatures`, BLEU is by beam search at those `decoded`."""
import ml_collections

from ls_jax.errors import UserError
from ls_jax.fields import Field, above, between, several, whole

GRID = tuple(round(0.5 + 0.1 * k, 1) for k in range(16))
FIELDS = {
    "temperatures": Field(GRID, "of the softmax", several(above(0))),
    "decoded": Field(GRID, "those of them at which sentences are translated", several(above(0))),
    "beams": Field((4,), "widths: the first at every temperature, the others at 1", several(whole(1))),
    "length_penalty": Field(0.6, "tensor2tensor's α of ((5 + length) / 6)^α", between(0, 100)),
    "extra": Field(50, "a translation has at most so many tokens more than its source", whole(0)),
    "sentences": Field(None, "of the file that is translated at all of these at most so many; None: all", whole(1), kind=int),
}


def validate(config: ml_collections.ConfigDict) -> None:
    """Raises UserError where a run of text could not be studied with these."""
    own = config.translation
    if not config.data.vocabulary:
        return
    if 1.0 not in own.temperatures or not set(own.decoded) <= set(own.temperatures):
        raise UserError(f"config.translation.temperatures={tuple(own.temperatures)} must hold 1.0 and all of config.translation.decoded="
                        f"{tuple(own.decoded)}")
    if not own.beams:
        raise UserError("config.translation.beams=() must hold a width")
