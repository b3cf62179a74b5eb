"""HTML from the Jinja templates beside the views.

Every value put into a template is escaped, unless it is `Markup`, which only templates make. So no view builds HTML
from strings, and none has to remember to escape:

    render("report/report.html", title=title)               a whole template
    render_part("compare/blind.html", "state", words=words)  one macro of a template
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup

UI = Path(__file__).resolve().parents[1]
# Line breaks with the indentation around them: between two tags or statements, and any other.
_BETWEEN_TAGS = re.compile(r"(?:(?<=>)|(?<=[%#]\}))\s*\n\s*(?=<|\{[%#])")
_IN_TEXT = re.compile(r"\s*\n\s*")


class LayoutOfSource(Extension):
    """Removes from a template the line breaks and indentation between its tags; any other line break becomes a space.

    They make the source readable, but on the page they would show where white space is kept, and an element that holds
    nothing else would not count as `:empty` in the stylesheet.
    """

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return _IN_TEXT.sub(" ", _BETWEEN_TAGS.sub("", source.strip()))


@cache
def environment() -> Environment:
    """The environment of all templates below `ui/`; a value that a template names and nobody gave is an error."""
    return Environment(
        loader=FileSystemLoader(UI),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=[LayoutOfSource],
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        auto_reload=False,  # the page is drawn every second: do not look each time whether the file has changed
    )


def render(template: str, /, **values: Any) -> Markup:
    """The filled template at this path below `ui/`, such as `render("runs/table.html", rows=rows)`."""
    return Markup(environment().get_template(template).render(values))


def render_part(template: str, macro: str, /, **values: Any) -> Markup:
    """One macro of the template at this path below `ui/`, called with these values."""
    return getattr(environment().get_template(template).module, macro)(**values)


def of_file(path: str) -> Markup:
    """The text of one of our own files below `ui/`, such as a stylesheet, to be put into a template as it is."""
    return Markup((UI / path).read_text(encoding="utf-8"))
