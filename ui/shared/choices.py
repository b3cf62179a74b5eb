"""What a person chooses in a list, once per choice."""

import json

import gradio as gr

from ui.gradio_patches import UPDATE

_QUIET = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
_NOTE = "value => { window.chosenBefore = value; }"
_TELL = """value => {
    if (value === window.chosenBefore) return SAME;
    window.chosenBefore = value;
    return `${value} ${Date.now()}`;
}""".replace("SAME", json.dumps(UPDATE))


def chosen_in(choice: gr.Dropdown) -> gr.Textbox:
    """A hidden text that changes each time a person chooses something else in this list.

    A list of Gradio's has its `input` event also when the list is merely left, and twice for a choice.
    """
    told = gr.Textbox("", visible="hidden")
    choice.focus(None, [choice], None, js=_NOTE, **_QUIET)
    choice.input(None, [choice], [told], js=_TELL, **_QUIET)
    return told
