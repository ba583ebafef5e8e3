"""The fields of `config.projection`."""
from ls_jax.fields import Check, Field, several

FIELDS = {
    "classes": Field((), "class triples by name or id, as in ((\"cat\", \"dog\", \"frog\"),); (): the paper's, where the data set has some",
                     several(Check(lambda value: isinstance(value, str | int | tuple | list), "be a triple of classes, or a class"))),
}
