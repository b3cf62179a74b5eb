"""The scripts of buttons inside a `gr.HTML`, each with one listener for everything inside.

Enter on a focused button is a click as well.
"""

import json
from dataclasses import dataclass

from core.problems import tr

PLACE_OF_RUN = "#run-line .going-on, #train-trouble .error"  # of the run that a button starts, or why it cannot

# Buttons that reach the server: they carry `data-ask` and what it is about.
CLICKS = """
element.addEventListener('click', event => {
    const button = event.target.closest('[data-ask]');
    if (button && element.contains(button)) trigger('asked', {...button.dataset});
});
"""

_COPY_TEXTS = {"copied": tr("Copied"), "refused": tr("The browser does not allow copying here")}
# A button with `data-copy` copies that text, and says so for a moment.
COPY = """
const copyTexts = TEXTS;
element.addEventListener('click', async event => {
    const button = event.target.closest('[data-copy]');
    if (!button || !element.contains(button)) return;
    button.dataset.words ??= button.textContent;
    try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = copyTexts.copied;
    } catch {
        button.textContent = copyTexts.refused;
    }
    setTimeout(() => { button.textContent = button.dataset.words; }, 2000);
});
""".replace("TEXTS", json.dumps(_COPY_TEXTS, ensure_ascii=False))

# These ask in the same way; once the place that the button leads to is on the page, it is shown and focused.
LEAD_THERE = """
const MOST_LOOKS = 200, MILLISECONDS = 50;
const show = (place, looks) => {
    const found = document.querySelector(place);
    if (found?.checkVisibility()) {
        if (found.tabIndex < 0) found.tabIndex = -1;
        found.focus({preventScroll: true});
        found.scrollIntoView({block: 'center'});
    } else if (looks > 0) {
        setTimeout(() => show(place, looks - 1), MILLISECONDS);
    }
};
element.addEventListener('click', event => {
    const button = event.target.closest('[data-ask]');
    if (!button || !element.contains(button)) return;
    trigger('asked', {...button.dataset});
    show(button.dataset.place, MOST_LOOKS);
});
"""


@dataclass(frozen=True)
class Way:
    """A button: what it asks for, where it leads (a CSS selector), and its words."""

    ask: str
    place: str
    title: str
    about: str
