"""A newcomer's first session: load a model, preview rows, train, reload the page, stop, train again, compare.

The tests are steps of one session on one page: each needs those before it.
"""

import re

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import expect

from core.runs.run_folder import list_runs
from core.settings.presets import find_preset
from tests.app_process import PROJECT, running_app
from tests.browser.conftest import (
    DESKTOP,
    PHONE,
    ZOOMED,
    followed,
    held,
    in_colors,
    open_settings,
    painted_over,
    photograph,
    reload,
    tab,
    unfold,
    wait_for_step,
)
from ui.gradio_patches import lighter_scripts
from ui.shared.formatting import run_label

SENTENCE = "The old man reads a book."
STEP = re.compile(r"step ([\d,]+) of ([\d,]+)")
NOTES_FRAMES = """
    const request = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = callback => {
        window.frameAsked = performance.now();
        return request(callback);
    };
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("walk")) as app:
        yield app


def fill(page, name: str, value) -> None:
    page.locator(f"#{name} input").fill(str(value))
    page.locator(f"#{name} input").press("Tab")


def set_steps(page, steps: int) -> None:
    tab(page, "Train")
    if page.locator("#train-form").is_hidden():
        open_settings(page)
    with followed(page, "training-max_steps", steps):
        fill(page, "training-max_steps", steps)


def current_step(page) -> int:
    found = STEP.search(page.locator("#side-run").inner_text())
    return int(found[1].replace(",", "")) if found else 0


def test_1_the_first_screen(app, page):
    expect(page).to_have_title("HearthTune")
    expect(page.locator("#welcome h2")).to_have_text("Fine-tune a Llama on this computer, and see what changed.")
    expect(page.locator("#welcome button b")).to_have_text(["Try the demo", "Use my own data", "Will it fit my card?"])
    described = "document.querySelector('meta[name=description]').content"
    assert page.evaluate(described) == "Fine-tune a Llama on your own graphics card, and see what changed."
    assert page.evaluate("document.querySelector('meta[name=theme-color]').content") == "#33475f"
    icon = page.request.get(f"{app.url}/favicon.ico")
    assert icon.body() == (PROJECT / "ui/icons/favicon.svg").read_bytes()
    assert icon.headers["content-type"] == "image/svg+xml"
    assert f"HearthTune is at {app.url}" in app.printed() and "share=True" not in app.printed()
    for path, script in lighter_scripts().items():
        assert page.request.get(app.url + path).text() == script
    for theme in ("dark", "light"):
        in_colors(page, theme)
        for size, name in ((DESKTOP, "desktop"), (PHONE, "phone"), (ZOOMED, "zoomed")):
            page.set_viewport_size(size)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            photograph(page, f"01-first-{name}-{theme}", full_page=False)
    page.set_viewport_size(DESKTOP)


def test_2_its_ways_lead_to_the_data_and_to_the_estimate(page):
    page.get_by_role("button", name="Use my own data").press("Enter")
    expect(page.get_by_role("tab", name="Data", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#data-path textarea")).to_be_focused()
    tab(page, "Model")
    page.get_by_role("button", name="Will it fit my card?").press("Enter")
    expect(page.get_by_role("tab", name="Train", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#card")).to_be_focused()
    expect(page.locator("#card")).to_be_in_viewport()
    tab(page, "Model")


def test_3_load_a_model(page):
    page.click("#load")
    expect(page.locator("#model-state .good")).to_contain_text("Loaded presets/demo-llama", timeout=120_000)
    facts = page.locator("#model-state dl").inner_text()
    assert re.search(r"In 4-bit\s+(\d+) of (\d+) linear layers", facts)
    assert "tied" in facts and "its own" in facts
    photograph(page, "02-loaded")


def test_4_a_missing_model(page):
    with followed(page, "model-model_name", "./nowhere"):
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


def test_5_preview_of_the_rendered_rows(page):
    tab(page, "Data")
    row = page.locator("figure.rendered pre")
    expect(row).to_contain_text("<|start_header_id|>", timeout=60_000)
    trained = "".join(page.locator("figure.rendered i.t").all_inner_texts())
    assert trained.endswith("<|eot_id|>") and "<|start_header_id|>" not in trained
    expect(page.locator("#row-view .notice.good")).to_contain_text("The end token <|eot_id|> is trained on")
    photograph(page, "04-data")


def test_6_a_setting_out_of_bounds(app, page):
    tab(page, "Train")
    fill(page, "adapter-r", 9000)
    page.click("#start")
    expect(page.locator("#adapter-r .fault")).to_contain_text("Rank (adapter.r) cannot be 9000", timeout=30_000)
    expect(page.locator("#train-trouble .error")).to_contain_text("Rank")
    expect(page.locator("#adapter-r input")).to_have_accessible_description(re.compile("cannot be 9000"))
    photograph(page, "04-setting-out-of-bounds")
    assert list_runs(app.runs_dir) == []
    page.click("#twice")
    expect(page.locator("#adapter-lora_alpha input")).to_have_value("18000")
    expect(page.locator("#adapter-lora_alpha .fault")).to_contain_text("(adapter.lora_alpha) cannot be 18000")
    expect(page.locator("#adapter-r .fault")).to_have_count(1)
    page.locator("#adapter-r input").fill("16")  # it goes while it is being typed
    expect(page.locator("#adapter-r .fault")).to_have_count(0)
    expect(page.locator("#adapter-r input")).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#train-trouble .error")).to_contain_text("Alpha")
    page.click("#twice")
    expect(page.locator(".fault, #train-trouble .error")).to_have_count(0)


def test_6_an_error_leads_to_its_field_wherever_that_is(page):
    unfold(page, page.get_by_role("button", name="All settings"))
    for size, name, wrong, right in (
        (DESKTOP, "training-weight_decay", 2, 0.01),
        (PHONE, "data-seed", -1, 3407),
        (ZOOMED, "training-seed", -1, 3407),
    ):
        tab(page, "Data" if name == "data-seed" else "Train")
        if name == "data-seed":
            unfold(page, page.locator("#data-more button.label-wrap"))
        field = page.locator(f"#{name} input")
        field.fill(str(wrong))
        expect(page.locator(f"#{name} .fault")).to_have_count(0)  # it is still being typed
        field.press("Tab")
        expect(page.locator(f"#{name} .fault")).to_contain_text(f"cannot be {wrong}")
        if name == "data-seed":
            unfold(page, page.locator("#data-more button.label-wrap"))
            tab(page, "Train")
        else:
            page.locator("#all-settings > button.label-wrap").click()
        expect(field).to_be_hidden()
        page.set_viewport_size(size)
        page.click("#start")
        photograph(page, f"04-error-at-start-{name}")
        page.locator("#train-trouble").get_by_role("button", name="Show it").click()
        expect(field).to_be_focused()
        photograph(page, f"04-error-at-{name}", full_page=False)
        in_colors(page, "dark")
        photograph(page, f"04-error-at-{name}-dark", full_page=False)
        in_colors(page, "light")
        page.set_viewport_size(DESKTOP)
        field.fill(str(right))
        expect(page.locator(".fault, #train-trouble .error")).to_have_count(0)
        tab(page, "Train")


def test_6_a_preset_of_ones_own(app, page):
    fill(page, "adapter-r", 24)
    tab(page, "Model")
    unfold(page, page.get_by_text("Save these settings as a preset…"))
    title = page.get_by_role("textbox", name="Title")
    title.fill("Demo Yoda")
    title.press("Enter")
    expect(page.locator("#save-preset .error")).to_contain_text("There is a preset 'demo-yoda' already")
    expect(title).to_have_value("Demo Yoda")
    photograph(page, "04-preset-refused", full_page=False)
    page.set_viewport_size(PHONE)
    photograph(page, "04-preset-refused-phone", full_page=False)
    page.set_viewport_size(DESKTOP)
    title.fill("My Yoda")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#preset input")).to_have_value("My Yoda · your own")
    expect(page.locator("#save-preset .good")).to_contain_text("Saved as My Yoda")
    photograph(page, "04-preset-saved", full_page=False)
    in_colors(page, "dark")
    photograph(page, "04-preset-saved-dark", full_page=False)
    in_colors(page, "light")
    choose_preset(page, "Demo: a tiny Yoda")
    tab(page, "Train")
    expect(page.locator("#adapter-r input")).to_have_value("16")
    tab(page, "Model")
    choose_preset(page, "My Yoda")
    expect(page.locator("#about-preset")).to_contain_text("rank 24")
    page.wait_for_function("JSON.parse(localStorage.getItem('hearthtune.entered'))['adapter-r'] === 24")
    reload(page)
    expect(page.locator("#preset input")).to_have_value("My Yoda · your own")
    expect(page.locator("#about-preset")).to_contain_text("rank 24")
    tab(page, "Train")
    expect(page.locator("#adapter-r input")).to_have_value("24")
    tab(page, "Model")
    page.get_by_text("Delete this preset…").click()
    page.get_by_role("button", name="Delete My Yoda for good").click()
    expect(page.locator("#preset input")).to_have_value(re.compile("Demo: a tiny Yoda"))
    expect(page.get_by_text("Delete this preset…")).to_have_count(0)
    choose_preset(page, "Llama 3.2 1B")
    expect(page.locator("#model-model_name input")).not_to_have_value("presets/demo-llama")
    choose_preset(page, "Demo: a tiny Yoda")
    expect(page.locator("#model-model_name input")).to_have_value("presets/demo-llama")
    assert list((app.runs_dir / "presets").iterdir()) == []


def test_6_settings_of_another_model_s_preset(page):
    learning_rate = page.locator("#training-learning_rate [data-testid=block-info]")
    name = find_preset("llama-3.2-1b").config.model.model_name
    page.locator("#model-model_name input").fill(name)
    page.locator("#model-model_name input").press("Enter")
    use = page.locator(".other-model:visible").get_by_role("button", name=f"Use the settings for {name}")
    expect(use).to_be_visible()
    expect(page.locator("#model-max_seq_length [data-mark]")).to_have_count(1)
    photograph(page, "04-other-model", full_page=False)
    page.set_viewport_size(PHONE)
    photograph(page, "04-other-model-phone", full_page=False)
    page.set_viewport_size(DESKTOP)
    tab(page, "Train")
    expect(learning_rate).to_have_attribute("data-mark", "other model")
    photograph(page, "04-other-model-train")
    in_colors(page, "dark")
    photograph(page, "04-other-model-train-dark")
    in_colors(page, "light")
    page.locator("#training-learning_rate input").fill("0.0005")
    expect(page.locator("#training-learning_rate [data-mark]")).to_have_count(0)
    tab(page, "Model")
    use.click()
    expect(page.locator("#preset input")).to_have_value(re.compile("Llama 3.2 1B"))
    expect(page.locator("[data-mark], .other-model:visible .notice")).to_have_count(0)
    tab(page, "Train")
    expect(page.locator("#training-learning_rate input")).to_have_value("0.0002")
    tab(page, "Data")
    expect(page.locator("#data-path textarea")).to_have_value("presets/data/yoda.jsonl")
    tab(page, "Model")
    choose_preset(page, "Demo: a tiny Yoda")
    expect(page.locator("#model-model_name input")).to_have_value("presets/demo-llama")


def choose_preset(page, title: str) -> None:
    page.locator("#preset input").click()
    page.get_by_role("option", name=re.compile(title)).first.click()


def test_7_the_demo_starts_with_one_click(app, page):
    set_steps(page, 7)
    tab(page, "Model")
    page.get_by_role("button", name="Try the demo").click()
    expect(page.get_by_role("tab", name="Train", exact=True)).to_have_attribute("aria-selected", "true")
    wait_for_step(page, 1)
    expect(page.locator("#train-state .progress")).to_be_in_viewport()
    expect(page.locator("#training-max_steps input")).to_have_value("160")  # as in its preset
    (run,) = list_runs(app.runs_dir)
    assert (run.name, run.preset) == ("Demo Llama · yoda.jsonl · 160 steps", "demo-yoda")
    expect(page.locator("#side-run")).to_contain_text(run.name)
    photograph(page, "07-demo-started", full_page=False)
    line = page.locator("#run-line")
    expect(line.locator("p").first).to_have_text("Demo Llama on yoda.jsonl · rank 16 · 160 steps")
    expect(page.locator("#train-form")).to_be_hidden()
    line.get_by_role("button", name="Settings").click()
    expect(line.get_by_role("button", name="Settings")).to_have_attribute("aria-expanded", "true")
    expect(line.get_by_role("button", name="Settings")).to_be_focused()
    expect(page.locator("#start")).to_be_visible()
    line.get_by_role("button", name="Settings").click()
    expect(line.get_by_role("button", name="Settings")).to_have_attribute("aria-expanded", "false")
    expect(page.locator("#train-form")).to_be_hidden()
    line.get_by_role("button", name="Stop").click()
    expect(page.locator("#train-state .warning")).to_contain_text("what was trained is kept", timeout=60_000)
    expect(page.locator("#train-form")).to_be_hidden()
    expect(page.locator("#welcome .welcome")).to_have_count(0)
    tab(page, "Model")
    page.locator("#preset input").fill("Llama 3.2 1B")  # another preset says that another run is wanted
    page.locator("#preset input").press("Enter")
    tab(page, "Train")
    expect(page.locator("#start")).to_be_visible()
    expect(page.locator("#last-run-elsewhere")).to_contain_text("is on the Runs tab")
    tab(page, "Model")
    page.locator("#preset input").fill("Demo")
    page.locator("#preset input").press("Enter")
    tab(page, "Train")
    expect(page.locator("#training-max_steps input")).to_have_value("160")


def test_8_train_and_reload(page):
    set_steps(page, 5000)
    page.click("#start")
    wait_for_step(page, 3)
    expect(page.locator("#charts polyline").first).to_be_visible()
    expect(page.locator("#receipt")).to_contain_text("embeddings")
    expect(page.locator("#start")).to_have_text("Add to queue")
    photograph(page, "06-training")
    before = current_step(page)

    reload(page)
    wait_for_step(page, before)
    expect(page.get_by_role("tab", name="Train", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#train-form")).to_be_hidden()
    expect(page.locator("#training-max_steps input")).to_have_value("5000")
    points = page.locator("#charts .linear polyline.train").get_attribute("points").split()
    assert len(points) >= before, "the history from before the reload is still drawn"


def test_9_the_charts_show_the_value_under_the_pointer_and_what_is_chosen(page):
    loss = page.locator("#charts .chart").first
    drawing, pointer = loss.locator("svg"), page.locator(".chart-pointer")
    first = drawing.element_handle()
    drawing.hover(position={"x": 60, "y": 60})  # near its first step
    expect(pointer.locator("div b").first).to_have_text("step 1")
    value = loss.locator("g[data-name=train]").get_attribute("data-values").partition(";")[0]
    expect(pointer.locator(".key.train b")).to_have_text(value)
    expect(pointer.locator(".key.smooth")).to_have_count(0)
    wait_for_step(page, current_step(page) + 3)
    assert first.evaluate("drawing => drawing.isConnected"), "the drawing under the pointer is still the same"
    expect(pointer).to_be_visible()
    photograph(page, "06-training-value", full_page=False)
    page.get_by_role("checkbox", name="log scale").check()
    page.get_by_role("checkbox", name="smoothed").check()
    expect(loss.locator(".log polyline.train")).to_be_visible()
    expect(loss.locator(".log polyline.smooth")).to_be_visible()
    expect(loss.locator(".linear polyline.train")).to_be_hidden()
    drawing.hover(position={"x": 61, "y": 60})
    expect(pointer.locator(".key.smooth")).to_have_text(f"smoothed {value}")  # of the first value alone
    photograph(page, "06-training-smoothed", full_page=False)
    page.mouse.move(0, 0)
    expect(pointer).to_be_hidden()
    rates = page.locator("#charts .chart", has_text="Learning rate")
    expect(rates.locator("polyline.embeddings-rate")).to_be_visible()


def test_10_the_browser_tells_when_a_run_ends_if_it_may(app, page):
    tell = page.get_by_role("checkbox", name="Tell me when it ends")
    expect(tell).not_to_be_checked()
    page.context.clear_permissions()
    tell.click()
    expect(page.locator("#run-line .tell-denied")).to_have_text(re.compile("does not allow notifications"))
    expect(tell).not_to_be_checked()
    photograph(page, "06-training-not-told", full_page=False)
    page.context.grant_permissions(["notifications"], origin=app.url)
    page.evaluate("""() => {
        const real = window.Notification;
        window.Notification = class extends real {
            constructor(title, options) { super(title, options); window.told = [title, options.body]; }
        };
    }""")
    tell.check()
    expect(page.locator("#run-line .tell-denied")).to_be_hidden()
    expect(tell).to_be_checked()


def test_10_runs_are_queued_while_one_is_in_progress(app, page):
    set_steps(page, 2)
    page.click("#start")
    expect(page.locator("#train-trouble .good")).to_have_text(
        "Added to the queue: Demo Llama · yoda.jsonl · 2 steps.", timeout=30_000
    )
    queued = page.locator("#queue li")
    expect(queued).to_have_count(1)
    expect(queued.locator(".queue-time")).to_have_text(re.compile(r"^about 0:\d\d$"))
    expect(page.locator("#side-run")).to_contain_text("1 run is in the queue")
    page.get_by_text("Vary…").click()
    page.get_by_label("Setting", exact=True).fill("adapter.rank")
    page.get_by_label("Values", exact=True).press("Enter")
    expect(page.locator("#train-trouble .error")).to_contain_text("did you mean adapter.r?")
    page.get_by_label("Setting", exact=True).fill("training.learning_rate")
    expect(page.get_by_label("Values", exact=True)).to_have_value("1e-4, 2e-4, 5e-4")
    page.get_by_label("Values", exact=True).fill("1e-3, 1e-4")
    for theme in ("dark", "light"):
        in_colors(page, theme)
        for size, name in ((DESKTOP, "desktop"), (PHONE, "phone"), (ZOOMED, "zoomed")):
            page.set_viewport_size(size)
            page.locator("#vary").scroll_into_view_if_needed()
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            photograph(page, f"06-vary-{name}-{theme}", full_page=False)
    page.set_viewport_size(DESKTOP)
    page.get_by_role("button", name="Add variations to queue").click()
    expect(page.locator("#train-trouble .good")).to_have_text("Added 2 runs to the queue.")
    expect(queued).to_have_count(3)
    rates = page.locator("#queue .queue-name", has_text="learning_rate")
    expect(rates).to_have_text([re.compile("1e-3$"), re.compile("1e-4$")])


def test_10_the_queue_is_ordered_by_keyboard_and_paused(app, page):
    page.locator("#run-line [data-form=folded]:visible").click()
    queued, focused = page.locator("#queue li"), "document.activeElement.getAttribute('aria-label')"
    up = queued.last.get_by_role("button", name="Move up")
    name = up.get_attribute("aria-label")
    up.press("Enter")
    expect(queued.nth(1).locator(".queue-name")).to_have_text(re.compile("1e-4$"))
    page.wait_for_function(f"name => {focused} === name", arg=name)
    page.keyboard.press("Enter")
    expect(queued.first.locator(".queue-name")).to_have_text(re.compile("1e-4$"))
    page.wait_for_function(f"name => {focused} === name", arg=name.replace("up", "down"))
    queued.nth(1).get_by_role("button", name="Drop").press("Enter")
    expect(queued).to_have_count(2)
    expect(page.locator("#queue .queue-name", has_text="learning_rate")).to_have_count(2)
    page.get_by_role("button", name="Pause the queue").click()
    expect(page.locator("#queue .queue-head")).to_contain_text(re.compile(r"2 runs, paused; about 0:\d\d in all\."))
    for theme in ("dark", "light"):
        in_colors(page, theme)
        for size, name in ((DESKTOP, "desktop"), (PHONE, "phone"), (ZOOMED, "zoomed")):
            page.set_viewport_size(size)
            page.locator("#queue").scroll_into_view_if_needed()
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            photograph(page, f"06-queue-{name}-{theme}", full_page=False)
    page.set_viewport_size(DESKTOP)


def test_10_a_page_out_of_view_asks_seldom_and_at_once_when_it_is_shown_again(page):
    """A headless browser has every tab in view, so what a page reads of that is set here."""
    page.evaluate("""() => {
        Object.assign(window, {isHidden: true, looks: 0, asks: 0, realFetch: window.fetch});
        Object.defineProperty(document, "hidden", {configurable: true, get: () => ++window.looks && window.isHidden});
        window.fetch = (...asked) => {
            window.asks += String(asked[0]).includes("/live?");
            return window.realFetch(...asked);
        };
    }""")
    page.wait_for_function("window.looks >= 5")  # once a second
    assert page.evaluate("window.asks") <= 1
    page.wait_for_function("window.pausedLive")
    asked_at_once = page.evaluate("""async () => {
        const before = window.asks;
        window.isHidden = false;
        document.dispatchEvent(new Event("visibilitychange"));
        await new Promise(done => setTimeout(done));
        return window.asks - before;
    }""")
    assert asked_at_once == 1
    page.evaluate("() => { delete document.hidden; window.fetch = window.realFetch; }")
    wait_for_step(page, current_step(page) + 1)


def test_10_a_page_asks_as_seldom_as_it_is_told_to(page):
    """On a slow machine it may ask again before it is told, and an answer from before may be the last to come."""
    page.evaluate("""() => {
        Object.assign(window, {looks: 0, begun: 0, asks: 0, realFetch: window.fetch});
        let again = 0;
        Object.defineProperty(window, "againLive", {configurable: true, get: () => ++window.looks && again,
                                                    set: at => again = Math.max(again, at)});
        window.fetch = async (...asked) => {
            if (!String(asked[0]).includes("/live?")) return window.realFetch(...asked);
            window.begun += 1;
            const answer = await window.realFetch(...asked);
            const body = answer.status === 204 ? null : await answer.text();
            window.asks += 1;
            return new Response(body, {status: answer.status, headers: {pause: "1000"}});
        };
    }""")
    page.wait_for_function("window.asks > 0 && window.asks === window.begun")
    asked = page.evaluate("(window.looks = 0, window.asks)")
    page.wait_for_function("window.looks >= 5")  # once a second
    assert page.evaluate("window.asks") == page.evaluate("window.begun") == asked
    page.evaluate("() => { delete window.againLive; window.fetch = window.realFetch; }")
    wait_for_step(page, current_step(page) + 1)


def test_11_a_second_page_shows_the_only_run_and_stops_it(app, page, open_page):
    run, demo = list_runs(app.runs_dir)
    second = open_page(app.url, PHONE, script=NOTES_FRAMES)
    wait_for_step(second, current_step(page))
    expect(second.get_by_role("tab", name="Train", exact=True)).to_have_attribute("aria-selected", "true")
    expect(second.locator("#train-state .progress")).to_be_in_viewport()
    expect(second.locator("#start")).to_have_text("Add to queue")
    photograph(second, "07-training-phone")
    client = Client(app.url, verbose=False)
    for name in ("/start", "/load_model"):
        with pytest.raises(AppError, match="This must wait: a run is in progress"):
            client.predict(api_name=name)
    expect(second.locator("#queue li")).to_have_count(2)
    # As on a page that has not been updated yet, whose button can still be clicked.
    second.locator("#start").evaluate("button => button.click()")
    expect(page.locator("#queue li")).to_have_count(3)
    page.locator("#queue li").last.get_by_role("button", name="Drop: Demo Llama").click()
    expect(second.locator("#queue li")).to_have_count(2)
    wait_for_step(page, run.snapshot().step + 2)
    assert [found.id for found in list_runs(app.runs_dir)] == [run.id, demo.id]
    assert second.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    tab(second, "Compare")
    expect(second.locator("#compare-hint")).to_contain_text("A run is training")
    expect(second.locator("#ask")).to_be_disabled()
    photograph(second, "08-compare-waits-phone")
    # What Gradio shows while it loads would ask for every frame.
    second.wait_for_function("performance.now() - window.frameAsked > 500", polling=50)
    assert second.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    page.get_by_role("button", name="Continue the queue").click()
    expect(page.get_by_role("button", name="Pause the queue")).to_be_visible()
    second.click("#stop")
    expect(page.get_by_role("button", name="Continue the queue")).to_be_visible()
    expect(page.locator("#train-state .warning")).to_contain_text("what was trained is kept", timeout=60_000)
    expect(page.locator("#resume")).to_be_visible()
    expect(page.locator("#resume-words")).to_contain_text(re.compile(r"resumes after step \d+ of 5,000|starts over"))
    page.wait_for_function("window.told")
    title, words = page.evaluate("window.told")
    assert title == "HearthTune" and words == f"{run.name}: {run.snapshot().message}"
    photograph(page, "09-stopped")
    assert run.snapshot().status == "stopped" and run.has_adapter
    expect(page.locator("#side-run")).to_have_text(STEP)


def test_12_a_complete_run_with_answers_and_checkpoints(app, page):
    set_steps(page, 12)
    unfold(page, page.get_by_role("button", name="All settings"))
    fill(page, "training-eval_steps", 4)
    fill(page, "training-save_steps", 4)
    page.click("#start")
    expect(page.locator("#train-state .good")).to_contain_text("Finished", timeout=180_000)
    expect(page.locator("#train-end")).to_contain_text("On 64 rows that it was not trained on")
    expect(page.locator("#train-end")).to_contain_text(re.compile(r"Time\s*\d+:\d\d for 12 steps"))
    expect(page.locator("#resume")).to_be_hidden()

    snapshot = list_runs(app.runs_dir)[0].snapshot()
    best = snapshot.best
    assert best.step in snapshot.checkpoints
    expect(page.locator("#train-state")).to_contain_text(f"{len(snapshot.checkpoints)} checkpoint")
    expect(page.locator("#charts .remark").first).to_have_text(
        f"best validation: step {best.step}, loss {best.eval_loss:.3g}"
    )
    expect(page.locator("#charts .linear circle.best")).to_have_count(1)

    timeline = page.locator("#samples ul.timeline").first
    expect(page.locator("#samples .asked")).to_have_text([SENTENCE, "A robot paints the river."])
    expect(timeline.locator("li.base")).to_have_text(re.compile(re.escape(SENTENCE)))
    newest = [sampled for sampled in snapshot.samples if sampled.by == "tuned"][-1]
    expect(timeline.locator("li.tuned span").first).to_have_text(newest.answers[0])
    expect(timeline.locator("li.tuned b").first).to_contain_text(f"step {newest.step}")
    photograph(page, "10-finished")


def test_13_both_models_answer(page):
    with held(page, "panes_for"):  # also before the page has put the run beside the base
        page.locator("#train-end").get_by_role("button", name="Compare").click()
        expect(page.get_by_role("tab", name="Compare", exact=True)).to_have_attribute("aria-selected", "true")
        expect(page.locator("#ask")).to_be_enabled()
        page.locator("#prompt textarea").fill(SENTENCE)
        page.click("#ask")
        expect(page.locator(".pane.base .answer")).to_have_text(SENTENCE, timeout=60_000)
    expect(page.locator("#proof .notice")).to_contain_text("They differ", timeout=60_000)
    expect(page.locator("#ask")).to_have_text("Ask both")
    expect(page.locator("#panes-changed .notice")).to_have_count(0)
    expect(page.locator(".pane.base .answer")).to_have_text(SENTENCE)
    expect(page.locator(".pane.base footer")).to_contain_text("ended by itself")
    photograph(page, "11-compared")


def test_14_the_best_checkpoint_is_loaded_to_compare(app, page):
    best = list_runs(app.runs_dir)[0].snapshot().best
    tab(page, "Train")
    page.click("#compare-best")
    expect(page.locator("#best-words .good")).to_have_text(
        f"The checkpoint at step {best.step} is loaded: try it on the Compare tab.", timeout=60_000
    )
    expect(page.locator("#compare-best")).to_be_hidden()


def test_15_the_finished_run_is_measured_or_exported(app, page):
    run = list_runs(app.runs_dir)[0]
    page.locator("#train-end").get_by_role("button", name="Measure").click()
    expect(page.get_by_role("tab", name="Measure", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#measure-run input")).to_have_value(run_label(run.id, run.name))
    tab(page, "Train")
    page.locator("#train-end").get_by_role("button", name="Export").click()
    expect(page.get_by_role("tab", name="Export", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#export-run input")).to_have_value(run_label(run.id, run.name))
    expect(page.locator("#export-adapter-choice input")).to_have_value("final")
    expect(page.locator("#export-adapter")).to_be_enabled()


def test_16_the_queue_goes_on_and_its_variations_are_compared(app, page):
    tab(page, "Train")
    expect(page.locator("#queue li")).to_have_count(2)
    page.evaluate("window.told = null")
    page.get_by_role("button", name="Continue the queue").click()
    expect(page.locator("#queue .good")).to_have_text("The queue is empty: 2 runs ended.", timeout=120_000)
    page.wait_for_function("window.told?.[1] === 'The queue is empty: 2 runs ended.'")
    table = page.locator("#queue table")
    runs = list_runs(app.runs_dir)[:2][::-1]
    assert [run.config().training.learning_rate for run in runs] == [1e-4, 1e-3]
    expect(table.locator("tbody tr")).to_have_count(2)
    for place, (run, rate) in enumerate(zip(runs, ("1e-4", "1e-3"), strict=True)):
        end = run.snapshot()
        cells = table.locator("tbody tr").nth(place).locator("th, td")
        expect(cells.first).to_have_text(re.compile(f"^{rate}"))
        expect(cells.nth(2)).to_have_text(f"{end.steps[-1].loss:.4f}")
    photograph(page, "16-queue-ended")
    for theme in ("dark", "light"):
        in_colors(page, theme)
        for size, name in ((DESKTOP, "desktop"), (PHONE, "phone"), (ZOOMED, "zoomed")):
            page.set_viewport_size(size)
            page.locator("#queue").scroll_into_view_if_needed()
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            photograph(page, f"16-queue-ended-{name}-{theme}", full_page=False)
    page.set_viewport_size(DESKTOP)
    tab(page, "Runs")
    page.locator("#runs-table tbody th button", has_text="learning_rate").first.click()
    expect(page.locator("#run-head .group-of-runs tbody tr.open")).to_have_count(1)
    photograph(page, "16-run-of-a-group", full_page=False)
    page.click("#run-close")
    tab(page, "Train")
    page.locator("#queue").get_by_role("button", name="Close").click()
    expect(page.locator("#queue section")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["Model", "Data", "Train", "Compare", "Export"])
def test_no_tab_is_wider_than_a_phone(page, name, theme):
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme=theme)
    expect(page.locator("body.dark")).to_have_count(1 if theme == "dark" else 0)
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
