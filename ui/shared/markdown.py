"""Markdown that a model wrote, as HTML.

markdown-it-py reads it, and `markdown.html` writes what was read, only with the tags that are named there. So what a
model writes can become no other tag: HTML stays text, an image is a link to it, and a link leads only to a web page or
a mail address.
"""

from functools import lru_cache
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markupsafe import Markup

from ui.shared.html import render_part

SCHEMES = ("http", "https", "mailto")


def _may_link(address: str) -> bool:
    """Whether a link may lead there: to the web or a mail address, and never into this page."""
    try:
        return urlsplit(address.strip()).scheme.lower() in SCHEMES
    except ValueError:  # "http://[" and the like
        return False


def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    reader.disable(["image", "html_block", "html_inline"])
    reader.validateLink = _may_link
    return reader


_READER = _reader()


@lru_cache(maxsize=128)  # a page draws the same answers many times
def markdown(text: str, heading: int = 4) -> Markup:
    """The text as HTML. The largest headings in it become those of level `heading`."""
    # One after the other, as they were read, and not as a tree: a model can nest emphasis a thousand deep.
    tokens = [part for token in _READER.parse(text) for part in (token.children or [token])]
    return render_part("shared/markdown.html", "written", tokens=tokens, heading=heading)
