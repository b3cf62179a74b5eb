"""What is there again after a reload: what was entered, from the browser's own storage, and the tab, from the address.

A page that opens while a run is in progress shows that run instead, see `ui.page`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from ui.gradio_patches import UPDATE

SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8").strip()
_QUIET = {"api_visibility": "private", "show_progress": "hidden", "queue": False}


def remember(page: gr.Blocks, kept: Sequence[gr.components.Component], tabs: gr.Tabs, inner: gr.Tabs) -> None:
    """Adds the events that keep the values of `kept`, by their elem_id, and which tab is open.

    Each tab has an id, and as its elem_id that id and "-tab". `inner` are the tabs within one of `tabs`.
    """
    facts = {
        "kept": [part.elem_id for part in kept],
        "tabs": [tab.id for tab in tabs.children],
        "inner": [tab.id for tab in inner.children],
        "outer": inner.parent.id,
        "same": UPDATE,
    }
    load = f"() => ({SCRIPT})({json.dumps(facts)})"
    keep, address = "(...values) => window.keepEntered?.(values)", "() => window.keepTab?.()"
    page.load(None, None, [*kept, tabs, inner], js=load, **_QUIET)
    gr.on([part.change for part in kept], None, list(kept), None, js=keep, **_QUIET)
    gr.on([tabs.change, inner.change], None, None, None, js=address, **_QUIET)
