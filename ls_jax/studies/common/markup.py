"""HTML from jinja2 templates. Every value is escaped; a template that uses an undefined name raises an error.

A section's Python makes plain data (text, tables, figures), and the *.html file beside it lays them out. Only the
result of a template, a `markupsafe.Markup`, reaches the page unescaped: Python code writes no tags.
"""
import base64
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

PACKAGE = pathlib.Path(__file__).parents[2]
SPLIT_NAMES = {"train": "training", "validation": "validation", "test": "test"}
SCREEN_PIXELS = 1.4  # pixels of a figure for each pixel of the page, for high-resolution screens

_environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PACKAGE), autoescape=True,
                                  undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
# The filter `tojson` writes <, >, &, ' and all non-ASCII text as \u003c and the like, so no text can end a <script>.
_environment.policies["json.dumps_kwargs"] = {"ensure_ascii": True, "separators": (",", ":")}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text for the macro `table`."""
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str

    @property
    def starts(self) -> list[bool]:
        """For each row, whether it starts a group of equal first cells; all False where no first cell repeats."""
        groups = len({row[0] for row in self.rows}) < len(self.rows)
        return [groups and number > 0 and row[0] != self.rows[number - 1][0] for number, row in enumerate(self.rows)]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture for the macro `figure`; on a narrow screen it scrolls sideways."""
    source: str   # a data: URL, so that the page is one file
    width: int    # in pixels of the page
    caption: str


def figure(path: pathlib.Path, caption: str) -> Figure:
    """The picture of a PNG file, embedded as a data URL."""
    with Image.open(path) as picture:
        width = round(picture.width / SCREEN_PIXELS)
    return Figure(f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}", width, caption)


def render(template: str, **data: Any) -> Markup:
    """HTML of a template, given by its path in the package ("studies/accuracy/section.html").

    Raises:
        jinja2.UndefinedError: the template uses a name that `data` does not have.
    """
    return Markup(_environment.get_template(template).render(data))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> Markup:
    """An HTML table of text. Where the first column has repeats, each new value in it starts a group."""
    return render("studies/common/table.html", table=Table(header, rows, caption))
