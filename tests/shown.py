"""What a section of the page is given, in tests."""
from ls_jax.studies.common.shown import Shown


def shown(records, figures, **more):
    """Records of an experiment of which nothing else is known."""
    return Shown(**{"workdir": figures, "figures": figures, "title": "made up", "subtitle": "", "records": records,
                    "rows": [{}],
                    "held_out": "test", "config": {}, **more})
