"""The fields of `config.translation`: a Transformer's likelihood, calibration and BLEU by temperature (Figure 4)."""
import ml_collections

from ls_jax.errors import UserError
from ls_jax.fields import Field, above, between, several, whole

GRID = tuple(round(0.5 + 0.1 * k, 1) for k in range(16))
FIELDS = {
    "temperatures": Field(GRID, "softmax temperatures for likelihood and calibration of all held-out tokens",
                          several(above(0))),
    "decoded": Field(GRID, "temperatures, out of these, at which sentences are translated by beam search",
                     several(above(0))),
    "beams": Field((4,), "beam widths: the first is used at every temperature, the others at 1", several(whole(1))),
    "length_penalty": Field(0.6, "tensor2tensor's α of ((5 + length) / 6)^α", between(0, 100)),
    "extra": Field(50, "largest number of tokens by which a translation may exceed its source", whole(0)),
    "sentences": Field(None,
                       "largest number of sentences of the file that is translated at all temperatures; None: all",
                       whole(1), kind=int),
}


def validate(config: ml_collections.ConfigDict) -> None:
    """Raise UserError where `temperatures` lacks 1 or a decoded temperature, or `beams` is empty, in a run on text."""
    own = config.translation
    if not config.data.vocabulary:
        return
    if 1.0 not in own.temperatures or not set(own.decoded) <= set(own.temperatures):
        raise UserError(
            f"config.translation.temperatures={tuple(own.temperatures)} must contain 1.0 and all of "
            f"config.translation.decoded="
            f"{tuple(own.decoded)}")
    if not own.beams:
        raise UserError("config.translation.beams=() must contain a width")
