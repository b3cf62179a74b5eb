"""The page for those who use the keyboard only, have it read to them, or need contrast.

The tests are steps of one session on one page: each needs those before it.
"""

import re

import pytest
from playwright.sync_api import expect

from core.runs.queue_file import QueueFile
from core.settings.run_config import RunConfig
from tests.app_process import running_app
from tests.browser.conftest import in_colors, open_settings, tab
from tests.browser.everyone import go_to, open_accordions, serious_faults

SENTENCE = "The old man reads a book."
CHOSEN_TAB = "#tabs > .tab-wrapper [role=tab][aria-selected=true]"
TABS = ["Model", "Data", "Train", "Compare", "Blind test", "Measure", "Proof and report", "Runs", "Export"]
INNER_TABS = TABS[4:7]  # of Compare


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("everyone")) as app:
        yield app


def test_1_the_demo_by_keyboard_alone(page):
    press = page.keyboard.press
    go_to(page, "#preset input")
    page.keyboard.type("demo")
    press("Enter")
    expect(page.locator("#preset input")).to_have_value(re.compile("^Demo: a tiny Yoda"))

    go_to(page, CHOSEN_TAB, "Shift+Tab")
    press("ArrowRight")
    press("ArrowRight")
    expect(page.locator(CHOSEN_TAB)).to_have_text("Train")
    go_to(page, "#training-max_steps input")
    press("Control+a")
    page.keyboard.type("60")  # so many that the page sees the run in progress, which folds the form
    go_to(page, "#start")
    press("Enter")
    expect(page.locator("#run-line .when-folded")).to_be_focused()  # the form is folded, and Start with it
    expect(page.locator("#train-state .good")).to_contain_text("Finished", timeout=300_000)

    go_to(page, CHOSEN_TAB, "Shift+Tab")
    press("ArrowRight")
    expect(page.locator(CHOSEN_TAB)).to_have_text("Compare")
    expect(page.locator("#ask")).to_be_enabled()
    go_to(page, "#prompt textarea")
    press("Control+a")
    page.keyboard.type(SENTENCE)
    press("Enter")
    expect(page.locator("#proof .notice")).to_contain_text("They differ", timeout=60_000)
    expect(page.locator("#panes .pane .answer")).to_have_count(2)


def test_2_tabs_are_one_stop_of_the_tab_key_and_the_arrow_keys_go_round(page):
    go_to(page, CHOSEN_TAB, "Shift+Tab")
    assert page.locator("#tabs > .tab-wrapper [role=tab][tabindex='0']").count() == 1
    for key, name in (("Home", "Model"), ("ArrowLeft", "Export"), ("ArrowRight", "Model"), ("End", "Export")):
        page.keyboard.press(key)
        expect(page.locator(CHOSEN_TAB)).to_have_text(name)
        expect(page.locator(CHOSEN_TAB)).to_be_focused()


def test_3_a_list_is_shut_when_the_tab_key_leaves_it(page):
    tab(page, "Model")
    opened = page.locator("[role=combobox][aria-expanded=true]")
    go_to(page, "#preset input")
    expect(opened).to_have_count(1)
    for key, name in (("Tab", "#model-model_name input"), ("Shift+Tab", "#preset input")):
        page.keyboard.press(key)
        expect(page.locator("#save-preset summary")).to_be_focused()
        expect(opened).to_have_count(0)
        page.keyboard.press(key)
        expect(page.locator(name)).to_be_focused()
        expect(opened).to_have_count(1)
        expect(page.locator(name)).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Shift+Tab")
    expect(opened).to_have_count(0)


def test_4_gradio_still_opens_a_list_again_after_it_was_left(page):
    """When this fails, Gradio has mended its lists: then take that out of `gradio_patches.js`."""
    page.locator("#preset input").evaluate(
        """async list => {
            list.focus();
            list.dispatchEvent(new KeyboardEvent("keydown", {key: "F2", bubbles: true}));
            list.blur();
        }"""
    )
    expect(page.locator("#preset input")).to_have_attribute("aria-expanded", "true")
    page.locator("#preset input").evaluate("list => { list.focus(); list.blur(); }")
    expect(page.locator("#preset input")).to_have_attribute("aria-expanded", "false")


def test_5_an_accordion_says_whether_it_is_open(page):
    tab(page, "Model")
    accordion = page.get_by_role("button", name="More: token, revision, precision")
    expect(accordion).to_have_attribute("aria-expanded", "false")
    go_to(page, "button.label-wrap")
    page.keyboard.press("Enter")
    expect(accordion).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Enter")
    expect(accordion).to_have_attribute("aria-expanded", "false")


@pytest.mark.parametrize("name", TABS)
def test_axe_finds_nothing_serious(app, page, name):
    if name in INNER_TABS:
        tab(page, "Compare")
    tab(page, name)
    if name == "Runs":
        page.locator("#runs-table th[scope=row] button").first.click()
        expect(page.locator("#opened")).to_be_visible()
    if name == "Train":
        queue = QueueFile(app.runs_dir)
        queue.pause(True)
        queue.add([("one", RunConfig()), ("two", RunConfig())])
        expect(page.locator("#queue li")).to_have_count(2)
        assert serious_faults(page) == []  # the run comes first, and its form is folded
        open_settings(page)
        page.locator("#vary summary").click()
    open_accordions(page)
    assert serious_faults(page) == []
    in_colors(page, "dark")
    assert serious_faults(page, ["color-contrast"]) == []
