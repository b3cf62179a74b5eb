# One listener for whatever is inside: a press of Enter on a button is a click, too.
CLICKS = """
element.addEventListener('click', event => {
    const button = event.target.closest('[data-ask]');
    if (button && element.contains(button)) trigger('asked', {...button.dataset});
});
"""
