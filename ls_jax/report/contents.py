"""The page's contents: every heading gets an id, so that links can lead to it."""
import re
from typing import NamedTuple

from markupsafe import Markup

HEADING = re.compile(r"<h3>(.*?)</h3>", re.DOTALL)  # of a template: text from outside has no < of its own


class Entry(NamedTuple):
    """A heading: where it is, and its text."""
    id: str
    title: Markup


def numbered(sections: Markup, prefix: str) -> tuple[Markup, list[Entry]]:
    """(the HTML with ids in its h3 headings, these headings in order).

    Args:
        sections: HTML from templates.
        prefix: of the ids, another for each run of a page.
    """
    entries: list[Entry] = []

    def with_id(heading: re.Match[str]) -> str:
        entries.append(Entry(f"{prefix}-{len(entries) + 1}", Markup(heading[1].strip())))
        return f'<h3 id="{entries[-1].id}">{heading[1]}</h3>'

    return Markup(HEADING.sub(with_id, sections)), entries
