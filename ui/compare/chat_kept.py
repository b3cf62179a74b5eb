"""The chat after a reload: the conversation, the panes and *Each question on its own*, from the browser's own storage.

A page looks there when its chat is first shown, and asks the server only if it finds something. The pages of one
browser share the storage: what one of them kept last counts.
"""

from typing import Annotated

import gradio as gr
from pydantic import AfterValidator, BaseModel

from core.comparing.conversation import Conversation
from core.comparing.kept_conversation import MOST_CHARACTERS, from_json, is_key

# A visitor may send any text in place of a conversation. Markdown can be written so that reading it takes the square of
# its length, which must not keep other visitors waiting.
MOST_OF_A_VISITOR = 30_000

# For `js_on_load` of a gr.HTML of the chat, which then has the event `returned`. The page may not keep anything before
# that has been answered: it would be what it began with.
LOOK_FOR_KEPT = """
if (!window.hasLookedForChat) {
    window.hasLookedForChat = true;
    const found = {};
    try {
        found.chat = localStorage.getItem("hearthtune.chat") ?? "";
        found.panes = localStorage.getItem("hearthtune.panes") ?? "";
    } catch { /* the browser refuses its storage to this page: nothing was kept */ }
    if (found.chat || found.panes)  // once all parts of the chat are drawn
        requestAnimationFrame(() => requestAnimationFrame(() => trigger("returned", found)));
    else window.keepsChat = true;
}
"""
BEGIN_TO_KEEP = "() => { window.keepsChat = true; }"
KEEP = """(chat, alone, loaded, ...chosen) => {
    if (!window.keepsChat) return;
    const keep = (key, text) => {
        try {
            localStorage.removeItem(key);  // or else the one before would stay where this one does not fit
            const bytes = new TextEncoder().encode(JSON.stringify(text)).length;
            if (text && bytes <= MOST) localStorage.setItem(key, text);
        } catch { /* refused, or full: the page works without */ }
    };
    const panes = chosen.map(key => key ?? "");
    const isAsBegun = !chat && !alone && loaded === "base" && panes.join() === "base,,";
    keep("hearthtune.chat", chat);
    keep("hearthtune.panes", isAsBegun ? "" : JSON.stringify({panes, loaded, alone}));
}""".replace("MOST", str(MOST_CHARACTERS))


def _is_key_or_empty(text: str) -> str:
    if text and not is_key(text):
        raise ValueError("it is not a pane's key")
    return text


_Key = Annotated[str, AfterValidator(_is_key_or_empty)]


class KeptPanes(BaseModel, frozen=True, extra="forbid"):
    """The keys of the left, right and third pane, empty where nothing is chosen; the key of the run that was loaded
    then; and whether each question was asked on its own."""

    panes: tuple[_Key, _Key, _Key]
    loaded: _Key
    alone: bool


def kept_panes(returned: gr.EventData) -> KeptPanes | None:
    """The panes that a browser had kept; None if it had none, or what it has is not exactly what a page keeps."""
    try:
        return KeptPanes.model_validate_json(_text(returned, "panes"), strict=True)
    except ValueError:
        return None


def kept_conversation(returned: gr.EventData, is_visitor_s: bool) -> Conversation | None:
    """The conversation that a browser had kept; None as for `kept_panes`, and if it is too long to be drawn for a
    visitor."""
    return from_json(_text(returned, "chat"), MOST_OF_A_VISITOR if is_visitor_s else MOST_CHARACTERS)


def _text(returned: gr.EventData, name: str) -> str:
    """What the browser sent by that name; a client can send anything."""
    found = getattr(returned, name, "")
    return found if isinstance(found, str) and len(found) <= MOST_CHARACTERS else ""
