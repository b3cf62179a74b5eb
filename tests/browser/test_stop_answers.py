"""Stop in the chat, with a model that never ends an answer, so that no machine finishes before Stop."""

import json
import re
import shutil

import pytest
from playwright.sync_api import expect

from core.settings.presets import PRESETS_DIR
from tests.app_process import running_app_with_a_run
from tests.browser.conftest import DESKTOP, PHONE, photograph, pick, tab, unfold
from ui.shared.formatting import run_label

QUESTION = "The old man reads a book."
HIDDEN = (
    "(document.querySelector('#panes').getBoundingClientRect().bottom"
    " - document.querySelector('#composer').getBoundingClientRect().top)"
)
LENGTH = "document.querySelector('#panes').textContent.length"


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("endless")
    model = shutil.copytree(PRESETS_DIR / "demo-llama", folder / "endless-llama")
    config = json.loads((model / "config.json").read_text())
    weights = load_file(model / "model.safetensors")
    weights["model.embed_tokens.weight"][config["eos_token_id"]] = 0  # tied to the head, so never the likeliest
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 16384}))
    settings = [
        f"model.model_name={model}", "model.max_seq_length=16384", "adapter.modules_to_save=[]",
        "training.max_steps=3", "training.eval_steps=0", "training.sample_prompts=[]", "data.validation_share=0",
    ]  # fmt: skip
    with running_app_with_a_run(folder, *settings) as app:
        yield app


@pytest.mark.parametrize(("name", "size"), [("desktop", DESKTOP), ("phone", PHONE)], ids=["desktop", "phone"])
def test_stopped_answers_are_kept_and_the_question_can_be_edited(page, run, name, size):
    page.set_viewport_size(size)
    tab(page, "Compare")
    if name == "desktop":
        pick(page, "right", run_label(run.id, run.name))
        expect(page.locator("#ask")).to_be_enabled(timeout=120_000)
        expect(page.locator("[data-question]")).to_have_count(0)  # no rows were held out
        unfold(page, page.get_by_role("button", name=re.compile("Settings")))
    else:
        page.click("#new-chat")
    expect(page.locator(".turn")).to_have_count(0)

    def ask(question: str, longest: int) -> None:
        page.locator("#max-tokens input").fill(str(longest))
        page.locator("#max-tokens input").press("Tab")
        page.locator("#prompt textarea").fill(question)
        expect(page.locator("#ask")).to_be_enabled()
        page.click("#ask")

    footer = page.locator(".turn").last.locator("footer").first
    ask(QUESTION, 8)
    expect(footer).to_contain_text("limit", timeout=60_000)
    expect(page.locator("#proof .notice").first).to_be_visible(timeout=60_000)

    ask(QUESTION, 8192)
    expect(page.locator("#stop-answers")).to_be_visible()
    expect(page.locator("#retry")).to_be_disabled()
    photograph(page, f"63-chat-writing-{name}", full_page=False)
    if name == "phone":  # its panes are below each other, so that little of them is in view
        expect_followed(page)
    page.click("#stop-answers")
    expect(page.locator(".turn")).to_have_count(2)
    expect(footer).to_contain_text(re.compile("^stopped · "), timeout=60_000)
    expect(page.locator("#stop-answers")).to_be_hidden()
    expect(page.locator("#proof .notice").first).to_be_visible(timeout=60_000)
    photograph(page, f"64-chat-stopped-{name}")
    assert len(page.locator(".turn").last.locator(".answer").first.inner_text()) > 0

    page.click("#edit")
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator("#prompt textarea")).to_have_value(QUESTION)
    ask("A robot paints.", 8)
    expect(page.locator(".turn")).to_have_count(2)
    expect(footer).to_contain_text("limit", timeout=60_000)


def expect_followed(page) -> None:
    """The page follows the end of the growing answers, but not under a reader who scrolls up, until they come back."""
    start = page.evaluate("scrollY")
    page.wait_for_function(f"start => scrollY > start + 60 && {HIDDEN} < 60", arg=start, timeout=120_000)
    page.mouse.move(195, 300)
    page.mouse.wheel(0, -200)
    page.wait_for_function(f"{HIDDEN} > 100")
    at, long = page.evaluate("scrollY"), page.evaluate(LENGTH)
    page.wait_for_function(f"long => {LENGTH} > long + 200", arg=long, timeout=120_000)
    assert page.evaluate("scrollY") == at
    page.mouse.wheel(0, 100_000)
    page.wait_for_function(f"long => {LENGTH} > long + 400 && {HIDDEN} < 60", arg=long, timeout=120_000)


def test_the_app_printed_no_warnings_of_its_own(app):
    assert app.own_warnings() == []
