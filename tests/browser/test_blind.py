"""The blind test in a real browser: before the vote, nothing it receives reveals which side is which."""

import json
import re
import shutil

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from core.comparing.votes import read_votes
from core.runs.events import FINAL
from tests.app_process import running_app
from tests.browser.conftest import PHONE, photograph, reload, tab, upload
from ui.shared.formatting import run_label

PROMPTS = [
    "The old man reads a book.",
    "Where is my hat?",
    "We will go home.",
    "She sings.",
    "The dog runs.",
    "It is late.",
]

# Records everything the page receives, including streams, chunk by chunk; DevTools truncates streams.
RECORD_RESPONSES = """
window.received = [];
window.otherTransport = false;
const original = window.fetch;
window.fetch = async (...args) => {
    const response = await original(...args);
    if (!response.body) return response;
    const [mine, theirs] = response.body.tee();
    (async () => {
        const reader = mine.pipeThrough(new TextDecoderStream()).getReader();
        for (let piece; !(piece = await reader.read()).done;) window.received.push(piece.value);
    })().catch(() => {});
    const {status, statusText, headers} = response;
    const copy = new Response(theirs, {status, statusText, headers});
    Object.defineProperty(copy, 'url', {value: response.url});
    return copy;
};
for (const transport of ['EventSource', 'WebSocket', 'XMLHttpRequest'])
    window[transport] = new Proxy(window[transport], {
        construct(original, args) { window.otherTransport = transport; return new original(...args); }
    });
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory, wait_until):
    """The page after a short run of the demo preset, with its adapter loaded."""
    with running_app(tmp_path_factory.mktemp("blind")) as app:
        client = Client(app.url, verbose=False)
        client.predict("", ["training.max_steps=40", "training.eval_steps=40"], "", api_name="/start")
        wait_until(lambda: client.predict(api_name="/snapshot")["run"]["status"] in FINAL, "the run's end", 180)
        assert client.predict(api_name="/snapshot")["run"]["status"] == "completed"
        yield app


def open_blind(open_page, app, *size, theme="light"):
    page = open_page(f"{app.url}/?__theme={theme}", *size)
    tab(page, "Compare")
    tab(page, "Blind test")
    expect(page.locator("#blind-start")).to_be_enabled(timeout=30_000)
    for box in ("#blind-first input", "#blind-second input"):
        expect(page.locator(box)).to_have_value(re.compile("."), timeout=30_000)
    return page


def start(page, prompts: list[str]) -> None:
    page.locator("#blind-prompts textarea").fill("\n".join(prompts))
    page.click("#blind-start")
    expect(page.locator("#blind-left")).to_be_enabled(timeout=60_000)


def expect_pair(page, number: int, total: int) -> None:
    expect(page.locator("#blind-state")).to_contain_text(f"{number} of {total}", timeout=60_000)


def answers(page) -> list[str]:
    return page.locator("#blind-pair .pane").evaluate_all(
        "panes => panes.map(pane => pane.querySelector('.answer')?.innerText ?? '')"
    )


def last_vote(page) -> str:
    return page.locator("#blind-last .told").inner_text()


def outlines(page) -> list[str]:
    """Each pane's markup without its text."""
    return page.locator("#blind-pair .pane").evaluate_all(
        """panes => panes.map(pane => {
            const copy = pane.cloneNode(true);
            copy.querySelectorAll('h3, .answer, .empty').forEach(part => part.textContent = '');
            copy.removeAttribute('aria-label');
            return copy.outerHTML;
        })"""
    )


def test_nothing_sent_to_the_browser_reveals_which_side_is_which(app, run, open_page):
    page = open_blind(open_page, app)
    page.add_init_script(RECORD_RESPONSES)
    reload(page)
    tab(page, "Compare")
    tab(page, "Blind test")
    expect(page.locator("#blind-start")).to_be_enabled(timeout=30_000)
    expect(page.locator("#blind-second input")).to_have_value(run_label(run.id, run.name), timeout=30_000)
    names = page.evaluate("['#blind-first input', '#blind-second input'].map(box => document.querySelector(box).value)")
    assert names[0] == "Base" and run.name in names[1]
    page.evaluate("window.received = []")  # from here on, only the blind test is recorded
    start(page, PROMPTS)
    expect_pair(page, 1, len(PROMPTS))
    expect(page.locator("#blind-state")).to_contain_text("3 more are ready", timeout=60_000)
    photograph(page, "60-blind")
    left, right = (json.dumps(answer, ensure_ascii=False)[1:-1] for answer in answers(page))
    assert left != right, "both sides give the same answer, so this would test nothing"

    received = page.evaluate("window.received")
    pair_messages = [text for text in received if left in text and right in text]
    assert pair_messages, "the message with the pair was not recorded"
    assert not page.evaluate("window.otherTransport")
    for secret in (run.id, "contender", "tok/s", "first_token"):
        assert [text for text in received if secret in text] == [], secret
    part = page.locator("#blind-test").evaluate("part => part.outerHTML")
    for secret in (run.id, run.name, *names, "base", "tuned", "adapter"):
        assert secret not in part, secret
        assert [text for text in pair_messages if secret in text] == [], secret
    assert len(set(outlines(page))) == 1, "the two panes differ only in their text"
    page.click("#blind-end")
    expect(page.locator("#blind-start")).to_be_enabled(timeout=30_000)
    assert read_votes(run.folder).votes == ()


def test_votes_by_key_and_button_are_saved_correctly(app, run, open_page):
    before = len(read_votes(run.folder).votes)
    page = open_blind(open_page, app)
    page.locator("#blind-prompts textarea").press("1")  # typed into a text box, so it is not a vote
    start(page, PROMPTS)
    page.evaluate("document.addEventListener('keydown', event => { window.pressed = event.timeStamp; })")
    seen = []
    for number, how in enumerate(("1", "2", "3", "4", "left", "right"), 1):
        expect_pair(page, number, len(PROMPTS))
        prompt = page.locator("#blind-pair .asked").inner_text()
        seen.append((prompt, *answers(page)))
        expect(page.locator("#blind-left")).to_be_enabled()
        if how.isdigit():
            # An immediate second press does not count as a vote for the next pair.
            page.wait_for_function("performance.now() - (window.pressed ?? -1000) > 600")
            page.keyboard.press(how)
            page.keyboard.press(how)
        else:
            page.click(f"#blind-{how}")
        if number < len(PROMPTS):
            expect(page.locator("#blind-last")).to_contain_text("left was")
            if number == 1:
                photograph(page, "61-blind-after-a-vote")
            assert page.locator("#blind-result .card").count() == 0, "the result is shown only at the end"
    expect(page.locator("#blind-result h3")).to_contain_text("against Base", timeout=30_000)
    votes = read_votes(run.folder).votes[before:]
    assert [vote.choice for vote in votes] == ["left", "right", "tie", "bad", "left", "right"]
    assert [vote.prompt for vote in votes] == PROMPTS
    kept = [(vote.prompt, vote.left_answer.strip(), vote.right_answer.strip()) for vote in votes]
    assert kept == [(prompt, left.strip(), right.strip()) for prompt, left, right in seen]
    assert {vote.contender for vote in votes} == {run.id} and {vote.other for vote in votes} == {"base"}
    wins = sum(vote.winner == run.id for vote in votes)
    result = page.locator("#blind-result").inner_text()
    assert f"{wins} of 4: too few votes to tell" in result
    assert "1 tie, 1 both bad" in result
    photograph(page, "62-blind-result")


def test_after_a_vote_the_page_reveals_which_side_was_which(app, run, open_page):
    page = open_blind(open_page, app)
    start(page, PROMPTS[:2])
    expect_pair(page, 1, 2)
    page.click("#blind-right")
    expect_pair(page, 2, 2)
    vote = read_votes(run.folder).votes[-1]
    assert ("left was Base" in last_vote(page)) == (vote.left == "base")
    assert ("right was Base" in last_vote(page)) == (vote.right == "base")
    page.click("#blind-end")
    expect(page.locator("#blind-result h3")).to_be_visible(timeout=30_000)


def test_two_pages_share_one_test_and_each_pair_counts_once(app, run, open_page):
    before = len(read_votes(run.folder).votes)
    first = open_blind(open_page, app)
    second = open_blind(open_page, app, PHONE, theme="dark")
    start(first, PROMPTS[:3])
    expect(second.locator("#blind-left")).to_be_enabled(timeout=30_000)
    expect_pair(second, 1, 3)
    assert answers(second) == answers(first)
    assert second.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    photograph(second, "63-blind-phone-dark")
    reload(first)
    tab(first, "Compare")
    tab(first, "Blind test")
    expect_pair(first, 1, 3)
    first.click("#blind-tie")
    second.click("#blind-tie")  # for the pair it still shows, or for the next one if it already shows that
    expect(first.locator("#blind-last")).to_contain_text("A tie")
    first.click("#blind-end")
    expect(second.locator("#blind-result h3")).to_be_visible(timeout=30_000)
    photograph(second, "64-blind-result-phone-dark")
    votes = read_votes(run.folder).votes[before:]
    assert [vote.prompt for vote in votes] == PROMPTS[: len(votes)], "no pair got two votes"
    assert second.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_chosen_models_stay_selected_while_they_exist(app, run, open_page):
    page = open_blind(open_page, app)
    first, second = page.locator("#blind-first input"), page.locator("#blind-second input")

    def option(name: str):
        return page.get_by_role("option", name=name, exact=True)

    def choose(box, name: str) -> None:
        box.click()
        option(name).click()
        expect(box).to_have_value(name)
        expect(page.get_by_role("option")).to_have_count(0)  # the list fades out

    ours, other = run_label(run.id, run.name), f"{run.name}, 1 Jan 00:00"
    expect(first).to_have_value("Base", timeout=30_000)
    expect(second).to_have_value(ours)
    choose(first, ours)
    choose(second, "Base")
    newer = shutil.copytree(run.folder, run.folder.with_name("20200101-000000-other"))
    try:
        second.click()
        expect(option(other)).to_be_visible(timeout=30_000)
        assert (first.input_value(), second.input_value()) == (ours, "Base")
        option(other).click()
        expect(second).to_have_value(other)
    finally:
        shutil.rmtree(newer)
    expect(second).to_have_value(ours, timeout=30_000)  # the deleted run is replaced by the loaded one
    assert first.input_value() == ours


def test_bad_prompts_show_an_error(app, open_page):
    page = open_blind(open_page, app)
    page.locator("#blind-prompts textarea").fill("  \n ")
    page.click("#blind-start")
    expect(page.locator("#blind-trouble .error")).to_contain_text("Write a prompt first", timeout=30_000)
    upload(page, "#blind-file", {"name": "p.json", "mimeType": "application/json", "buffer": b'[{"prompt": 3}]'})
    page.click("#blind-start")
    expect(page.locator("#blind-trouble .error")).to_contain_text(
        "The prompt in row 1 of p.json is not text", timeout=30_000
    )
    photograph(page, "65-blind-trouble")


def test_the_app_printed_no_warnings_of_its_own(app):
    assert app.own_warnings() == []
