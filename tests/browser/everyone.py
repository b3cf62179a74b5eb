"""What tests need that use the page by keyboard only, or look at it as axe-core does."""

import pytest

# axe's rules of WCAG 2.2 include the size of targets, which is off by default.
OPTIONS = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
ACCORDIONS = "button.label-wrap:visible"


def serious_faults(page, rules: list[str] | None = None) -> list[str]:
    """What axe-core finds critical or serious in what is shown: the rule, the element, and why.

    With `rules`, only those are tried, which takes less time.
    """
    from axe_playwright_python.base import AXE_SCRIPT

    # Colors that are on their way to others are in neither scheme.
    page.wait_for_function("document.getAnimations().every(one => one.playState !== 'running')")
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    options = OPTIONS | ({"runOnly": rules} if rules else {})
    return page.evaluate(
        """async options => (await axe.run(document, options)).violations
            .filter(rule => ['critical', 'serious'].includes(rule.impact))
            .flatMap(rule => rule.nodes.map(node => {
                const why = [...node.any, ...node.all, ...node.none].map(check => check.message);
                return [rule.id, node.html.slice(0, 120), ...why].join(' | ');
            }))""",
        options,
    )


def open_accordions(page) -> None:
    """Open all accordions in view; each must say so."""
    for accordion in page.locator(ACCORDIONS).all():
        if accordion.get_attribute("aria-expanded") == "false":
            accordion.click()


def go_to(page, selector: str, key: str = "Tab", most: int = 80) -> None:
    """Press Tab or Shift+Tab until an element of that selector has the focus, and shows it."""
    way = []
    for _ in range(most):
        page.keyboard.press(key)
        way.append(page.evaluate("document.activeElement.outerHTML.slice(0, 80)"))
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            assert is_focus_visible(page), way[-1]
            return
    pytest.fail(f"{selector} was not reached: {way}")


def is_focus_visible(page) -> bool:
    """Whether the element with the focus has an outline."""
    style = "getComputedStyle(document.activeElement)"
    return page.evaluate(f"{style}.outlineStyle !== 'none' && parseFloat({style}.outlineWidth) >= 2")
