"""The scripts of buttons inside a `gr.HTML`, each with one listener for everything inside.

Enter on a focused button is a click as well.
"""

# Buttons that reach the server: they carry `data-ask` and what it is about.
CLICKS = """
element.addEventListener('click', event => {
    const button = event.target.closest('[data-ask]');
    if (button && element.contains(button)) trigger('asked', {...button.dataset});
});
"""

# A button with `data-copy` copies that text, and says so for a moment.
COPY = """
element.addEventListener('click', async event => {
    const button = event.target.closest('[data-copy]');
    if (!button || !element.contains(button)) return;
    button.dataset.words ??= button.textContent;
    try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = 'Copied';
    } catch {
        button.textContent = 'The browser does not allow copying here';
    }
    setTimeout(() => { button.textContent = button.dataset.words; }, 2000);
});
"""
