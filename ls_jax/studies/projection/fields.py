"""The fields of `config.projection`."""
from ls_jax.fields import Check, Field, several

CLASSES = Check(lambda value: isinstance(value, str | int | tuple | list), "be a triple of classes, or a class")
FIELDS = {
    "classes": Field((), "class triples to project, as names or ids: ((\"cat\", \"dog\", \"frog\"),); "
                         "(): the paper's if the data set has them", several(CLASSES)),
}
