"""The chat on the Compare tab: several turns and panes, editing, retrying, copying and saving."""

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import expect

from core.settings.presets import PRESETS_DIR
from tests.app_process import running_app_with_a_run
from tests.browser.conftest import PHONE, ZOOMED, painted_over, photograph, pick, reload, tab, unfold
from ui.shared.formatting import run_label

FIRST, SECOND = "The old man reads a book.", "A robot paints the river."
STEPS = 60


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    settings = (
        f"training.max_steps={STEPS}",
        "training.save_steps=30",
        "training.eval_steps=0",
        "training.sample_prompts=[]",
    )
    with running_app_with_a_run(tmp_path_factory.mktemp("chat"), *settings) as app:
        yield app


@pytest.fixture
def compare(app, run, open_page):
    """Open the tab with the run loaded."""

    def opened(**where):
        page = open_page(f"{app.url}/?__theme={where.pop('theme', 'light')}", **where)
        tab(page, "Compare")
        is_empty = page.locator("#compare-hint", has_text="There is no model to ask: choose a run above")
        expect(is_empty.or_(page.locator("#ask:enabled")).first).to_be_visible(timeout=60_000)
        if is_empty.count():
            pick(page, "right", run_label(run.id, run.name))
        expect(page.locator("#ask")).to_have_text("Ask both", timeout=120_000)
        expect(page.locator("#ask")).to_be_enabled(timeout=120_000)
        return page

    return opened


@pytest.fixture
def copy_run(app, run):
    """Make more runs by copying the existing one; they are deleted when the test ends."""
    copies = []

    def copied(run_id: str) -> Path:
        copies.append(run.folder.with_name(run_id))
        # Renamed into place, so that the page sees the complete run at once.
        shutil.copytree(run.folder, app.runs_dir.parent / run_id).rename(copies[-1])
        return copies[-1]

    yield copied
    for folder in copies:
        shutil.rmtree(folder, ignore_errors=True)


def at(page, place: str):
    return page.locator(f"#pane-{place} input")


def expect_offered(page, label: str, count: int = 1) -> None:
    """Wait for updates of the page, then check that the run can be chosen (or not, with count 0)."""
    for _ in range(4):  # Gradio logs an error if a list changes while it is open
        with page.expect_response(lambda response: "/live?" in response.url):
            pass
    at(page, "left").click()
    expect(page.get_by_role("option", name=label, exact=True)).to_have_count(count)
    at(page, "left").blur()
    expect(page.get_by_role("option")).to_have_count(0)


def zero(adapter: Path, base: Path) -> None:
    """Make an adapter without effect: lora_B is zero, embeddings and (tied) head are the base's."""
    from safetensors.torch import load_file, save_file

    weights, embeddings = load_file(adapter), load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    for name, weight in weights.items():
        if "lora_A" not in name:
            weight.copy_(embeddings) if "lora_B" not in name else weight.zero_()
    save_file(weights, adapter, {"format": "pt"})


def three_panes(page, run) -> None:
    page.click("#add-pane")
    expect(at(page, "third")).to_be_focused()
    page.get_by_role("option", name=f"{run_label(run.id, run.name)}, step 30", exact=True).click()
    expect(page.locator("#ask")).to_have_text("Ask all three")
    expect(page.get_by_role("option")).to_have_count(0)


def press_until(press: Callable[[], None], expected: Callable[..., None]) -> None:
    """Press again and again until what is expected holds: Gradio ignores it until the handler of the press before has
    ended, which a page does not show."""
    for tries_left in reversed(range(5)):
        press()
        try:
            return expected(timeout=3_000)
        except AssertionError:
            if not tries_left:
                raise


def ask(page, question: str, turns: int) -> None:
    """Ask with the keyboard and wait for all answers."""
    box = page.locator("#prompt textarea")
    box.fill(question)
    press_until(lambda: box.press("Enter"), partial(expect(box).to_have_value, ""))
    wait_for_answers(page, turns)


def click_until(page, name: str, expected: Callable[..., None]) -> None:
    """As `press_until`. Playwright's own click would wait for a button that is disabled while the panes answer, and ask
    once more."""
    button = page.locator(name)
    expect(button).to_be_enabled(timeout=60_000)
    press_until(lambda: button.evaluate("button => button.click()"), expected)


def wait_for_answers(page, turns: int) -> None:
    expect(page.locator(".turn")).to_have_count(turns, timeout=60_000)
    expect(page.locator("#proof .notice").first).to_be_visible(timeout=60_000)
    expect(page.locator(".turn footer", has_text="…")).to_have_count(0)


def texts(page) -> list[list[str]]:
    return [turn.locator(".answer").all_inner_texts() for turn in page.locator(".turn").all()]


def open_settings(page) -> None:
    unfold(page, page.get_by_role("button", name=re.compile("Settings")))
    expect(page.locator("#seed input")).to_be_visible()


def test_1_two_turns_in_three_panes(compare, run):
    page = compare()
    expect(at(page, "left")).to_have_value("Base")
    expect(at(page, "right")).to_have_value(run_label(run.id, run.name))
    expect(page.locator("#head-third")).to_be_hidden()
    expect(page.locator("#on-its-own input")).to_be_checked()  # the demo's rows ask once
    photograph(page, "60-chat-empty")
    three_panes(page, run)
    expect(page.locator("#panes .empty")).to_have_count(3)

    ask(page, FIRST, 1)
    expect(page.locator("#prompt textarea")).to_have_value("")
    page.locator("#prompt textarea").press_sequentially("A robot")
    page.locator("#prompt textarea").press("Shift+Enter")
    page.locator("#prompt textarea").press_sequentially("paints")
    expect(page.locator("#prompt textarea")).to_have_value("A robot\npaints")
    ask(page, SECOND, 2)

    top = "selector => document.querySelector(selector).getBoundingClientRect().top + window.scrollY"
    assert page.evaluate(top, ".answer") - page.evaluate(top, "#work") < 200
    heads, panes = (
        page.locator(places).evaluate_all(
            "places => places.map(place => Math.round(place.getBoundingClientRect().left))"
        )
        for places in ("#heads .head", "#panes .pane")
    )
    assert heads == panes and len(heads) == 3, "each pane is below its head"
    names = ["Base", run_label(run.id, run.name), f"{run_label(run.id, run.name)}, step 30"]
    for turn in page.locator(".turn").all():
        assert turn.locator("h3").all_inner_texts() == names
        assert turn.locator(".pane.base, .pane.tuned, .pane.second").count() == 3
    (base, tuned, _), second = texts(page)
    assert base == FIRST and second[0] == SECOND, "the base repeats its input"
    figures = re.compile(r"^ended by itself · \d+ tokens · [\d.]+ tokens/s · first token after \d+\.\d\d s$")
    expect(page.locator(".pane.base footer p")).to_have_text([figures, figures])
    expect(page.locator("#proof .good")).to_have_count(2)
    expect(page.locator("#proof .good").first).to_contain_text(
        f"They differ, Base and {names[1]}: the largest logit difference"
    )

    page.locator("#differ input").check()
    expect(page.locator(".pane.tuned ins").first).to_be_visible()
    assert page.locator(".pane.base ins").count() == 0
    assert tuned == "A book, the old man reads. Hmm."
    changed = page.locator(".turn").first.locator(".pane.tuned :is(del, ins)").all_inner_texts()
    assert changed == ["The", "A book, the", "a book", ". Hmm"]
    photograph(page, "61-chat-differences")
    page.locator("#differ input").uncheck()
    expect(page.locator("ins")).to_have_count(0)
    assert texts(page)[0][1] == tuned

    page.click("#remove-right")  # the third takes its place
    expect(page.locator("#ask")).to_have_text("Ask both")
    expect(at(page, "right")).to_have_value(names[2])
    page.click("#remove-right")
    expect(page.locator("#ask")).to_have_text("Ask")
    expect(page.locator("#head-right")).to_be_hidden()
    page.click("#add-pane")
    expect(at(page, "right")).to_be_focused()


def test_2_edit_retry_and_new(compare):
    page = compare()
    ask(page, FIRST, 1)
    ask(page, FIRST, 2)
    first, again = texts(page)
    assert first == again, "on its own, it is asked as if it were the first"
    page.locator("#on-its-own input").uncheck()
    page.click("#edit")
    expect(page.locator(".turn")).to_have_count(1)
    ask(page, SECOND, 2)
    saved_chat = json.loads(page.locator("#chat-json textarea").input_value())
    assert [turn["is_on_its_own"] for turn in saved_chat["turns"]] == [True, False]
    before = texts(page)
    page.click("#retry")
    expect(page.locator("#compare-trouble .notice")).to_contain_text("The answers would be exactly the same again")
    assert texts(page) == before
    photograph(page, "62-chat-retry-exact")

    page.click("#edit")
    expect(page.locator("#prompt textarea")).to_have_value(SECOND)
    expect(page.locator("#prompt textarea")).to_be_focused()
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator("#compare-trouble .notice")).to_have_count(0)
    ask(page, "The cat sings.", 2)
    assert texts(page)[0] == before[0] and texts(page)[1][0] == "The cat sings."

    open_settings(page)
    page.get_by_label("balanced").check()
    expect(page.get_by_role("button", name="Settings: balanced · 128 tokens · seed 3407")).to_be_visible()
    expect(page.locator("#temperature input[type=number]")).to_have_value("0.7")
    expect(page.locator("#top-p input[type=number]")).to_have_value("0.9")
    for seed in (3407, 3408):  # a retry after exact answers keeps the seed; the next one increases it
        click_until(page, "#retry", partial(expect(page.locator("#seed input")).to_have_value, str(seed)))
        newest = re.compile(rf'"temperature": 0\.7,[^}}]*"seed": {seed}\b')
        expect(page.locator("#chat-json textarea")).to_have_value(newest, timeout=60_000)
        wait_for_answers(page, 2)
        expect(page.locator("#retry")).to_be_enabled(timeout=60_000)
        expect(page.get_by_role("button", name=f"Settings: balanced · 128 tokens · seed {seed}")).to_be_visible()
    saved_chat = json.loads(page.locator("#chat-json textarea").input_value())
    assert [turn["sampling"]["seed"] for turn in saved_chat["turns"]] == [3407, 3408]
    assert [turn["sampling"]["temperature"] for turn in saved_chat["turns"]] == [0.0, 0.7]

    page.locator("#temperature input[type=number]").fill("0.5")
    page.locator("#temperature input[type=number]").press("Tab")
    expect(
        page.get_by_role("button", name="Settings: temperature 0.5, top-p 0.9 · 128 tokens · seed 3408")
    ).to_be_visible()
    expect(page.get_by_label("balanced")).not_to_be_checked()

    page.click("#new-chat")
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator("#panes .empty")).to_have_count(2)
    expect(page.locator("#retry")).to_be_hidden()
    expect(page.locator("#chat-tools")).to_be_hidden()


def test_3_copied_and_saved(compare, run):
    page = compare()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    pick(page, "right", run_label(run.id, run.name))
    evil = "```\n<img src=x onerror=window.pwned=1>"
    page.locator("#prompt textarea").fill(evil)
    page.click("#ask")
    wait_for_answers(page, 1)
    answers = [button.get_attribute("data-copy") for button in page.locator(".pane footer button").all()]
    page.locator(".pane.base footer button").click()
    page.wait_for_function("async text => (await navigator.clipboard.readText()) === text", arg=answers[0])

    with page.expect_download() as download:
        page.click("#save-json")
    assert re.fullmatch(r"conversation-\d{8}-\d{6}\.json", download.value.suggested_filename)
    saved_chat = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert saved_chat["panes"] == ["base", run.id]
    (turn,) = saved_chat["turns"]
    assert (turn["question"], turn["system"]) == (evil, "")
    assert turn["sampling"] == {"temperature": 0.0, "top_p": 1.0, "max_new_tokens": 128, "seed": 3407}
    assert [answer["text"] for answer in turn["answers"]] == answers
    assert all(answer["ended"] in ("itself", "limit") and answer["tokens_per_second"] > 0 for answer in turn["answers"])

    with page.expect_download() as download:
        page.click("#save-markdown")
    assert download.value.suggested_filename.endswith(".md")
    markdown = Path(download.value.path()).read_text(encoding="utf-8")
    assert f"````text\n{evil}\n````\n\nAsked on its own, with temperature 0 (exact), at most 128 tokens." in markdown
    assert f"### {run_label(run.id, run.name)}\n" in markdown
    page.click("#copy-chat")
    expect(page.locator("#copied .good")).to_have_text("The conversation is copied as Markdown.")
    assert page.evaluate("navigator.clipboard.readText()") == markdown
    assert page.evaluate("window.pwned") is None


def test_4_changed_panes_start_a_new_conversation_with_the_next_question(compare, run):
    page = compare()
    ask(page, FIRST, 1)
    three_panes(page, run)
    expect(page.locator("#panes-changed .notice")).to_contain_text("the next question starts a new conversation")
    expect(page.locator(".turn .pane")).to_have_count(2)
    page.click("#remove-third")
    expect(page.locator("#panes-changed .notice")).to_have_count(0)
    three_panes(page, run)
    page.click("#retry")
    expect(page.locator(".turn .pane")).to_have_count(3)
    wait_for_answers(page, 1)
    expect(page.locator("#panes-changed .notice")).to_have_count(0)
    assert texts(page)[0][0] == FIRST


def test_5_an_unanswered_question_shows_an_error_and_is_kept(compare, run):
    page = compare()
    samples = page.locator("[data-question]")
    expect(samples).to_have_count(3)
    sample = samples.first.inner_text()
    samples.first.click()
    wait_for_answers(page, 1)
    expect(page.locator(".turn .question")).to_contain_text(sample)
    expect(samples).to_have_count(0)
    too_long = "word " * 2000
    page.locator("#prompt textarea").fill(too_long)
    error = page.locator("#compare-trouble .error")
    click_until(page, "#ask", partial(expect(error).to_contain_text, "shorten it"))
    expect(page.locator("#prompt textarea")).to_have_value(too_long)
    expect(page.locator(".turn")).to_have_count(1)
    page.locator("#prompt textarea").fill("  ")
    click_until(page, "#ask", partial(expect(error).to_have_text, "Write a question first."))
    page.locator("#prompt textarea").fill(SECOND)
    expect(error).to_have_count(0)

    three_panes(page, run)
    # Chosen last, the run is loaded alone: the checkpoint is put on the base again when it is asked.
    pick(page, "right", "Base")
    pick(page, "right", run_label(run.id, run.name))
    expect(page.locator("#side-model")).not_to_contain_text("step 30", timeout=60_000)
    shutil.rmtree(run.checkpoint(30).folder)
    prompt = page.locator("#prompt textarea")
    prompt.fill(SECOND)
    prompt.press("Enter")
    expect(error).to_contain_text("has no checkpoint at step 30", timeout=30_000)
    expect(prompt).to_have_value(SECOND)
    expect(page.locator(".turn .question")).to_contain_text(sample)
    photograph(page, "65-chat-failed")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_6_on_a_phone(compare, theme):
    page = compare(size=PHONE, theme=theme)
    ask(page, FIRST, 1)
    ask(page, SECOND, 2)
    page.locator("#differ input").check()
    expect(page.locator(".pane.tuned ins").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    lefts = page.evaluate(
        "[...document.querySelectorAll('.turn .pane')].map(pane => pane.getBoundingClientRect().left)"
    )
    assert len(set(lefts)) == 1 and len(lefts) == 4, "the panes are stacked"
    page.evaluate("window.scrollTo(0, 0)")
    expect(page.locator("#ask")).to_be_in_viewport()
    box = page.locator("#ask").bounding_box()
    assert box["height"] >= 44 and box["y"] > PHONE["height"] / 2, "within reach of a thumb"
    expect(page.locator(".pane.tuned del").first).to_be_visible()
    assert painted_over(page, "#composer") == painted_over(page, "#side") == []
    photograph(page, f"66-chat-phone-{theme}")
    page.set_viewport_size(ZOOMED)
    assert page.evaluate("document.documentElement.scrollWidth") <= ZOOMED["width"]
    photograph(page, f"66-chat-zoomed-{theme}", full_page=False)


def test_7_new_and_deleted_runs_do_not_change_the_selection(app, compare, run, copy_run):
    page = compare()
    label = run_label(run.id, run.name)
    pick(page, "left", label)
    pick(page, "right", "Base")
    page.click("#add-pane")
    pick(page, "third", label)
    first = copy_run("19990102-000000-first")
    oldest = f"{run.name}, 2 Jan 00:00"
    expect_offered(page, oldest)

    def expect_unchanged(third: str = label) -> None:
        for place, value in (("left", label), ("right", "Base"), ("third", third)):
            expect(at(page, place)).to_have_value(value)

    expect_unchanged()
    second = copy_run("20500103-000000-second")
    newest = f"{run.name}, 3 Jan 00:00"
    expect_offered(page, newest)
    pick(page, "third", oldest)
    second.rename(app.runs_dir.parent / "gone")
    expect_offered(page, newest, 0)
    expect_unchanged(oldest)
    shutil.rmtree(first)  # the run that is loaded
    expect(page.locator("#ask")).to_have_text("Ask both", timeout=30_000)
    expect_unchanged("Choose a run…")
    broken = copy_run("20500104-000000-broken")
    (broken / "adapter/adapter_model.safetensors").write_bytes(b"no adapter")
    expect_offered(page, f"{run.name}, 4 Jan 00:00")
    pick(page, "third", f"{run.name}, 4 Jan 00:00")
    expect(page.locator("#pick-trouble .error")).to_be_visible(timeout=60_000)
    photograph(page, "69-chat-damaged-run")
    pick(page, "third", label)
    expect(page.locator("#pick-trouble .error")).to_have_count(0)


def test_8_after_a_reload_the_chat_is_as_it_was(compare, run):
    page, label = compare(), run_label(run.id, run.name)
    page.locator("#on-its-own input").uncheck()
    ask(page, FIRST, 1)
    ask(page, SECOND, 2)
    page.click("#add-pane")
    pick(page, "third", "Base")
    before, chat = texts(page), page.locator("#chat-json textarea").input_value()
    wait_for_kept(page, ["base", run.id, "base"], chat)

    asked = []
    page.on("request", lambda request: "/queue/join" in request.url and asked.append(request.post_data_json))
    reload(page)
    expect(page.locator(".turn")).to_have_count(2)
    assert texts(page) == before
    for place, value in (("left", "Base"), ("right", label), ("third", "Base")):
        expect(at(page, place)).to_have_value(value)
    expect(page.locator("#on-its-own input")).not_to_be_checked()
    expect(page.locator("#panes-changed .notice")).to_contain_text("the next question starts a new conversation")
    expect(page.locator("#chat-json textarea")).to_have_value(chat)
    expect(page.locator("#save-json")).to_be_visible()
    came_back = [sent["event_data"] for sent in asked if isinstance(sent.get("event_data"), dict)]
    assert [kept["chat"] for kept in came_back] == [chat]
    photograph(page, "70-chat-after-a-reload")

    page.click("#remove-third")
    expect(page.locator("#panes-changed .notice")).to_have_count(0)
    page.click("#retry")
    expect(page.locator("#compare-trouble .notice")).to_contain_text("The answers would be exactly the same again")
    page.locator("#on-its-own input").check()
    # It waits while the panes answer, and then there is what they differ in, which was not kept over the reload.
    click_until(page, "#retry", expect(page.locator("#retry:disabled, #proof .notice").first).to_be_visible)
    wait_for_answers(page, 2)
    expect(page.locator("#retry")).to_be_enabled(timeout=60_000)
    assert texts(page)[0] == before[0] and texts(page)[1][0] == SECOND

    page.click("#new-chat")
    expect(page.locator(".turn")).to_have_count(0)
    page.click("#remove-right")
    wait_for_kept(page, ["base", "", ""], None)
    reload(page)
    expect(page.locator("#on-its-own input")).to_be_checked()
    expect_offered(page, label)
    expect(at(page, "right")).to_have_value("Choose a run…")
    expect(page.locator("#panes .empty")).to_have_count(1)
    expect(page.locator("#retry")).to_be_hidden()


@pytest.mark.parametrize("script", ["", "Storage.prototype.getItem = Storage.prototype.setItem = () => { throw 1; };"])
def test_9_what_cannot_be_used_or_kept_is_left_out(compare, script):
    page = compare(script=script)
    page.evaluate("""() => {
        delete window.keepsChat;
        for (const name of ["chat", "panes"]) localStorage[`hearthtune.${name}`] = '{"turns": [{}], "panes": ["<b>"]}';
    }""")
    reload(page)
    tab(page, "Compare")
    expect(page.locator("#ask")).to_have_text("Ask both")
    ask(page, FIRST, 1)
    assert texts(page)[0][0] == FIRST


def test_10_a_warning_if_the_tuned_model_equals_the_base(compare, run, copy_run):
    same = copy_run("20500101-000000-zeroed")
    zero(same / "adapter/adapter_model.safetensors", PRESETS_DIR / "demo-llama")
    page, label = compare(), run_label(same.name, run.name)
    expect_offered(page, label)
    pick(page, "right", label)
    expect(page.locator("#side")).to_contain_text(f"adapter: {label}", timeout=60_000)
    expect(page.locator("#ask")).to_be_enabled(timeout=60_000)
    ask(page, FIRST, 1)
    expect(page.locator("#proof .warning")).to_have_text(
        f"Base and {label} are the same here: every logit after this prompt is equal, so the adapter changes nothing."
    )
    assert texts(page) == [[FIRST, FIRST]]
    photograph(page, "67-chat-tuned-is-base")

    tab(page, "Proof and report")
    page.click("#prove")
    warning = page.locator("#proof-receipt .warning")
    expect(warning).to_contain_text("the adapter changes no weight", timeout=60_000)
    expect(page.locator("#proof-receipt")).to_contain_text("✗ same as base")
    photograph(page, "68-proof-tuned-is-base")


def wait_for_kept(page, panes: list[str], chat: str | None) -> None:
    page.wait_for_function(
        """([panes, chat]) => {
            const kept = JSON.parse(localStorage.getItem("hearthtune.panes"))?.panes ?? [];
            return kept.join() === panes.join() && localStorage.getItem("hearthtune.chat") === chat;
        }""",
        arg=[panes, chat],
    )


def test_the_app_printed_no_warnings_of_its_own(app):
    assert app.own_warnings() == []
