"""A newcomer's first session: load a model, preview rows, train, reload the page, stop, train again, compare."""

import re

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from core.runs.run_folder import list_runs
from tests.app_process import running_app
from tests.browser.conftest import PHONE, ZOOMED, painted_over, photograph, reload, tab, wait_for_step

SENTENCE = "The old man reads a book."
STEP = re.compile(r"step ([\d,]+) of ([\d,]+)")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("walk")) as app:
        yield app


def fill(page, name: str, value) -> None:
    page.locator(f"#{name} input").fill(str(value))
    page.locator(f"#{name} input").press("Tab")


def set_steps(page, steps: int) -> None:
    tab(page, "Train")
    fill(page, "training-max_steps", steps)


def current_step(page) -> int:
    found = STEP.search(page.locator("#side-run").inner_text())
    return int(found[1].replace(",", "")) if found else 0


def test_1_load_a_model(app, open_page):
    page = open_page(app.url)
    photograph(page, "01-first")
    page.click("#load")
    expect(page.locator("#model-state .good")).to_contain_text("Loaded presets/demo-llama", timeout=120_000)
    facts = page.locator("#model-state dl").inner_text()
    assert re.search(r"In 4-bit\s+(\d+) of (\d+) linear layers", facts)
    assert "tied" in facts and "its own" in facts
    photograph(page, "02-loaded")


def test_2_a_missing_model(app, open_page):
    page = open_page(app.url)
    page.locator("#model-model_name input").fill("./nowhere")
    page.locator("#model-model_name input").press("Enter")
    page.click("#load")
    expect(page.locator("#model-trouble .error")).to_contain_text("There is no folder ./nowhere", timeout=60_000)
    expect(page.locator("#model-state .notice")).to_contain_text("presets/demo-llama is still loaded")
    expect(page.locator("#model-state .good")).to_have_count(0)
    photograph(page, "03-load-failed")
    page.locator("#model-model_name input").fill("presets/demo-llama")
    page.locator("#model-model_name input").press("Enter")
    expect(page.locator("#model-trouble .error")).to_have_count(0)


def test_3_preview_of_the_rendered_rows(app, open_page):
    Client(app.url, verbose=False).predict(api_name="/load_model")
    page = open_page(app.url)
    tab(page, "Data")
    row = page.locator("figure.rendered pre")
    expect(row).to_contain_text("<|start_header_id|>", timeout=60_000)
    trained = "".join(page.locator("figure.rendered i.t").all_inner_texts())
    assert trained.endswith("<|eot_id|>") and "<|start_header_id|>" not in trained
    expect(page.locator("#row-view .notice.good")).to_contain_text("The end mark <|eot_id|> is trained on")
    photograph(page, "04-data")


def test_5_a_setting_out_of_bounds(app, open_page):
    page = open_page(app.url)
    tab(page, "Train")
    fill(page, "adapter-r", 9000)
    page.click("#start")
    expect(page.locator("#train-trouble .error")).to_contain_text("Rank (adapter.r) cannot be 9000", timeout=30_000)
    assert list_runs(app.runs_dir) == []
    page.click("#twice")
    expect(page.locator("#adapter-lora_alpha input")).to_have_value("18000", timeout=10_000)
    expect(page.locator("#train-trouble .error")).to_contain_text("adapter.r")  # one more is wrong now
    fill(page, "adapter-r", 16)
    expect(page.locator("#train-trouble .error")).to_contain_text("(adapter.lora_alpha) cannot be 18000")
    page.click("#twice")
    expect(page.locator("#train-trouble .error")).to_have_count(0)


def test_6_train_reload_second_tab_stop(app, open_page):
    page = open_page(app.url)
    set_steps(page, 5000)
    page.click("#start")
    wait_for_step(page, 3)
    expect(page.locator("#charts polyline").first).to_be_visible()
    expect(page.locator("#receipt")).to_contain_text("embeddings")
    expect(page.locator("#start")).to_be_disabled()
    photograph(page, "06-training")
    before = current_step(page)

    reload(page)
    wait_for_step(page, before)
    tab(page, "Train")
    expect(page.locator("#training-max_steps input")).to_have_value("5000", timeout=10_000)
    points = page.locator("#charts polyline.train").get_attribute("points").split()
    assert len(points) >= before, "the history from before the reload is still drawn"

    second = open_page(app.url, PHONE)
    wait_for_step(second, before)
    tab(second, "Train")
    photograph(second, "07-training-phone")
    tab(second, "Compare")
    expect(second.locator("#compare-hint")).to_contain_text("A run is training", timeout=10_000)
    expect(second.locator("#ask")).to_be_disabled()
    photograph(second, "08-compare-waits-phone")
    assert second.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    second.click("#stop")
    expect(page.locator("#train-state .warning")).to_contain_text("what was trained is kept", timeout=60_000)
    photograph(page, "09-stopped")
    (run,) = list_runs(app.runs_dir)
    assert run.snapshot().status == "stopped" and run.has_adapter
    assert STEP.search(page.locator("#side-run").inner_text())


def test_7_a_complete_run_and_both_models_answer(app, open_page):
    page = open_page(app.url)
    set_steps(page, 6)
    page.click("#start")
    expect(page.locator("#train-state .good")).to_contain_text("Finished", timeout=180_000)
    expect(page.locator("#train-end")).to_contain_text("On 64 rows that it was not trained on")
    expect(page.locator("#train-end")).to_contain_text(re.compile(r"Time\s*\d+:\d\d for 6 steps"))
    photograph(page, "10-finished")

    tab(page, "Compare")
    expect(page.locator("#ask")).to_be_enabled(timeout=10_000)
    page.locator("#prompt textarea").fill(SENTENCE)
    page.click("#ask")
    expect(page.locator("#proof .notice")).to_contain_text("They differ", timeout=60_000)
    assert page.locator(".pane.base .answer").inner_text() == SENTENCE
    expect(page.locator(".pane.base footer")).to_contain_text("ended by itself")
    photograph(page, "11-compared")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["Model", "Data", "Train", "Compare"])
def test_8_no_tab_is_wider_than_a_phone(app, open_page, name, theme):
    page = open_page(f"{app.url}/?__theme={theme}", PHONE)
    tab(page, name)
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    photograph(page, f"20-phone-{theme}-{name.lower()}")
    bars = ["#side", "#composer"] if name == "Compare" else ["#side"]
    for size in (PHONE, ZOOMED) if theme == "light" else ():
        page.set_viewport_size(size)
        expect(page.locator("#side")).to_have_css("position", "sticky")
        assert {bar: painted_over(page, bar) for bar in bars} == {bar: [] for bar in bars}


def test_the_app_printed_no_warnings_of_its_own(app):
    assert app.own_warnings() == []
