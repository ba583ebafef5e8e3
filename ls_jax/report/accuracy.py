"""The report's section on accuracy: Table 2 of every split, the held-out ones first."""
from markupsafe import Markup

from ls_jax.report import sections
from ls_jax.studies.common import records as results
from ls_jax.studies.common.shown import Shown


def section(page: Shown) -> Markup:
    """A table for each split that was predicted."""
    splits = (page.held_out, *(split for split in ("test", "train") if split != page.held_out))
    return Markup("\n").join(sections.accuracy_table(page.records, split, page.config, page.held_out) for split in splits
                             if results.select(page.records, study="accuracy", split=split))
