"""HTML from the Jinja templates beside the views. Every value put into a template is escaped, unless it is `Markup`."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

UI = Path(__file__).resolve().parents[1]


@cache
def environment() -> Environment:
    """The environment of all templates below `ui/`; a value that a template names and nobody gave is an error."""
    return Environment(
        loader=FileSystemLoader(UI),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )


def render(template: str, /, **values: Any) -> Markup:
    """The filled template at this path below `ui/`, such as `render("runs/table.html", rows=rows)`."""
    return Markup(environment().get_template(template).render(values))
