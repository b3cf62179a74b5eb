"""JavaScript of the list of exports."""

from ui.shared.clicks import CLICKS

# A button with `data-copy` copies that text, and says so for a moment.
COPY_AND_CLICKS = (
    CLICKS
    + """
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
)
