"""JavaScript of the chat: following a new question, copying the conversation, and saving it as a file."""

# A new question is scrolled into view once; the page does not move under the reader while the answers grow.
FOLLOW = """() => requestAnimationFrame(() => {
    const turn = document.querySelector("#panes .turn");
    const number = turn ? turn.dataset.turn : "";
    if (number !== window.turnInView && number) turn.scrollIntoView({block: "nearest"});
    window.turnInView = number;
})"""
FOCUS_PROMPT = "() => document.querySelector('#prompt textarea').focus()"
COPY = """async text => {
    try { await navigator.clipboard.writeText(text); } catch {
        const sorry = "The browser does not allow copying here: save it as a file.";
        return `<p class="notice warning" role="status">${sorry}</p>`;
    }
    return '<p class="notice good" role="status">The conversation is copied as Markdown.</p>';
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


def save_as(media_type: str, ending: str) -> str:
    """A script that saves a text as a file of this type."""
    return _SAVE.replace("TYPE", media_type).replace("ENDING", ending)
