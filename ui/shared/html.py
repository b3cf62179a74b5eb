"""HTML from the Jinja templates beside the views.

Every value put into a template is escaped, unless it is `Markup`, which only templates make. So no view builds HTML
from strings, and none has to remember to escape:

    render("report/report.html", title=title)               a whole template
    render_part("compare/blind.html", "state", words=words)  one macro of a template

A template's own texts are translated with `tr` and `trn`, as in Python. What they fill in is escaped as well:

    {{ tr("The run {name} ended.", name=bold(name)) }}
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import EscapeFormatter, Markup, escape

from core.problems import form_for, quoted, tr

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


class _Escaped(EscapeFormatter):
    """Fills templates with escaped values; `{name!r}` quotes a value as it was typed."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return quoted(value) if conversion == "r" else super().convert_field(value, conversion)


_ESCAPED = _Escaped(escape)


def _tr(text: str, /, **values: Any) -> Markup:
    """`core.problems.tr` for templates: the text is escaped, and so are values that are no Markup."""
    return _filled(tr(text), values)


def _trn(one: str, many: str, count: int, /, **values: Any) -> Markup:
    """`core.problems.trn` for templates."""
    return _filled(form_for(one, many, count), {"count": count, **values})


def _filled(template: str, values: dict[str, Any]) -> Markup:
    safe = escape(template)
    return Markup(_ESCAPED.vformat(safe, (), values)) if values else safe


@cache
def environment() -> Environment:
    """The environment of all templates below `ui/`; a value that a template names and nobody gave is an error."""
    made = Environment(
        loader=FileSystemLoader(UI),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=[LayoutOfSource],
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        auto_reload=False,  # the page is drawn every second: do not look each time whether the file has changed
    )
    made.globals |= {"tr": _tr, "trn": _trn}
    return made


def render(template: str, /, **values: Any) -> Markup:
    """The filled template at this path below `ui/`, such as `render("runs/table.html", rows=rows)`."""
    return Markup(environment().get_template(template).render(values))


def render_part(template: str, macro: str, /, **values: Any) -> Markup:
    """One macro of the template at this path below `ui/`, called with these values."""
    return getattr(environment().get_template(template).module, macro)(**values)


def of_file(path: str) -> Markup:
    """The text of one of our own files below `ui/`, such as a stylesheet, to be put into a template as it is."""
    return Markup((UI / path).read_text(encoding="utf-8"))
