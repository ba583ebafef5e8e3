"""HTML from templates, *.html beside the Python that fills them: every value is escaped, and a name that a template lacks is an error.

A section's Python makes plain data (text, tables, figures), its template lays it out. Only a template's result, which
is `markupsafe.Markup`, reaches the page unescaped: Python puts no tags together and marks nothing else as safe.
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
SCREEN_PIXELS = 1.4  # a figure's pixels for one of the page's: fine print on a fine screen

_environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PACKAGE), autoescape=True,
                                  undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
# The filter `tojson` writes <, >, & and ' as \u003c and so on, and so all that is not ASCII: no text ends a <script>.
_environment.policies["json.dumps_kwargs"] = {"ensure_ascii": True, "separators": (",", ":")}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text, which the macro `table` lays out."""
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str

    @property
    def starts(self) -> list[bool]:
        """Whether each row starts a group, of equal first cells; none does where no first cell repeats."""
        groups = len({row[0] for row in self.rows}) < len(self.rows)
        return [groups and number > 0 and row[0] != self.rows[number - 1][0] for number, row in enumerate(self.rows)]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture, which the macro `figure` lays out; on a narrow screen it scrolls sideways."""
    source: str   # a data: URL, so that the page is one file
    width: int    # of the page's pixels
    caption: str


def figure(path: pathlib.Path, caption: str) -> Figure:
    """The picture in a PNG."""
    with Image.open(path) as picture:
        width = round(picture.width / SCREEN_PIXELS)
    return Figure(f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}", width, caption)


def render(template: str, **data: Any) -> Markup:
    """A template with this data, by its path in the package: "studies/accuracy/section.html".

    Raises:
        jinja2.UndefinedError: the template names what the data lacks.
    """
    return Markup(_environment.get_template(template).render(data))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> Markup:
    """An HTML table of text; where the first column repeats, a new value in it starts a group."""
    return render("studies/common/table.html", table=Table(header, rows, caption))
