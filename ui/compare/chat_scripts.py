"""JavaScript of the chat: its heads, following the answers, asking a sample question, and copying and saving it all."""

import json

from core.problems import tr
from ui.shared.clicks import COPY
from ui.shared.formatting import notice

# A new question is scrolled into view. Then the page follows the end of the answers as they grow, until the reader
# scrolls up, and again once they are back at the end.
FOLLOW = """() => requestAnimationFrame(() => {
    const turn = document.querySelector("#panes .turn");
    if (!turn) { window.turnInView = ""; return; }
    // How far the end of the answers is below the bar at the bottom.
    const hidden = () => {
        const [panes, bar] = ["panes", "composer"].map(id => document.getElementById(id).getBoundingClientRect());
        return panes.bottom + 8 - Math.min(bar.top, window.innerHeight);
    };
    if (window.followsAnswers === undefined) {
        let before = window.scrollY;
        window.addEventListener("scroll", () => {
            if (hidden() < 40) window.followsAnswers = true;
            else if (window.scrollY < before - 1) window.followsAnswers = false;
            before = window.scrollY;
        }, {passive: true});
    }
    if (turn.dataset.turn !== window.turnInView) {
        turn.scrollIntoView({block: "nearest"});
        window.followsAnswers = true;
    } else if (window.followsAnswers && hidden() > 0) window.scrollBy({top: hidden(), behavior: "instant"});
    window.turnInView = turn.dataset.turn;
})"""
FOCUS_PROMPT = "() => document.querySelector('#prompt textarea').focus()"

# A sample question goes into the box, and is asked at once if it can be.
ASK_SAMPLE = """
element.addEventListener('click', async event => {
    const button = event.target.closest('[data-question]');
    if (!button || !element.contains(button)) return;
    const box = document.querySelector('#prompt textarea'), ask = document.getElementById('ask');
    box.value = button.dataset.question;
    box.dispatchEvent(new Event('input', {bubbles: true}));
    box.focus();
    await new Promise(taken => setTimeout(taken));
    if (!ask.disabled) ask.click();
});
"""
IN_ANSWERS = COPY + ASK_SAMPLE

# How many heads there are is an attribute of their row. A head is there for each pane, and one that was added is there
# before anything is chosen for it.
_HEADS = "const heads = document.getElementById('heads'); const count = Number(heads.dataset.count ?? 2);"
HEADS_OF = f"""(right, third) => {{
    {_HEADS}
    heads.dataset.count = third ? 3 : right ? Math.max(count, 2) : count;
}}"""
ADD_HEAD = f"""() => {{
    {_HEADS}
    heads.dataset.count = Math.min(count + 1, 3);
    document.querySelector(count < 2 ? '#pane-right input' : '#pane-third input').focus();
}}"""
REMOVE_RIGHT = f"""(right, third) => {{
    {_HEADS}
    heads.dataset.count = count - 1;
    return [third || '', ''];
}}"""
REMOVE_THIRD = f"""() => {{
    {_HEADS}
    heads.dataset.count = 2;
    return '';
}}"""

_COPY_ALL = """async text => {
    try { await navigator.clipboard.writeText(text); } catch { return REFUSED; }
    return COPIED;
}"""
_SAVE = """text => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type: "TYPE;charset=utf-8"}));
    const now = new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
    link.download = `conversation-${now}.ENDING`;
    link.click();
    URL.revokeObjectURL(link.href);
}"""
# An error stays while the box has the question that came back with it.
KEEP_ERROR_OF_UNASKED = "(question, unasked, error) => question === unasked ? error : ''"
# An error, such as that a run could not be loaded, goes once one is; that none is loaded may be the error's doing.
NO_ERROR_ONCE_LOADED = "(loaded, error) => loaded === 'base' ? error : ''"


def copy_all() -> str:
    """A script that copies a text and returns a notice of how that went."""
    copied = notice(tr("The conversation is copied as Markdown."), "good")
    refused = notice(tr("The browser does not allow copying here: save it as a file."), "warning")
    return _COPY_ALL.replace("REFUSED", json.dumps(refused)).replace("COPIED", json.dumps(copied))


def save_as(media_type: str, ending: str) -> str:
    """A script that saves a text as a file of this type."""
    return _SAVE.replace("TYPE", media_type).replace("ENDING", ending)
