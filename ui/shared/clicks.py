"""The script by which buttons inside a `gr.HTML` reach the server: they carry `data-ask` and what it is about."""

# One listener for everything inside. Enter on a focused button is a click as well.
CLICKS = """
element.addEventListener('click', event => {
    const button = event.target.closest('[data-ask]');
    if (button && element.contains(button)) trigger('asked', {...button.dataset});
});
"""
