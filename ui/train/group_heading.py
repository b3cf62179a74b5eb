"""The titles of the groups of settings on the Train tab."""

from collections.abc import Sequence

from markupsafe import Markup

from core.families import LLAMA_LAYERS
from core.problems import mark, tr
from ui.shared.html import render_part

LAYERS_TITLE = mark("What is trained")  # of the group with the adapted layers


def group_heading(title: str, layers: Sequence[str] = LLAMA_LAYERS) -> Markup:
    """The title as HTML. That of the adapted layers decides which of them are shown: `layers`."""
    return render_part("train/form.html", "heading", title=tr(title), layers=layers if title == LAYERS_TITLE else ())
