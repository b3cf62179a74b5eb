"""A reload loses nothing that was entered, and opens the same tab; the token is never kept."""

import json

import pytest
from playwright.sync_api import expect

from bench.page_load import SHIFTS
from core.settings.presets import find_preset
from tests.app_process import running_app
from tests.browser.conftest import DESKTOP, PHONE, reload, tab, unfold


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("remembered")) as app:
        yield app


def kept(page) -> dict:
    return json.loads(page.evaluate("localStorage.getItem('hearthtune.entered')") or "{}")


def test_what_was_entered_and_the_tab_survive_a_reload(page):
    unfold(page, page.get_by_text("More: token, revision, precision"))
    page.locator("#token input").fill("hf_secretsecretsecret")
    page.locator("#model-revision textarea, #model-revision input").first.fill("v2")
    tab(page, "Train")
    page.locator("#adapter-r input").fill("24")
    tab(page, "Compare")
    page.locator("#prompt textarea").fill("그는 책을 읽는다.")
    page.wait_for_function(
        "JSON.parse(localStorage.getItem('hearthtune.entered') ?? '{}').prompt === '그는 책을 읽는다.'"
    )
    assert (kept(page)["adapter-r"], kept(page)["model-revision"]) == (24, "v2")
    assert "hf_secret" not in page.evaluate("JSON.stringify(localStorage)")

    tab(page, "Measure")
    page.wait_for_url("**/#measure")
    reload(page)
    expect(page.get_by_role("tab", name="Measure", exact=True)).to_have_attribute("aria-selected", "true")
    tab(page, "Chat")
    expect(page.locator("#prompt textarea")).to_have_value("그는 책을 읽는다.")
    tab(page, "Train")
    expect(page.locator("#adapter-r input")).to_have_value("24")
    assert kept(page)["model-revision"] == "v2"
    tab(page, "Model")
    page.wait_for_url(page.url.split("#")[0])
    unfold(page, page.get_by_text("More: token, revision, precision"))
    expect(page.locator("#model-revision textarea, #model-revision input").first).to_have_value("v2")
    expect(page.locator("#token input")).to_have_value("")


def test_another_preset_takes_the_place_of_what_was_entered(page):
    tab(page, "Model")
    page.locator("#preset input").click()
    page.get_by_role("option", name=find_preset("llama-3.2-1b").title).first.click()
    page.wait_for_function(
        "name => JSON.parse(localStorage.getItem('hearthtune.entered'))['model-model_name'] === name",
        arg=find_preset("llama-3.2-1b").config.model.model_name,
    )
    reload(page)
    expect(page.locator("#model-model_name input")).to_have_value(find_preset("llama-3.2-1b").config.model.model_name)
    tab(page, "Train")
    expect(page.locator("#adapter-r input")).to_have_value(str(find_preset("llama-3.2-1b").config.adapter.r))


def test_a_recipe_shows_its_steps_and_its_stages_fill_the_form(page):
    tab(page, "Model")
    page.locator("#preset input").click()
    page.get_by_role("option", name="Korean in two stages").click()
    strip = page.locator("#recipe .strip li")
    expect(strip).to_have_count(26)
    expect(strip.first).to_have_text("Look at the rows: Reading Korean")
    second = page.locator("#recipe").get_by_role("button", name="Instructions in Korean", exact=True)
    expect(second).to_have_attribute("aria-pressed", "false")
    second.click()
    expect(second).to_have_attribute("aria-pressed", "true")
    page.set_viewport_size(PHONE)
    expect(page.get_by_role("button", name="Run the recipe")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.set_viewport_size(DESKTOP)
    tab(page, "Train")
    expect(page.locator("#training-num_train_epochs input")).to_have_value("2")
    reload(page)
    tab(page, "Model")
    expect(strip).to_have_count(26)


@pytest.mark.parametrize("damage", ["{", '{"preset": "gone", "adapter-r": 12}'])
def test_what_cannot_be_used_is_left_out(page, damage):
    page.evaluate("text => { delete window.keepEntered; localStorage.setItem('hearthtune.entered', text); }", damage)
    reload(page)
    expect(page.locator("#preset input")).not_to_have_value("gone")
    tab(page, "Train")
    rank = 12 if "12" in damage else find_preset("demo-yoda").config.adapter.r
    expect(page.locator("#adapter-r input")).to_have_value(str(rank))


@pytest.fixture
def slow_phone(chromium):
    with chromium.new_context(viewport=PHONE) as context:
        page = context.new_page()
        page.add_init_script(SHIFTS)
        context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 10})
        yield page


def test_nothing_moves_while_the_page_opens_on_a_slow_phone(app, slow_phone):
    slow_phone.goto(app.url, timeout=300_000)
    expect(slow_phone.locator("#preset input")).to_be_visible(timeout=300_000)
    expect(slow_phone.locator(".loading")).to_have_count(0, timeout=300_000)
    assert slow_phone.evaluate("window.shifts") < 0.001  # a figure may become a digit longer
